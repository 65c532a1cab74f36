"""paramctl probe: the published cases of signals in deep networks, by numbers.

Glorot and Bengio (2010) keep signals alive through tanh, He et al. (2015) through relu, and orthogonal matrices keep the
length of signals in deep linear networks (Saxe et al., 2013). Weights with a deviation of 0.01 let none of them through.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import paramctl as pc
from paramctl.compute.probe import Probe
from tests.conftest import ROOT, Run

DEEP = 'name: deep\nvars: {f: tanh}\ninput: [100]\nlayers:\n  - dense: {units: 100, activation: "${f}", repeat: 30}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep.yaml").write_text(DEEP)
    return tmp_path


def probe_of(folder: Path, function: str, scheme: str) -> Probe:
    model = pc.load_model(folder / "deep.yaml", variables={"f": function})
    return pc.probe(model, scheme=scheme, seed=0, suggest=False)[0]


@pytest.mark.parametrize(
    ("function", "scheme", "alive"),
    [
        ("tanh", "glorot_normal", True),
        ("tanh", "normal:stddev=0.01", False),
        ("relu", "he_normal", True),
        ("relu", "glorot_normal", False),
        ("relu", "normal:stddev=0.01", False),
    ],
)
def test_the_published_cases(function: str, scheme: str, alive: bool, folder: Path) -> None:
    found = probe_of(folder, function, scheme)
    assert (not found.findings) is alive
    assert found.backward is not None
    if alive:
        assert 0.05 < found.forward < 2
        assert 0.05 < found.backward < 20
        assert min(layer.gradient or 0 for layer in found.layers) > 0.01
    else:
        assert found.forward < 1e-3
        assert found.backward < 1e-3
        assert any("activations vanish in dense_" in text for text in found.findings)
        assert any("gradients vanish in dense_" in text for text in found.findings)


def test_relu_halves_the_signal_that_glorot_keeps(folder: Path) -> None:
    """Its mean square halves in each of 30 layers: 2^-15 times the root mean square, up to the noise of the draws."""
    assert 0.2 < probe_of(folder, "relu", "glorot_normal").forward * 2**15 < 5


def test_small_weights_shrink_the_signal_tenfold_in_each_layer(folder: Path) -> None:
    """0.01 * sqrt(100) = 0.1 in each."""
    found = probe_of(folder, "tanh", "normal:stddev=0.01")
    steps = [b.rms / a.rms for a, b in zip(found.layers, found.layers[1:], strict=False)]
    assert np.allclose(steps, 0.1, rtol=0.1)


def test_orthogonal_keeps_lengths_in_a_deep_linear_network(folder: Path) -> None:
    """Exactly, forward and back, as no other scheme does."""
    found = probe_of(folder, "linear", "orthogonal")
    assert found.forward == pytest.approx(1, rel=1e-4)
    assert found.backward == pytest.approx(1, rel=1e-4)
    assert all(layer.rms == pytest.approx(found.layers[0].rms, rel=1e-4) for layer in found.layers)


def test_large_weights_saturate_tanh(folder: Path) -> None:
    found = probe_of(folder, "tanh", "normal:stddev=1")
    assert found.saturated is not None
    assert found.saturated > 0.7
    assert any("of values are saturated in dense" in text for text in found.findings)


def test_units_that_are_zero_for_every_example_are_dead(tmp_path: Path) -> None:
    text = "input: [2]\nlayers:\n  - dense: {name: d, units: 4, activation: relu, bias_initializer: {constant: -100}}\n"
    (tmp_path / "m.yaml").write_text(text)
    found = pc.probe(tmp_path / "m.yaml", suggest=False)[0]
    assert found.layers[0].dead == 1
    assert found.layers[0].rms == 0
    assert "100% of units are dead in d" in found.findings


def test_the_gradients_are_those_of_finite_differences(tmp_path: Path) -> None:
    """With respect to the output of a layer: the same as to the bias that is added there, in a linear network."""
    (tmp_path / "m.yaml").write_text(
        "input: [3]\nlayers: [{dense: {name: a, units: 3}}, {dense: {name: b, units: 2}}]\n"
    )
    found = pc.probe(tmp_path / "m.yaml", rows=1, dtype="float64", suggest=False)[0]
    norms = {signal.path: signal.gradient_norm for signal in found.parameters}
    for layer, size in zip(found.layers, (3, 2), strict=True):
        assert layer.gradient == pytest.approx(norms[f"{layer.path}/bias"] / np.sqrt(size), rel=1e-10)


def test_the_command_says_what_is_wrong_and_what_is_better(folder: Path, paramctl: Run) -> None:
    done = paramctl("probe", "deep.yaml", "--scheme", "normal:stddev=0.01")
    lines = done.stderr.splitlines()
    assert done.returncode == 0
    assert lines[0].startswith("activations vanish in dense_1: ")
    assert lines[1].startswith("gradients vanish in dense_27: ")
    assert lines[2].startswith("better with --scheme ")
    assert len(done.stdout.splitlines()) == 32
    clean = paramctl("probe", "deep.yaml", "--scheme", "glorot")
    assert clean.stderr == "signals pass: they change less than 100 times, forward and back\n"


def test_schemes_side_by_side(folder: Path, paramctl: Run) -> None:
    names = ["glorot", "he", "lecun", "orthogonal"]
    done = paramctl("probe", "deep.yaml", "-D", "f=relu", "--compare", ",".join(names), "--format", "json")
    table = json.loads(done.stdout)
    assert [row["scheme"] for row in table] == names
    assert [row["scheme"] for row in table if not row["findings"]] == ["he"]
    assert done.stderr == "signals change least with he\n"


def test_inputs_from_a_pipe_serve_every_scheme(folder: Path, paramctl: Run) -> None:
    """A pipe can be read once; the file with the same inputs gives the same rows."""
    np.save(folder / "x.npy", np.random.default_rng(0).standard_normal((8, 4)))
    (folder / "p.yaml").write_text("input: [4]\nlayers: [{dense: {units: 3, activation: tanh}}, {dense: 2}]\n")
    command = ["probe", "p.yaml", "--compare", "glorot,he,lsuv", "--format", "csv", "--input"]
    with open(folder / "x.npy", "rb") as file:
        piped = paramctl(*command, "-", stdin=file)
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout.count("\n") == 4
    assert piped.stdout == paramctl(*command, "x.npy").stdout


def test_every_format(folder: Path, paramctl: Run) -> None:
    whole = json.loads(paramctl("probe", "deep.yaml", "--format", "json").stdout)
    assert len(whole["layers"]) == 30
    assert len(whole["parameters"]) == 60
    for name in ("jsonl", "csv", "markdown"):
        done = paramctl("probe", "deep.yaml", "--format", name)
        assert (done.returncode, len(done.stdout.splitlines())) == (0, {"jsonl": 30, "csv": 31, "markdown": 32}[name])
    done = paramctl("probe", "deep.yaml", "--parameters", "--format", "csv")
    assert done.stdout.splitlines()[0] == "path,shape,norm,gradient_norm,ratio"
    assert len(done.stdout.splitlines()) == 61


def test_without_autograd_the_gradients_are_left_out_with_a_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paramctl.library.probing.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "paramctl.compute.gradient_space", None)
    found = pc.probe(folder / "deep.yaml", suggest=False)[0]
    assert found.backward is None
    assert all(layer.gradient is None for layer in found.layers)
    assert found.parameters == []


def test_a_picture_requires_matplotlib(folder: Path, paramctl: Run) -> None:
    """Without it the error says how to install it, and nothing is printed or written."""
    (folder / "matplotlib.py").write_text("raise ImportError\n")
    done = paramctl.process("probe", "deep.yaml", "--plot", "p.png", env={"PYTHONPATH": f"{folder}:{ROOT}"})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "pip install 'paramctl[plot]'" in done.stderr
    assert not (folder / "p.png").exists()


INTEGERS = {
    "embedding": "  - reshape: [2, 3]\n  - embedding: {input_dim: 10, output_dim: 4}\n  - flatten\n  - dense: 2\n",
    "dense": "  - reshape: [3, 2]\n  - flatten\n  - dense: 2\n",
    "alone": "  - flatten\n",
}


@pytest.mark.parametrize("kind", INTEGERS)
def test_steps_of_integers_have_no_gradient(kind: str, tmp_path: Path, paramctl: Run) -> None:
    (tmp_path / "m.yaml").write_text(f"name: m\ninput: {{shape: [6], dtype: int32}}\nlayers:\n{INTEGERS[kind]}")
    (found,) = pc.probe(tmp_path / "m.yaml", suggest=False)
    gradients = [layer.gradient is None for layer in found.layers]
    assert gradients == {"embedding": [True, False, False, False], "dense": [True, True, False], "alone": [True]}[kind]
    done = paramctl("probe", "m.yaml", "--format", "json")
    assert done.returncode == 0
    assert "autograd" not in done.stderr


def test_an_input_with_nan_is_refused_by_its_row(folder: Path, paramctl: Run) -> None:
    x = np.ones((4, 100), "float32")
    x[1, 7] = np.nan
    np.save(folder / "x.npy", x)
    done = paramctl("probe", "deep.yaml", "--input", "x.npy", "--format", "json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "row 1" in done.stderr
    assert done.stderr.count("\n") == 1


def test_schemes_are_checked_before_computing(folder: Path, paramctl: Run) -> None:
    for words in (("--compare", "he,gloro"), ("--scheme", "gloro")):
        done = paramctl("probe", "deep.yaml", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"{words[0]}: no scheme has this name (got 'gloro'). Did you mean 'glorot'?\n"
    for text in ("", "he,,glorot", "he,"):
        done = paramctl("probe", "deep.yaml", "--compare", text)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"--compare must be schemes with commas between them (got '{text}')" in done.stderr


def test_a_comma_may_separate_options(folder: Path, paramctl: Run) -> None:
    compared = "normal:mean=0,stddev=0.1,he,{random_normal: {mean: 0, stddev: 1}},lsuv"
    done = paramctl("probe", "deep.yaml", "--compare", compared, "--format", "json", "--rows", "8")
    names = [row["scheme"] for row in json.loads(done.stdout)]
    assert names == ["normal:mean=0,stddev=0.1", "he", "{random_normal: {mean: 0, stddev: 1}}", "lsuv"]
    assert paramctl("probe", "deep.yaml", "--compare", "he", "--rows", "8").stderr == ""
