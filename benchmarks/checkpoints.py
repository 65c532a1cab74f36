"""The cost of files: 1 GB in 2,000 arrays summarized, dumped, compared, and converted, here and elsewhere.

``make bench`` runs it. Whole processes, measured in turn, on files that are in memory, each conversion ending when its
file is synced. Beside ours stand a script of a few lines, h5ls, h5dump and h5diff (Debian's hdf5-tools) if they are
there, torch and Keras if an interpreter that has them and safetensors is given as an argument, and sft (PyPI's
sft-cli) if its path is a second one. It needs 9 GB of disk, and as much memory to keep them there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from measure import Cost, cost, side_by_side
from tabulate import tabulate

PYTHON = sys.executable
PARAMCTL = str(Path(PYTHON).parent / "paramctl")
LAYERS, WIDTH = 1000, 500
ARRAYS = 2 * LAYERS
ONE = "layers/dense_7/vars/0"
RUNS = 5
GIGABYTES = 9

Row = tuple[object, ...]
Peers = dict[str, list[str]]

MAKE = """
import h5py
import numpy as np
from safetensors.numpy import save_file
rng, arrays = np.random.default_rng(0), {{}}
for k in range({layers}):
    for place, shape in enumerate((({width}, {width}), ({width},))):
        arrays[f"layers/dense_{{k}}/vars/{{place}}"] = rng.standard_normal(shape, dtype=np.float32)
for h5, safetensors in {files!r}:
    save_file(arrays, safetensors)
    with h5py.File(h5, "w") as file:
        for path, array in arrays.items():
            file[path] = array
    for array in arrays.values():
        array.reshape(-1)[7] += 1
"""
SUMMARY = {
    "h5": """
import h5py
def show(name, item):  # without a result: the visit ends at the first that is not None
    if isinstance(item, h5py.Dataset):
        print(name, item.shape, item.dtype)
with h5py.File({a!r}) as file:
    file.visititems(show)
""",
    "safetensors": """
from safetensors import safe_open
with safe_open({a!r}, "numpy") as file:
    for name in file.keys():
        part = file.get_slice(name)
        print(name, part.get_shape(), part.get_dtype())
""",
}
DUMP = {
    "h5": "import h5py; print(h5py.File({a!r})[{one!r}][()])",
    "safetensors": "from safetensors import safe_open; print(safe_open({a!r}, 'numpy').get_tensor({one!r}))",
}
READ = {  # get(file, name) and names(file), of an open file of each format
    "h5": """
import h5py
def opened(path):
    file, names = h5py.File(path), []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names, lambda name: file[name][()]
""",
    "safetensors": """
from safetensors import safe_open
def opened(path):
    file = safe_open(path, "numpy")
    return list(file.keys()), file.get_tensor
""",
}
DIFF = """
import numpy as np
names, a = opened({a!r})
_, b = opened({b!r})
for name in names:
    x, y = a(name), b(name)
    if not np.array_equal(x, y):
        print(name, np.abs(x - y).max())
"""
WRITE = {
    "h5": """
import os, h5py
names, values = opened({a!r})
with h5py.File({out!r}, "w") as file:
    for name in names:
        file[name] = values(name)
os.fsync(os.open({out!r}, os.O_RDWR))
""",
    "safetensors": """
import os
from safetensors.numpy import save_file
names, values = opened({a!r})
save_file({{name: values(name) for name in names}}, {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
""",
}
TORCH_LOAD = "from safetensors.torch import load_file; arrays = load_file({a!r})\n"
TORCH_SUMMARY = TORCH_LOAD + "for name, array in arrays.items(): print(name, tuple(array.shape), array.dtype)"
TORCH_DUMP = TORCH_LOAD + "print(arrays[{one!r}])"
TORCH_WRITE = {
    "h5": TORCH_LOAD
    + """
import os, h5py
with h5py.File({out!r}, "w") as file:
    for name, array in arrays.items():
        file[name] = array.numpy()
os.fsync(os.open({out!r}, os.O_RDWR))
""",
    "safetensors": """
import os, torch
from safetensors.torch import save_file
names, values = opened({a!r})
save_file({{name: torch.from_numpy(values(name)) for name in names}}, {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
""",
}
TURN = {
    "NumPy, a script": """
import os
import numpy as np
from safetensors.numpy import load_file, save_file
save_file({{name: np.ascontiguousarray(array.T) for name, array in load_file({a!r}).items()}}, {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
""",
    "torch": """
import os
from safetensors.torch import load_file, save_file
save_file({{name: array.t().contiguous() for name, array in load_file({a!r}).items()}}, {out!r})
os.fsync(os.open({out!r}, os.O_RDWR))
""",
}
WIDE = "input: [10000]\nlayers:\n  - dense: {units: 10000, use_bias: false}\n"
KERAS_LOAD = "import keras; editor = keras.saving.KerasFileEditor({a!r})\n"
KERAS_SUMMARY = KERAS_LOAD + "editor.summary()"
KERAS_DUMP = KERAS_LOAD + "print(editor.weights_dict['layers']['dense_7']['0'])"

HEADS = [
    "paramctl",
    "against",
    "ours, s",
    "theirs, s",
    "ratio",
    "ours, CPU s",
    "theirs, CPU s",
    "ours, MB",
    "theirs, MB",
]


class Bench:
    """A folder with the files, and who else is here to read them."""

    def __init__(self, folder: Path, python: str | None, sft: str | None) -> None:
        self.folder, self.peer, self.sft = folder, python, sft
        self.files = {
            kind: {name: str(folder / f"{name}.{suffix}") for name in ("a", "same", "other")}
            for kind, suffix in (("h5", "weights.h5"), ("safetensors", "safetensors"))
        }
        self.out = {kind: str(folder / f"out.{kind}") for kind in self.files}

    def make(self) -> None:
        """A checkpoint, its copy, and one in which one value of each array is another; this process stays small."""
        files = [tuple(self.files[kind][name] for kind in self.files) for name in ("a", "other")]
        cost([PYTHON, "-c", MAKE.format(layers=LAYERS, width=WIDTH, files=files)])
        for each in self.files.values():
            shutil.copy(each["a"], each["same"])

    def script(self, code: str, kind: str, python: str | None = None, **names: str) -> list[str]:
        return [python or PYTHON, "-c", code.format(one=ONE, **{"a": self.files[kind]["a"], **names})]

    def clear(self) -> None:
        for path in self.out.values():
            Path(path).unlink(missing_ok=True)
        os.sync()

    def table(self, title: str, ours: list[str], peers: Peers, before: Callable[[], None] | None = None) -> list[Row]:
        costs = side_by_side(ours, *peers.values(), runs=RUNS, before=before)
        return [row(title, against, costs[0], theirs) for against, theirs in zip(peers, costs[1:], strict=True)]


def row(words: str, against: str, ours: Cost, theirs: Cost) -> Row:
    ratio = ours.elapsed / theirs.elapsed
    seconds, memory = (ours.seconds, theirs.seconds), (ours.megabytes, theirs.megabytes)
    return (words, against, ours.elapsed, theirs.elapsed, ratio, *seconds, *memory)


def tool(name: str, *arguments: str) -> Iterator[tuple[str, list[str]]]:
    """A tool of HDF5's own, if it is there."""
    path = shutil.which(name)
    if path is not None:
        yield " ".join([name, *(each for each in arguments if each.startswith("-"))]), [path, *arguments]


def differs(command: Sequence[str]) -> list[str]:
    """A command that ends with 1, for what it compares differs: that is no trouble."""
    return ["sh", "-c", '"$@"; test $? -le 1', "sh", *command]


def check_lists(commands: Iterable[list[str]]) -> None:
    """Raise an error unless each command prints a line for each array: one that stops early looks fast."""
    for command in commands:
        done = subprocess.run(command, capture_output=True, check=True)
        if done.stdout.count(b"\n") < ARRAYS or b"dense_%d" % (LAYERS - 1) not in done.stdout:
            raise RuntimeError(f"{' '.join(command)} listed less than {ARRAYS} arrays")


def summaries(bench: Bench) -> None:
    rows = []
    for kind, files in bench.files.items():
        peers = {f"{'h5py' if kind == 'h5' else 'safetensors'}, a script": bench.script(SUMMARY[kind], kind)}
        if kind == "h5":
            peers |= tool("h5ls", "-r", files["a"])
        elif bench.sft:
            peers["sft tree"] = [bench.sft, "tree", files["a"]]
        if bench.peer:
            code = KERAS_SUMMARY if kind == "h5" else TORCH_SUMMARY
            peers["Keras' editor" if kind == "h5" else "torch"] = bench.script(code, kind, bench.peer)
        ours = [PARAMCTL, "summary", files["a"]]
        check_lists([ours, *peers.values()])
        rows += bench.table(f"summary, {kind}", ours, peers)
    show("2,000 arrays summarized", HEADS, rows)


def dumps(bench: Bench) -> None:
    rows = []
    for kind, files in bench.files.items():
        peers = {f"{'h5py' if kind == 'h5' else 'safetensors'}, a script": bench.script(DUMP[kind], kind)}
        if kind == "safetensors" and bench.sft:
            peers["sft stat (it prints no values)"] = [bench.sft, "stat", files["a"], f"--include={ONE}"]
        if bench.peer:
            code = KERAS_DUMP if kind == "h5" else TORCH_DUMP
            peers["Keras' editor" if kind == "h5" else "torch"] = bench.script(code, kind, bench.peer)
        rows += bench.table(f"dump, {kind}", [PARAMCTL, "dump", files["a"], ONE], peers)
        every = dict(tool("h5dump", "-d", f"/{ONE}", files["a"])) if kind == "h5" else {}
        if every:
            rows += bench.table("dump --full, h5", [PARAMCTL, "dump", files["a"], ONE, "--full"], every)
    show("One array of them dumped", HEADS, rows)


def diffs(bench: Bench) -> None:
    rows = []
    for kind, files in bench.files.items():
        for other, words in (("same", "the same"), ("other", "one value of each array")):
            pair = files["a"], files[other]
            peers = {"NumPy, a script": bench.script(READ[kind] + DIFF, kind, b=files[other])}
            if kind == "h5":
                peers |= tool("h5diff", *pair)
            elif bench.sft:
                peers["sft diff --delta"] = [bench.sft, "diff", "--delta", *pair]
            peers = {name: differs(command) for name, command in peers.items()}
            rows += bench.table(f"diff, {kind}, {words}", differs([PARAMCTL, "diff", *pair]), peers)
    show("1 GB compared with another", HEADS, rows)


def conversions(bench: Bench) -> None:
    rows = []
    for kind, into in (("h5", "safetensors"), ("safetensors", "h5")):
        out = bench.out[into]
        peers = {"NumPy, a script": bench.script(READ[kind] + WRITE[into], kind, out=out)}
        if bench.peer:
            read = READ[kind] if kind == "h5" else ""
            peers["torch"] = bench.script(read + TORCH_WRITE[into], kind, bench.peer, out=out)
        ours = [PARAMCTL, "save", bench.files[kind]["a"], "-o", out]
        rows += bench.table(f"save, {kind} to {into}", ours, peers, bench.clear)
    rows += turned(bench)
    bench.clear()
    show("1 GB converted, 0.4 GB transposed, and on the disk", HEADS, rows)


def turned(bench: Bench) -> list[Row]:
    """One matrix, which in torch's layout is its transpose: of all that a layout asks, what touches most memory."""
    document, wide, out = (
        str(bench.folder / "wide.yaml"),
        str(bench.folder / "wide.safetensors"),
        bench.out["safetensors"],
    )
    Path(document).write_text(WIDE)
    cost([PARAMCTL, "save", document, "-o", wide, "-q"])
    peers = {
        name: bench.script(code, "safetensors", bench.peer if name == "torch" else None, a=wide, out=out)
        for name, code in TURN.items()
        if name != "torch" or bench.peer
    }
    return bench.table(
        "save --layout torch", [PARAMCTL, "save", wide, "--layout", "torch", "-o", out], peers, bench.clear
    )


def against_cat(bench: Bench) -> None:
    """Measure the speed of reading: a comparison of equal files does nothing else."""
    rows = []
    for kind, files in bench.files.items():
        pair = files["a"], files["same"]
        ours, names, cat = side_by_side(
            [PARAMCTL, "diff", *pair], [PARAMCTL, "diff", "--structure", *pair], ["cat", *pair], runs=RUNS
        )
        gigabytes = sum(Path(path).stat().st_size for path in pair) / 1e9
        for words, seconds, most in (
            (f"diff, {kind}", ours.elapsed, None),
            (f"diff, {kind}, beyond --structure", ours.elapsed - names.elapsed, 2),
        ):
            rows.append(
                (words, seconds, cat.elapsed, gigabytes / seconds, gigabytes / cat.elapsed, seconds / cat.elapsed, most)
            )
    heads = ["paramctl", "ours, s", "cat, s", "ours, GB/s", "cat, GB/s", "ratio", "aim: at most"]
    show("Two files read, against cat", heads, rows)


def show(title: str, headers: list[str], rows: list[Row]) -> None:
    print(f"\n{title}\n\n{tabulate(rows, headers, floatfmt='.3g')}", flush=True)


def main(python: str | None = None, sft: str | None = None) -> None:
    with tempfile.TemporaryDirectory(prefix="paramctl-bench-") as folder:
        if shutil.disk_usage(folder).free < GIGABYTES * 1e9:
            print(f"\nskipped: files of weights, for want of {GIGABYTES} GB of disk")
            return
        for missing, words in (
            (not shutil.which("h5diff"), "h5ls, h5dump and h5diff (Debian: hdf5-tools)"),
            (not python, "torch and Keras (give the path of a Python that has them)"),
            (not sft, "sft (PyPI: sft-cli; give its path as a second argument)"),
        ):
            if missing:
                print(f"\nskipped: {words}")
        bench = Bench(Path(folder), python, sft)
        bench.make()
        for part in (summaries, dumps, diffs, against_cat, conversions):
            part(bench)


if __name__ == "__main__":
    main(*sys.argv[1:3])
