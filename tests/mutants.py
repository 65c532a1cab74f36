"""Break the package on purpose, in one place at a time, and fail if the tests named for that place still pass.

    python -m tests.mutants [WORD...]

With words, only the mutants whose description has one of them. Each is applied to a copy of the project. A pattern
that does not match exactly once is an error: the code has changed, and the list must follow. Names that may well change
are matched by ``\\w+``. The test that fails must pass on the package itself; the others are not run there.
"""

import compileall
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from py_compile import PycInvalidationMode
from queue import SimpleQueue
from typing import NamedTuple

from tests.forks import patience

ROOT = Path(__file__).parent.parent
COPIED = (
    *("paramctl", "tests", "sample_models", "man", "docs"),
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml"),
)
STARTS = 400
"""A mutant whose tests take as long as so many starts of paramctl has hung, and so is noticed."""
MEMORY, CPU_SECONDS = 8 << 30, 300
"""The address space and the processor time of each process that a mutant's tests start."""
TIMES = 3
"""The tests of a mutant that has hung must end so many times sooner on the package itself."""


class Mutant(NamedTuple):
    """A defect: a regular expression in a file of the package, what replaces it, and the tests that must notice."""

    defect: str
    file: str
    pattern: str
    replacement: str
    tests: str


MUTANTS = [
    # quick
    Mutant(
        "the help of older commands is shown",
        "quick/texts.py",
        r"return text if mark == sources_mark\(\) else \"\"",
        "return text",
        "quick -k texts_of_other",
    ),
    Mutant(
        "an option that is used is completed again",
        "quick/completion.py",
        r"\(each\.many or each not in used\)",
        "True",
        "quick -k a_command_is_clicks and save",
    ),
    # cli
    Mutant(
        "exit code 1 becomes 0",
        "cli/diff.py",
        r"return 0 if difference\.equal else 1",
        "return 0",
        "diff -k tolerances",
    ),
    Mutant(
        "an error exits with 1",
        "cli/main.py",
        r"= 0, 1, 2, 141",
        "= 0, 1, 1, 141",
        "command_line -k an_error_is or internal",
    ),
    Mutant(
        "Ctrl-C exits with 0",
        "cli/signals.py",
        r"return SIGNAL_BASE \+ \(\w+\.number or 0\)",
        "return 0",
        "crash -k ends_a_save_in_order and SIGINT",
    ),
    Mutant(
        "a full standard error changes the exit code",
        "cli/main.py",
        r"_discard\(sys\.stderr\)",
        "pass",
        "command_line -k full_standard_error",
    ),
    Mutant(
        "CSV has Python's True",
        "cli/render.py",
        r'return "true" if value else "false"',
        "return str(value)",
        "chapter_script",
    ),
    Mutant(
        "control characters reach the terminal",
        "core/text.py",
        r"if text\.isprintable\(\)",
        "if True",
        "summary -k control",
    ),
    Mutant(
        "a pipe gets a progress bar", "cli/progress.py", r"not sys\.stderr\.isatty\(\)", "False", "init -k progress"
    ),
    # errors
    Mutant("an error lacks the value", "errors.py", r'f"\{rule\} \(got \{received\}\)"', "rule", "mistakes"),
    Mutant(
        "an error lacks its hint",
        "errors.py",
        r'return f"\{text\}\. \{hint\}" if hint else text',
        "return text",
        "mistakes",
    ),
    # core, declare, address
    Mutant("a fan ignores the groups", "core/parameter.py", r" // axis\.groups", "", "layers -k fans"),
    Mutant(
        "a lossy cast is allowed",
        "core/dtypes.py",
        r'if "overflow" not in allowed and not _keeps_finite',
        "if False and not _keeps_finite",
        "convert -k cast",
    ),
    Mutant(
        "an integer beyond the dtype wraps",
        "core/dtypes.py",
        r"bounded = np\.clip\(wide, low, high\)",
        "bounded = wide",
        "convert -k cast",
    ),
    Mutant(
        "* matches across slashes",
        "address/patterns.py",
        r"\[\^/\]\*\{last\}",
        ".*{last}",
        "address selection -k matches or form",
    ),
    Mutant(
        "a middle ** matches one name at least",
        "address/patterns.py",
        r"\(\?:\[\^/\]\+/\)\*\{last\}",
        "(?:[^/]+/)+{last}",
        "address selection -k matches or form",
    ),
    Mutant(
        "an option may be one less than its minimum",
        "declare/option_types.py",
        r"value < self\.minimum:",
        "value < self.minimum - 1:",
        "option_types",
    ),
    Mutant(
        "an option may have its excluded bound",
        "declare/option_types.py",
        r"not self\.above < value < self\.below",
        "not self.above <= value <= self.below",
        "option_types",
    ),
    # model
    Mutant(
        "frozen parameters count as trainable",
        "model/tree.py",
        r"other \+= size",
        "trainable += size",
        "samples summary language -k trainable or published or table",
    ),
    # init
    Mutant(
        "fans in Keras' convention are swapped",
        "init/fans.py",
        r"return first \* prod\(field\), last \* prod\(field\)(?=\n    if)",
        "return last * prod(field), first * prod(field)",
        "init -k fans",
    ),
    Mutant("attention's fan_out in torch is not tripled", "init/fans.py", r"3 \* fan_out", "fan_out", "init -k fans"),
    Mutant("the gain of relu is 2", "init/gains.py", r'"relu": sqrt\(2\)', '"relu": 2.0', "schemes -k law"),
    Mutant(
        "a uniform distribution reaches its upper end",
        "init/engines/native.py",
        r"np\.minimum\(out, np\.nextafter.*",
        "pass",
        "streams -k high_end",
    ),
    Mutant(
        "a stream ignores the path", "init/engines/streams.py", r"\\0\{self\.path\}", "", "streams -k each_make_other"
    ),
    Mutant(
        "all blocks have one stream",
        "init/engines/streams.py",
        r"spawn_key=\(block, ",
        "spawn_key=(0, ",
        "streams -k independent or other_machine",
    ),
    Mutant(
        "an orthogonal matrix has LAPACK's signs",
        "init/engines/native.py",
        r"q \*= np\.where.*",
        "pass",
        "streams -k uniform_among",
    ),
    Mutant(
        "the tails of the normal distribution are NumPy's",
        "init/engines/normals.py",
        r"tails\.replace\(values\)",
        "pass",
        "streams -k other_machine",
    ),
    Mutant(
        "a word in the wedge takes no further word",
        "init/engines/ziggurat.py",
        r"inner\[starts \+ 1\] = False",
        "pass",
        "ziggurat",
    ),
    Mutant(
        "the wedge is never below the density",
        "init/engines/ziggurat.py",
        r"height < density",
        "height < 0",
        "ziggurat",
    ),
    # source, store
    Mutant(
        "a renamed source reads under the new names",
        "source/derived.py",
        r"self\.base\.read\(self\.old_names\[path\]",
        "self.base.read(path",
        "sources -k reopens or renamed",
    ),
    Mutant(
        "a renamed source loses a tie's transpose",
        "source/derived.py",
        r"(Tie\(new_name\(tie\.kept\), new_name\(tie\.tied\)), tie\.transpose\)",
        r"\1)",
        "sources -k renamed",
    ),
    Mutant(
        "a renamed source keeps its ties under the old names",
        "source/derived.py",
        r"Tie\(new_name\(tie\.kept\), new_name\(tie\.tied\), tie\.transpose\) for tie",
        "tie for tie",
        "sources -k renamed",
    ),
    Mutant(
        "a slice changes the place beside it",
        "core/indexing.py",
        r"slice\(axis\.start - offset, stop if",
        "slice(axis.start - offset + 1, stop + 1 if",
        "edit -k numpys or chapters",
    ),
    Mutant(
        "a change in place is written from the start of the array",
        "edit/save_edited.py",
        r"extent\.offset \+ begin",
        "extent.offset",
        "edit -k in_place_no_other_byte or over_the_source",
    ),
    Mutant(
        "the file is not synced",
        "store/io/atomic.py",
        r"os\.fsync\(temporary\.descriptor\)",
        "pass",
        "crash -k claimed",
    ),
    Mutant("the folder is not synced", "store/io/atomic.py", r"os\.fsync\(descriptor\)", "pass", "crash -k claimed"),
    Mutant("the mode of a replaced file is lost", "store/io/atomic.py", r"os\.fchmod\(.*\)", "pass", "crash -k mode"),
    Mutant(
        "a file that appears late is replaced without --force",
        "store/io/atomic.py",
        r"if force:(?=\n            os\.replace)",
        "if True:",
        "crash -k force_alone",
    ),
    Mutant(
        "temporary files of killed writers stay",
        "store/io/atomic.py",
        r"    _?sweep\(folder\)\n",
        "",
        "crash -k dead_alone",
    ),
    Mutant(
        "the files of a set are not synced",
        "store/io/pending_files.py",
        r"os\.fsync\(temporary\.descriptor\)",
        "pass",
        "crash -k every_file_of_a_set",
    ),
    Mutant(
        "shards are not cut at the limit",
        "store/io/shards.py",
        r"\w+ \+ \w+\.bytes > \w+",
        "False",
        "save -k set_of_files",
    ),
    Mutant(
        "a file that shrinks reads as whatever was in memory",
        "store/io/extents.py",
        r"< len\(buffer\)",
        "< 0",
        "store -k shrinks",
    ),
    Mutant(
        "HDF5 may take any time and memory",
        "store/hdf5/limits.py",
        r"    limit_memory\(size\)\n    limit_time\(.*\)",
        "    pass",
        "hostile_checkpoints -k without",
    ),
    Mutant(
        "a set is listed out of order",
        "store/safetensors/shards.py",
        r"in index\.weight_map\}",
        "in reversed(index.weight_map)}",
        "formats -k order_of_its_index",
    ),
    Mutant(
        "a Keras variable has the number of the one before",
        "store/keras/paths.py",
        r'yield attributes, folders, counts\["/"\.join\(attributes\)\]',
        "yield attributes, folders, 0",
        "formats -k laid_out or pair",
    ),
    # formats that are only read
    Mutant(
        "a view of torch may end behind its storage",
        "store/torch/tensors.py",
        r"if span and tensor\.offset \+ span > available",
        "if False",
        "torch_files -k view_outside",
    ),
    Mutant(
        "the optimizer of a torch file is among its parameters",
        "store/torch/reading.py",
        r"elif is_state:",
        "elif False:",
        "torch_files -k names_follow",
    ),
    Mutant(
        "a transposed view of torch is a plain tie",
        "store/torch/reading.py",
        r"Tie\(kept\[turned\], path, transpose=True\)",
        "Tie(kept[turned], path)",
        "torch_files -k share_their_values",
    ),
    Mutant(
        "state in a file of paramctl's own is counted",
        "store/checkpoint.py",
        r"del parameters\[path\]",
        "pass",
        "state -k kept_in_every_format",
    ),
    Mutant(
        "a set of torch drops an array that is called like state",
        "store/torch/shards.py",
        r"listed = arrays\.parameters \| arrays\.state",
        "listed = arrays.parameters",
        "torch_files -k called_like_state",
    ),
    Mutant(
        "the axes of GGUF are in the order of the file",
        "store/gguf/header.py",
        r"for _ in range\(axes\)\)\[::-1\]",
        "for _ in range(axes))",
        "gguf -k values_shapes",
    ),
    Mutant(
        "a checksum of TensorFlow is not checked",
        "store/io/verified.py",
        r"if coverage\.whole not in \(None, array\.checksum\)",
        "if False",
        "tensorflow -k changed_value or any_order",
    ),
    Mutant(
        "a part of an array is read from its first value on",
        "store/io/boxes.py",
        r"first = first \* len\(whole\) \+ axis\.start - whole\.start",
        "first = 0",
        "dcp tensorflow -k any_range",
    ),
    Mutant(
        "the parts of an array may overlap",
        "store/io/boxes.py",
        r"if any\(corners\.values\(\)\)",
        "if False",
        "dcp tensorflow -k damaged_index or do_not_fit",
    ),
    Mutant(
        "a part of a distributed checkpoint is at the beginning of its file",
        "store/dcp/window.py",
        r"read_into\(self\.offset \+ offset,",
        "read_into(offset,",
        "dcp -k joined",
    ),
    Mutant(
        "a file at a URL may change while it is read",
        "store/remote/http_ranges.py",
        r"elif not self\.pinned\.agrees\(version\)",
        "elif False",
        "remote -k changes_is_an_error",
    ),
    Mutant(
        "skipped content is unknown to addresses",
        "store/registry.py",
        r", skipped=skipped\)\)",
        "))",
        "detection -k everything_else",
    ),
    # compute
    Mutant(
        "a shared array has the gradient of one use",
        "compute/gradients.py",
        r"sums\[kept\] \+ turned",
        "turned",
        "grad -k finite or shares",
    ),
    Mutant(
        "every epoch has the same order",
        "compute/shuffle.py",
        r"Purpose\.ORDER, epoch, number\)",
        "Purpose.ORDER, number)",
        "train -k every_example",
    ),
    Mutant(
        "training goes on without the optimizer's arrays",
        "library/training_state.py",
        r"training\.slots, training\.step = slots, step",
        "training.step = step",
        "train -k two_parts",
    ),
    Mutant(
        "weights are scaled twice as far",
        "compute/lsuv.py",
        r"self\.values\[path\] / deviation \*\*",
        "self.values[path] / deviation / deviation **",
        "lsuv -k unit_variance",
    ),
    Mutant(
        "the gradient is measured the wrong way round",
        "compute/probe.py",
        r"_ratio\(gradients\[0\], gradients\[-1\]\)",
        "_ratio(gradients[-1], gradients[0])",
        "probe -k published",
    ),
    Mutant(
        "a shared layer of Keras is listed by the depth of its last call alone",
        "store/keras/layer_order.py",
        r"max\(call_depths\.get\(call, 0\), depths\.get\(call\.object, 0\)\)",
        "call_depths.get(call, 0)",
        "formats -k laid_out",
    ),
    Mutant(
        "Fortran order is read as C order",
        "store/io/fortran_order.py",
        r"start = _fortran_place\(slab\.row, strips\.before\)",
        "start = slab.row",
        "npz -k fortrans_order",
    ),
    Mutant(
        "an npz takes any file for its own",
        "store/npz/format.py",
        r"location\.read\(0, 4\) in ZIP_SIGNATURES",
        "True",
        "detection",
    ),
    Mutant(
        "an index of safetensors is not recognized",
        "store/safetensors/format.py",
        r"HUGGING_FACE_INDEX\.search\(location\.read\(0, INDEX_START\)\) is not None",
        "False",
        "detection",
    ),
    Mutant(
        "a Keras archive is an npz",
        "store/keras/format.py",
        r"return CONFIG in names and not names\.isdisjoint\(\{WEIGHTS, NPZ_WEIGHTS, METADATA\}\)",
        "return False",
        "detection",
    ),
    Mutant(
        "an archive cut within its comment is read",
        "store/io/zips.py",
        r"    _check_whole_comment\(.*\)\n",
        "",
        "detection -k cut_short",
    ),
    Mutant(
        "a tie of another dtype is accepted",
        "edit/tie.py",
        r"if other\.dtype != kept\.dtype",
        "if False",
        "ties -k cannot_be_tied",
    ),
    Mutant(
        "untying frees every tie",
        "edit/tie.py",
        r"if tie\.tied not in \w+\)",
        "if not tie.tied)",
        "ties -k untied or taken_out or pipes",
    ),
    # conversion, inspect
    Mutant(
        "an input's order ignores the layers that read it",
        "conversion/channel_order.py",
        r"return CHANNELS_LAST if orders == .*",
        "return None",
        "convert -k layers_that_read_it",
    ),
    Mutant(
        "an option that torch's module lacks is converted",
        "model/layers/base.py",
        r"and not option\.supports\(value\)",
        "and False",
        "convert -k module_lacks",
    ),
    Mutant(
        "a convolution's kernel is not transposed for torch",
        "model/layers/torch.py",
        r"shape, \(rank \+ 1, rank, \*range\(rank\)\)",
        "shape, range(rank + 2), (shape[-1], shape[-2], *shape[:-2])",
        "convert -k torchs_order",
    ),
    Mutant(
        "a dense kernel is not transposed for torch",
        "model/layers/core.py",
        r"\(inputs, units\), \(1, 0\)\)",
        "(inputs, units), (0, 1), (units, inputs))",
        "convert -k torchs_order",
    ),
    Mutant(
        "arrays of two dtypes are packed",
        "conversion/torch.py",
        r"if len\(set\(dtypes\.values\(\)\)\) > 1",
        "if False",
        "convert -k different_dtypes",
    ),
    Mutant(
        "the place of the first NaN ignores the piece",
        "inspect/tally.py",
        r"self\.size \+ later\.first",
        "later.first",
        "stat -k threads or cut or apart",
    ),
    Mutant(
        "joined spreads ignore the means",
        "inspect/moments.py",
        r" \+ shift \* shift \* a\.size \* share",
        "",
        "stat -k cut or numpy",
    ),
    Mutant(
        "a relative tolerance counts as 0",
        "inspect/tolerance.py",
        r"self\.absolute \+ self\.relative \* magnitude",
        "self.absolute + 0 * magnitude",
        "diff -k tolerances",
    ),
    # combinations
    Mutant(
        "a mean adds the files, and does not divide",
        "source/combined.py",
        r"return total / len\(self\.names\)",
        "return total",
        "combine -k mean",
    ),
    Mutant(
        "integers that differ are those of the first file",
        "edit/pairing.py",
        r"last_key if owner\.path in different else first_key",
        "first_key",
        "combine -k integers",
    ),
    Mutant(
        "the result of an expression may be NaN",
        "source/combined.py",
        r"self\._check_finite\(path, values, operands\)",
        "pass",
        "combine -k overflow",
    ),
    Mutant(
        "an adapter is merged without its scale",
        "source/merged.py",
        r"return values \* change\.scale",
        "return values",
        "lora -k scale",
    ),
    Mutant(
        "a square weight takes the way of the configuration",
        "edit/lora_match.py",
        r"way = evident\.get\(.*?\) if way is None else way",
        "way = way",
        "lora -k square",
    ),
    Mutant(
        "an extracted factor has the wrong sign",
        "edit/extract_lora.py",
        r"\(up \* signs\)",
        "up",
        "lora -k signs",
    ),
    # statistics, findings, hashes
    Mutant(
        "a quantile is the value below it",
        "inspect/quantiles.py",
        r"value = a \+ difference \* share if share < 0\.5 else b - difference \* \(1 - share\)",
        "value = a",
        "quantiles -k every_dtype",
    ),
    Mutant(
        "one NaN is no finding",
        "inspect/check/values.py",
        r"if facts\.tally\.nan:",
        "if facts.tally.nan > 1:",
        "check -k beside_float8",
    ),
    Mutant(
        "arrays of other shapes are grouped",
        "inspect/repeats.py",
        r"            model\.parameters\[path\]\.axes,\n",
        "",
        "grouped -k differ",
    ),
    Mutant(
        "the leaf between two pieces is hashed last",
        "store/sums/array_sum.py",
        r"self\.leaves \+ hashed\.digest\(\) \+ later\.leaves",
        "self.leaves + later.leaves + hashed.digest()",
        "verify -k pieces",
    ),
    Mutant(
        "a wrong checksum of HDF5 is read",
        "store/hdf5/metadata_reader/checksum.py",
        r"raise Unknown\(\"a checksum is wrong\"\)",
        "pass",
        "hdf5_metadata -k wrong_checksum",
    ),
]


def apply(mutant: Mutant, folder: Path) -> str | None:
    """Break a copy of the project; return why that is not possible, if so."""
    path = folder / "paramctl" / mutant.file
    if not path.exists():
        return f"paramctl/{mutant.file} does not exist"
    broken, count = re.subn(mutant.pattern, mutant.replacement, path.read_text())
    if count != 1:
        return f"the pattern must match once in paramctl/{mutant.file} (got {count} matches)"
    path.write_text(broken)
    return None


def selection(tests: str) -> list[str]:
    """Return pytest's arguments for ``NAME... [-k EXPRESSION]``."""
    names, _, expression = tests.partition(" -k ")
    return [f"tests/test_{name}.py" for name in names.split()] + (["-k", expression] if expression else [])


def limit_resources() -> None:
    """Limit each process of a test: a mutant may take away the limits that keep a damaged file from all memory."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))


def pytest(folder: Path, tests: str, limit: float | None, *options: str) -> tuple[int | None, float, str]:
    """Run tests in a copy; return the exit code, or None after the limit, the seconds, and the output."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", *options, *selection(tests)]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": ""}
    begun = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=limit_resources,
    )
    try:
        out, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return None, time.monotonic() - begun, ""
    return process.returncode, time.monotonic() - begun, out


def copy(folder: Path) -> Path:
    """Copy the project, compiled. Python compares a compiled file with its source by their hash: times are too coarse
    for a file that is broken and mended within a second."""
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    compileall.compile_dir(folder / "paramctl", quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    return folder


def verdict(mutant: Mutant, folder: Path) -> str | None:
    """Return what is wrong with a mutant: it cannot be applied, its tests cannot run, or it survives them."""
    if problem := apply(mutant, folder):
        return problem
    shutil.rmtree(folder / ".pytest_cache", ignore_errors=True)
    limit = patience(STARTS)
    try:
        code, _, out = pytest(folder, mutant.tests, limit)
    finally:
        shutil.copy(ROOT / "paramctl" / mutant.file, folder / "paramctl" / mutant.file)
    if code == 0:
        return f"survives: {mutant.tests}"
    if code not in (1, None):
        return f"the tests cannot run:\n{out[-2000:]}"
    # what failed must pass on the package itself; if nothing ended, all of it must
    clean, seconds, out = pytest(folder, mutant.tests, None, *(["--last-failed"] if code else []))
    if clean:
        return f"the tests fail on the package itself:\n{out[-2000:]}"
    return "its tests take too long to tell whether it hangs" if code is None and TIMES * seconds > limit else None


def main(words: Sequence[str]) -> int:
    mutants = [mutant for mutant in MUTANTS if not words or any(word in mutant.defect for word in words)]
    assert mutants, "no mutant has one of these words"
    workers = int(os.environ.get("MUTANT_WORKERS", os.cpu_count() or 1))
    problems = 0
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(workers) as pool:
        folders: SimpleQueue[Path] = SimpleQueue()
        for number in range(workers):
            folders.put(copy(Path(place) / str(number)))

        def check(mutant: Mutant) -> str | None:
            folder = folders.get()
            try:
                return verdict(mutant, folder)
            finally:
                folders.put(folder)

        for mutant, problem in zip(mutants, pool.map(check, mutants), strict=True):
            problems += problem is not None
            print(f"{mutant.defect}: {problem or 'noticed'}", flush=True)  # noqa: T201
    print(f"{len(mutants) - problems} of {len(mutants)} mutants are noticed")  # noqa: T201
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
