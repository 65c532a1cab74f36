"""paramctl init: which scheme each parameter gets, where it is written, and what is said of it."""

import json
import os
from math import sqrt
from pathlib import Path

import h5py
import numpy as np
import pytest

from paramctl.cli import progress
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.init import presets
from paramctl.init.fans import fans
from paramctl.init.rules import InitRequest, assign_schemes
from tests import forks
from tests.conftest import ROOT, SAMPLES, Run, layers, model

MLP = str(ROOT / "sample_models/mlp.yaml")
RGNET = str(ROOT / "sample_models/rgnet.yaml")
FANCY = str(ROOT / "sample_models/fancy_mlp.yaml")
GPT2 = str(ROOT / "sample_models/gpt2.yaml")


def plan(paramctl: Run, *arguments: str) -> dict[str, dict[str, object]]:
    """The plan of an init, by path."""
    done = paramctl("init", *arguments, "--dry-run", "--format", "json")
    assert done.returncode == 0, done.stderr
    return {row["path"]: row for row in json.loads(done.stdout)}


def test_the_first_that_applies(paramctl: Run, tmp_path: Path) -> None:
    """rule, scheme, the layer's own, the document's initializers, preset, default: each wins over the next."""
    (tmp_path / "m.yaml").write_text(
        "input: [8]\nlayers:\n"
        "  - dense: {name: ruled, units: 8, kernel_initializer: ones}\n"
        "  - dense: {name: own, units: 8, kernel_initializer: ones, bias_initializer: ones}\n"
        "  - dense: {name: document, units: 8}\n"
        "  - dense: {name: frozen, units: 8, trainable: false}\n"
        "initializers: {document/*: {constant: 3}}\n"
    )
    everything = plan(paramctl, "m.yaml", "--rule", "ruled/*=zeros", "--scheme", "glorot", "--preset", "torch")
    assert {path: row["reason"] for path, row in everything.items()} == {
        "ruled/kernel": "--rule ruled/*",
        "ruled/bias": "--rule ruled/*",
        "own/kernel": "--scheme",
        "own/bias": "the layer's initializer",
        "document/kernel": "--scheme",
        "document/bias": "initializers: document/*",
        "frozen/kernel": "the type's default",
        "frozen/bias": "the type's default",
    }
    less = plan(paramctl, "m.yaml", "--preset", "torch")
    assert less["own/kernel"]["reason"] == "the layer's initializer"
    assert less["document/kernel"]["reason"] == "initializers: document/*"
    assert less["ruled/bias"]["reason"] == "--preset torch"
    assert less["ruled/bias"]["scheme"] == f"random_uniform(minval={-1 / sqrt(8)}, maxval={1 / sqrt(8)})"


def test_the_first_rule_that_matches_counts_and_keep_keeps(paramctl: Run) -> None:
    rows = plan(
        paramctl,
        RGNET,
        "--rule",
        "block2/block-1/dense/kernel=keep",
        "--rule",
        "block2/**=constant:42",
        "--scheme",
        "he",
    )
    assert rows["block2/block-1/dense/kernel"]["scheme"] == "glorot_uniform", (
        "keep keeps even what --scheme would change"
    )
    assert rows["block2/block-0/dense/kernel"]["scheme"] == "constant(value=42)"
    assert rows["block2/block-1/dense/bias"]["scheme"] == "constant(value=42)"
    assert rows["dense/kernel"]["scheme"] == "he_normal"
    assert rows["dense/bias"]["scheme"] == "zeros"


def test_a_pattern_skips_parameters_that_its_scheme_does_not_fit(paramctl: Run) -> None:
    rows = plan(paramctl, MLP, "--rule", "dense/**=glorot_normal")
    assert rows["dense/kernel"]["scheme"] == "glorot_normal"
    assert rows["dense/bias"]["scheme"] == "zeros"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--rule", "dense/bias=glorot"],
            "glorot_uniform for dense/bias: requires fans, which only a parameter that maps inputs to outputs has (got shape (4,))",
        ),
        (
            ["--rule", "*/bias=glorot"],
            "--rule */bias: glorot_uniform applies to none of its matches (got dense_1/bias (1,): requires",
        ),
        (
            ["--rule", "dens/kernel=zeros"],
            "has no parameter with this name (got 'dens/kernel'). Did you mean 'dense/kernel'?",
        ),
        (["--rule", "dense/kernel"], "--rule must be PATTERN=SCHEME (got 'dense/kernel'"),
        (["--scheme", "glorrot"], "--scheme: no scheme has this name (got 'glorrot'). Did you mean 'glorot'?"),
        (["--scheme", "normal:stdev=1"], "random_normal has no such option (got 'stdev'). Did you mean 'stddev'?"),
        (["--scheme", "normal:stddev=-1"], "stddev must be a non-negative finite number (got -1"),
        (["--scheme", "normal:stddev=.nan"], "(got "),
        (["--scheme", "trunc_normal:a=5,b=6"], "less than 1% of the distribution is between a = 5 and b = 6"),
        (["--scheme", "lecun_normal:gain=gellu"], "Did you mean 'gelu'?"),
        (["--scheme", "{mixture: [[0.5, zeros]]}"], "whose probabilities add up to 1"),
        (
            ["--scheme", "{mixture: [[0.5, zeros], [0.5, orthogonal]]}"],
            "its parts must be schemes with independent values, not such as orthogonal or sparse",
        ),
        (["--scheme", "constant:1e39"], "dense/kernel: a value exceeds the range of float32"),
        (["--dtype", "float16", "--scheme", "constant:70000"], "dense/kernel: a value exceeds the range of float16"),
        (["--seed", "-1"], "must be a whole number from 0 to 2^63 - 1, or 'random' (got '-1'"),
        (["--seed", "9223372036854775808"], "from 0 to 2^63 - 1"),
        (["-o", "x.txt"], "x.txt: the suffix must name a format: "),
        (["-o", "no/x.h5"], "no/x.h5: no such folder"),
        (["-D", "width=3"], "the document has no such variable"),
    ],
)
def test_an_error_is_one_line_and_writes_nothing(
    arguments: list[str], says: str, paramctl: Run, tmp_path: Path
) -> None:
    done = paramctl("init", MLP, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert os.listdir(tmp_path) == []


def test_where_it_is_written_by_default(paramctl: Run, tmp_path: Path) -> None:
    """model.yaml here, to the name in the document; never over a file that is there."""
    (tmp_path / "model.yaml").write_text("name: net\ninput: [2]\nlayers: [{dense: 3}]\n")
    assert paramctl("init").stderr == "wrote net.h5: 2 arrays, 9 values, seed 0\n"
    before = (tmp_path / "net.h5").read_bytes()
    again = paramctl("init", "--seed", "1")
    assert (again.returncode, again.stderr) == (2, "net.h5: already exists (use --force to overwrite)\n")
    assert (tmp_path / "net.h5").read_bytes() == before
    assert paramctl("init", "--seed", "1", "--force").returncode == 0
    assert (tmp_path / "net.h5").read_bytes() != before
    assert sorted(os.listdir(tmp_path)) == ["model.yaml", "net.h5"]


def test_two_commands_agree_and_so_do_their_files(paramctl: Run, tmp_path: Path) -> None:
    paramctl("init", MLP, "-o", "a.h5", "-q")
    paramctl("init", MLP, "-o", "b.h5", "-q", "--seed", "0")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_random_seed_is_recorded_and_gives_the_same_again(paramctl: Run, tmp_path: Path) -> None:
    told = paramctl("init", MLP, "-o", "a.h5", "--seed", "random").stderr
    seed = told.split("seed ")[1].strip()
    with h5py.File(tmp_path / "a.h5") as file:
        assert str(file["dense/kernel"].attrs["seed"]) == seed
    other = paramctl("init", MLP, "-o", "b.h5", "--seed", "random").stderr
    assert other.split("seed ")[1].strip() != seed
    paramctl("init", MLP, "-o", "c.h5", "--seed", seed, "-q")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "c.h5").read_bytes()


def test_the_documents_seed_holds_unless_the_command_line_has_one(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("seed: 7\ninput: [2]\nlayers: [{dense: 3}]\n")
    of_document = paramctl("dump", "m.yaml", "dense/kernel").stdout
    assert of_document == paramctl("dump", "m.yaml", "dense/kernel", "--seed", "7").stdout
    assert of_document != paramctl("dump", "m.yaml", "dense/kernel", "--seed", "8").stdout


def test_the_report_measures_the_written_values(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("input: [300]\nlayers: [{dense: 900}]\n")
    done = paramctl("init", "m.yaml", "--rule", "*/bias=normal:mean=1000,stddev=0.01", "--format", "json")
    kernel, bias = json.loads(done.stdout)
    with h5py.File(tmp_path / "m.h5") as file:
        values = file["dense/kernel"][()].astype(float)
        biases = file["dense/bias"][()].astype(float)
    assert kernel["stddev"] == pytest.approx((2 / 1200) ** 0.5)
    assert kernel["measured_mean"] == pytest.approx(values.mean(), abs=1e-8)
    assert kernel["measured_stddev"] == pytest.approx(values.std(), rel=1e-5)
    assert bias["measured_mean"] == pytest.approx(biases.mean(), rel=1e-9)
    assert bias["measured_stddev"] == pytest.approx(biases.std(), rel=1e-3), "a great mean hides no deviation"


def test_integers_are_measured_as_any_values(paramctl: Run, tmp_path: Path) -> None:
    """Those that are kept too."""
    np.savez(tmp_path / "m.npz", w=np.ones((40, 40), "float32"), steps=np.arange(7))
    done = paramctl("init", "m.npz", "--rule", "w=normal:stddev=1", "-o", "new.npz", "--format", "json")
    rows = {row["path"]: row for row in json.loads(done.stdout)}
    assert rows["w"]["measured_stddev"] == pytest.approx(1, abs=0.1)
    assert (rows["steps"]["measured_mean"], rows["steps"]["measured_stddev"]) == (3, 2)


def test_parameters_of_a_checkpoint_without_a_rule_keep_their_values(paramctl: Run, tmp_path: Path) -> None:
    paramctl("init", RGNET, "-o", "old.h5", "--seed", "3", "-q")
    done = paramctl(
        "init", "old.h5", "--rule", "block2/block-1/**=he", "--seed", "5", "-o", "new.h5", "--format", "json"
    )
    changed = [row["path"] for row in json.loads(done.stdout) if row["reason"] != "kept"]
    assert changed == ["block2/block-1/dense/kernel"]
    with h5py.File(tmp_path / "old.h5") as old, h5py.File(tmp_path / "new.h5") as new:
        assert np.array_equal(old["dense/kernel"], new["dense/kernel"])
        assert not np.array_equal(old["block2/block-1/dense/kernel"], new["block2/block-1/dense/kernel"])
        assert new["dense/kernel"].attrs["seed"] == 3, "it came by its values as before"
        assert new["block2/block-1/dense/kernel"].attrs["seed"] == 5
        assert new["block2/block-1/dense/kernel"].attrs["scheme"] == "he_normal"
    again = paramctl("dump", RGNET, "dense/kernel", "--seed", "3").stdout
    assert again == paramctl("dump", "new.h5", "dense/kernel").stdout


def test_a_file_that_says_nothing_of_axes_has_no_fans(paramctl: Run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["head/kernel"] = np.ones((3, 3), "float32")
    refused = paramctl("init", "foreign.h5", "--rule", "head/kernel=glorot", "-o", "new.h5")
    assert refused.returncode == 2
    assert "requires fans, but the file does not record which axes are inputs" in refused.stderr
    assert paramctl("init", "foreign.h5", "--rule", "head/kernel=normal:stddev=2", "-o", "new.h5", "-q").returncode == 0
    with h5py.File(tmp_path / "new.h5") as file:
        assert np.unique(file["head/kernel"]).size == 9


@pytest.mark.parametrize("option", [("--scheme", "he_normal"), *(("--preset", name) for name in presets.PRESETS)])
def test_a_scheme_or_preset_that_applies_to_nothing_is_an_error(
    option: tuple[str, str], paramctl: Run, tmp_path: Path
) -> None:
    """In a file that does not record which axes are inputs, the option alone would write the same values again."""
    np.savez(tmp_path / "m.npz", **{"w.weight": np.ones((4, 4), "float32")})
    done = paramctl("init", "m.npz", *option, "-o", "new.h5")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{option[0]} {option[1]}: " in done.stderr
    assert "arrays are; add --like MODEL" in done.stderr
    assert not (tmp_path / "new.h5").exists()


def test_the_statistics_of_kept_values_lose_no_digits(paramctl: Run, tmp_path: Path) -> None:
    """float32 sums of squares about 0 gave a deviation of 0.0001 to a constant, and any number to a narrow array."""
    narrow = np.random.default_rng(0).normal(1e4, 0.5, 600_000).astype("float32")  # three blocks
    np.savez(tmp_path / "m.npz", constant=np.full(2, 0.99, "float32"), narrow=narrow, bias=np.ones(3, "float32"))
    done = paramctl("init", "m.npz", "--rule", "bias=zeros", "-o", "new.npz", "--format", "json")
    rows = {row["path"]: row for row in json.loads(done.stdout)}
    assert rows["constant"]["measured_stddev"] == 0
    assert rows["narrow"]["measured_mean"] == pytest.approx(narrow.mean(dtype=np.float64), rel=1e-9)
    assert rows["narrow"]["measured_stddev"] == pytest.approx(narrow.std(dtype=np.float64), rel=1e-5)


def test_values_are_copied_from_another_file(paramctl: Run, tmp_path: Path) -> None:
    paramctl("init", MLP, "-o", "old.h5", "--seed", "9", "-q")
    done = paramctl(
        "init", MLP, "--rule", "dense/*=from:old.h5", "--rule", "dense_1/bias=from:old.h5[dense_1/bias]", "-o", "new.h5"
    )
    assert done.returncode == 0, done.stderr
    assert paramctl("dump", "new.h5", "dense/kernel").stdout == paramctl("dump", "old.h5", "dense/kernel").stdout
    assert paramctl("dump", "new.h5", "dense_1/kernel").stdout != paramctl("dump", "old.h5", "dense_1/kernel").stdout
    wrong = paramctl("init", MLP, "--rule", "dense/kernel=from:old.h5[dense/bias]", "-o", "x.h5")
    assert "requires the shape of dense/bias in the file, (4,) (got shape (4, 4))" in wrong.stderr
    missing = paramctl("init", MLP, "--rule", "dense/kernel=from:no.h5", "-o", "x.h5")
    assert (missing.returncode, missing.stderr) == (2, "no.h5: No such file or directory\n")


OWN = """
import numpy as np
print("loaded")

def ramp(shape, dtype, generator, scale=1.0):
    return np.arange(np.prod(shape)).reshape(shape) * scale

def noise(shape, dtype, generator):
    return generator.standard_normal(shape)

class Keraslike:
    def __init__(self, seed=None):
        self.seed = seed
    def __call__(self, shape, dtype=None):
        return np.random.default_rng(self.seed).random(shape).astype(dtype)

def wrong(shape, dtype, generator):
    return np.zeros(3)

def infinite(shape, dtype, generator):
    return np.full(shape, np.inf)

def ends(shape, dtype, generator):
    raise SystemExit(0)
"""


def test_a_custom_scheme(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)

    def values(scheme: str) -> str:
        done = paramctl("init", MLP, "--scheme", scheme, "-o", "a.h5", "--force", "-q")
        assert done.returncode == 0, done.stderr
        return paramctl("dump", "a.h5", "dense/kernel", "--format", "csv").stdout

    ramp = values("./own.py:ramp:scale=0.5")
    assert ramp.splitlines()[1:4] == ["dense/kernel,0,0,0.0", "dense/kernel,0,1,0.5", "dense/kernel,0,2,1.0"]
    for name in ("noise", "Keraslike"):
        assert values(f"own.py:{name}") == values(f"own.py:{name}"), "its random numbers are the stream's"


@pytest.mark.parametrize(
    ("scheme", "says"),
    [
        ("own.py:wrong", "own.py:wrong must return real numbers of the shape (4, 4) (got float64 (3,)"),
        ("own.py:infinite", "must return finite numbers"),
        ("own.py:ends", "failed for the shape (4, 4): SystemExit"),
        ("own.py:nothing", "own.py has no function or class with this name"),
        ("no.py:f", "the scheme does not load: FileNotFoundError"),
        ("own.py:ramp:3", "options of a custom scheme must be written name=value"),
    ],
)
def test_errors_in_custom_code(scheme: str, says: str, paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    done = paramctl("init", MLP, "--scheme", scheme, "-o", "a.h5")
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) in (["own.py"], ["own.py", "__pycache__"], ["__pycache__", "own.py"])


def test_no_code_runs_because_a_document_names_it(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("open('ran', 'w')\ndef f(shape, dtype, generator): ...\n")
    (tmp_path / "numpy.py").write_text("open('ran', 'w')\n")
    (tmp_path / "h5py.py").write_text("open('ran', 'w')\n")
    (tmp_path / "m.yaml").write_text("input: [2]\nlayers: [{dense: {units: 3, kernel_initializer: './own.py:f'}}]\n")
    done = paramctl("init", "m.yaml", env={"PYTHONSAFEPATH": "1"})
    assert done.returncode == 2
    assert "no scheme has this name" in done.stderr
    (tmp_path / "ok.yaml").write_text("input: [2]\nlayers: [{dense: 3}]\n")
    assert paramctl("init", "ok.yaml", env={"PYTHONSAFEPATH": "1"}).returncode == 0
    assert not (tmp_path / "ran").exists(), "what lies in the folder is not imported, by the child either"


def test_help_lists_the_registered_presets(paramctl: Run) -> None:
    assert len(presets.PRESETS) >= 4
    assert f"[{'|'.join(presets.PRESETS)}]" in "".join(paramctl("init", "--help").stdout.split())
    assert "'gpt3' is not one of 'keras'" in paramctl("init", "m.yaml", "--preset", "gpt3").stderr


def test_gpt2s_own_initializers_are_its_preset() -> None:
    """The sample's patterns and --preset gpt2 agree, parameter by parameter."""
    from paramctl.model import load

    gpt2 = load(GPT2)
    of_document = assign_schemes(gpt2)
    of_preset = presets.gpt2(gpt2)
    assert len(of_preset) > 100
    for path, node in of_preset.items():
        if path in gpt2.tied:
            continue
        stddev = node.plain()["random_normal"]["stddev"] if isinstance(node.value, dict) else 0  # type: ignore[index,call-overload]
        law = of_document[path].distribution
        assert getattr(law, "stddev", getattr(law, "value", None)) == pytest.approx(stddev), path


def test_true_fans_and_those_of_the_frameworks() -> None:
    """The table of fans: grouped, depthwise, transposed, attention, embedding."""
    built = model(
        "inputs: {image: [8, 8, 64], text: {shape: [4], dtype: int32}}\nlayers:\n"
        "  - conv2d: {filters: 16, kernel_size: 3, from: image}\n"
        "  - conv2d: {name: grouped, filters: 64, kernel_size: 3, groups: 4, from: image}\n"
        "  - depthwise_conv2d: {kernel_size: 3, from: image}\n"
        "  - conv2d_transpose: {filters: 16, kernel_size: 3, from: image}\n"
        "  - conv2d_transpose: {name: strided, filters: 16, kernel_size: 3, strides: 3, from: image}\n"
        "  - embedding: {input_dim: 100, output_dim: 64, from: text}\n"
        "  - multi_head_attention: {num_heads: 8, key_dim: 8}\n"
    )
    table = {
        "conv2d/kernel": ((576, 144), (576, 144), (576, 144)),
        "grouped/kernel": ((144, 144), (144, 576), (144, 576)),
        "depthwise_conv2d/kernel": ((9, 9), (576, 9), (9, 576)),
        "conv2d_transpose/kernel": ((576, 144), (144, 576), (144, 576)),
        "strided/kernel": ((64, 144), (144, 576), (144, 576)),
        "embedding/embeddings": (None, (100, 64), (64, 100)),
        "multi_head_attention/query/kernel": ((64, 64), (64, 64), (64, 192)),
        "multi_head_attention/attention_output/kernel": ((64, 64), (64, 64), (64, 64)),
    }
    for path, expected in table.items():
        found = tuple(fans(built.parameters[path], convention) for convention in ("true", "keras", "torch"))
        assert found == expected, path


def test_every_sample_model_can_be_planned() -> None:
    assert len(SAMPLES) > 10
    from paramctl.model import load

    for path in SAMPLES:
        built = load(str(path))
        for preset, registered in presets.PRESETS.items():
            chosen = assign_schemes(built, InitRequest(preset=preset, from_preset=registered.schemes(built)))
            assert chosen.keys() == {each.path for each in built.owners()}


def test_llama_is_planned_at_once_and_nothing_is_written(paramctl: Run, tmp_path: Path) -> None:
    rows = plan(paramctl, str(ROOT / "sample_models/llama3_8b.yaml"), "--preset", "gpt2")
    assert sum(int(np.prod(row["shape"])) * DTYPE_BYTES[str(row["dtype"])] for row in rows.values()) == 16_060_522_496  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


def test_a_matrix_has_a_size_limit(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("input: [10000]\nlayers: [{dense: 10000}]\n")
    done = paramctl("init", "m.yaml", "--scheme", "orthogonal")
    assert done.returncode == 2
    assert (
        "orthogonal for dense/kernel: a scheme whose values depend on each other supports at most 67,108,864 values"
        in done.stderr
    )
    assert os.listdir(tmp_path) == ["m.yaml"]


def test_keep_is_not_a_scheme_elsewhere() -> None:
    with pytest.raises(ValueError, match="no scheme has this name"):
        assign_schemes(layers("  - dense: {units: 4, kernel_initializer: keep}"))


def test_constants_are_changed_by_a_rule_alone(paramctl: Run) -> None:
    assert plan(paramctl, FANCY, "--scheme", "he")["constant/kernel"]["scheme"] == "random_uniform(minval=0, maxval=1)"
    assert plan(paramctl, FANCY, "--rule", "constant/kernel=he")["constant/kernel"]["scheme"] == "he_normal"


def test_a_scheme_of_an_installed_package(paramctl: Run, tmp_path: Path) -> None:
    """By the entry-point group paramctl.initializers; on the command line, and never in a document."""
    site = tmp_path / "site"
    (site / "ramps-1.0.dist-info").mkdir(parents=True)
    (site / "ramps-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: ramps\nVersion: 1.0\n")
    (site / "ramps-1.0.dist-info/entry_points.txt").write_text(
        "[paramctl.initializers]\nramp = ramps:ramp\nbad = ramps:no\n"
    )
    (site / "ramps.py").write_text(
        "import numpy\ndef ramp(shape, dtype, generator): return numpy.arange(numpy.prod(shape)).reshape(shape)\n"
    )
    environment = {"PYTHONPATH": str(site)}
    done = paramctl("init", MLP, "--scheme", "ramp", "-o", "a.h5", "-q", env=environment)
    assert done.returncode == 0, done.stderr
    assert paramctl("dump", "a.h5", "dense_1/kernel[:, 0]").stdout == "[0. 1. 2. 3.]\n"
    broken = paramctl("init", MLP, "--scheme", "bad", "-o", "b.h5", env=environment)
    assert (broken.returncode, broken.stderr.count("\n")) == (2, 1)
    assert "--scheme: the scheme does not load: AttributeError" in broken.stderr
    (tmp_path / "m.yaml").write_text("input: [2]\nlayers: [{dense: {units: 3, kernel_initializer: ramp}}]\n")
    assert "no scheme has this name" in paramctl("init", "m.yaml", env=environment).stderr


@pytest.mark.parametrize("units", [2_000, 9_000] if forks.TORTURE else [2_000])
def test_a_progress_bar_on_a_terminal_alone(units: int, paramctl: Run, tmp_path: Path) -> None:
    """With its speed, when it takes more than a second, or what counts as one; through a pipe there is none."""
    (tmp_path / "m.yaml").write_text(
        f"input: [9000]\nlayers: [{{dense: {{units: {units}, use_bias: false, repeat: 4}}}}]\n"
    )
    command = ["init", "m.yaml", "--scheme", "he", "-o", "m.h5", "-q", "--force"]

    shown = forks.on_a_terminal(command, tmp_path, "" if units == 9_000 else forks.AT_ONCE)
    assert "writing m.h5" in shown
    assert "MB/s" in shown
    assert forks.on_a_terminal(command, tmp_path, forks.AT_ONCE.replace("0.0", "1e9")) == ""
    assert forks.Server().run(tmp_path, command, forks.AT_ONCE).err == ""
    assert paramctl(*command).stderr == ""


def test_a_progress_bar_shows_after_a_second() -> None:
    assert progress.SHOW_AFTER == 1.0


def test_a_quiet_command_prints_nothing(paramctl: Run) -> None:
    done = paramctl("init", MLP, "-o", "a.h5", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_preset_torch_leaves_the_padding_of_an_embedding_zero(paramctl: Run, tmp_path: Path) -> None:
    """As torch does with padding_idx; the other rows are those of an embedding without padding."""
    for mask in ("true", "false"):
        layer = f"{{embedding: {{input_dim: 9, output_dim: 40000, mask_zero: {mask}}}}}"
        (tmp_path / f"{mask}.yaml").write_text(f"input: [3]\nlayers: [{layer}]\n")
        done = paramctl("init", f"{mask}.yaml", "--preset", "torch", "--seed", "1", "-o", f"{mask}.npz", "-q")
        assert done.returncode == 0, done.stderr
    padded, plain = (np.load(tmp_path / f"{mask}.npz")["embedding/embeddings"] for mask in ("true", "false"))
    assert not padded[0].any()
    assert plain[0].any()
    assert np.array_equal(padded[1:], plain[1:])
    (row,) = json.loads(paramctl("init", "true.yaml", "--preset", "torch", "--dry-run", "--format", "json").stdout)
    assert row["stddev"] == pytest.approx(np.sqrt(8 / 9))


def test_init_prints_a_line_and_its_report_only_if_asked(paramctl: Run) -> None:
    """By --report, --dry-run, or a format, on the command line or in the environment; -q silences both."""
    line = "wrote mlp.h5: 4 arrays, 25 values, seed 0\n"
    names = ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    done = paramctl("init", MLP)
    assert (done.stdout, done.stderr) == ("", line)
    done = paramctl("init", MLP, "--force", "--report")
    assert done.stderr == line
    assert [row.split()[0] for row in done.stdout.splitlines()] == ["Parameter", "--------------", *names]
    assert done.stdout.splitlines()[0].endswith("Sample mean  Sample std")
    for arguments, env in ((("--format", "csv"), {}), ((), {"PARAMCTL_INIT_FORMAT": "csv"})):
        done = paramctl("init", MLP, "--force", *arguments, env=env)
        assert done.stdout.startswith("path,shape,dtype,scheme,reason,")
        assert done.stderr == line
    done = paramctl("init", MLP, "--force", "--report", "-q")
    assert (done.stdout, done.stderr) == ("", "")


def test_the_measured_deviation_of_one_value_is_0(paramctl: Run, tmp_path: Path) -> None:
    run = paramctl("init", MLP, "--preset", "torch", "-o", f"{tmp_path}/a.h5", "--format", "json")
    (row,) = (row for row in json.loads(run.stdout) if row["path"] == "dense_1/bias")
    assert row["measured_mean"] != 0
    assert row["measured_stddev"] == 0  # not the rounding of a square
