"""The scheme lsuv: each layer's outputs before its activation have variance 1 for the given examples."""

from pathlib import Path

import numpy as np
import pytest

import paramctl as pc
from paramctl.core.dtypes import Array
from paramctl.errors import AddressError
from tests.conftest import Run

TEXT = (
    "name: m\ninput: [6]\nlayers:\n  - dense: {name: a, units: 20, activation: relu}\n"
    "  - dense: {name: b, units: 10, activation: tanh}\n  - dense: {name: c, units: 10}\n  - reuse: c\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.yaml").write_text(TEXT)
    np.save(tmp_path / "x.npy", 5 + 3 * np.random.default_rng(0).standard_normal((100, 6)))
    return tmp_path


def before_activation(weights: pc.Weights, name: str, x: Array) -> Array:
    return x @ np.asarray(weights[f"{name}/kernel"]) + np.asarray(weights[f"{name}/bias"])


def test_every_layer_has_unit_variance(folder: Path) -> None:
    """For examples that are far from standard normal; a shared layer is scaled at its first use."""
    weights = pc.initialize(folder / "m.yaml", scheme="lsuv", seed=2, inputs=folder / "x.npy")
    a = before_activation(weights, "a", np.load(folder / "x.npy").astype("float32"))
    b = before_activation(weights, "b", np.maximum(a, 0))
    c = before_activation(weights, "c", np.tanh(b))
    for output in (a, b, c):
        assert output.var() == pytest.approx(1, abs=0.01)


def test_the_directions_are_orthogonal(folder: Path) -> None:
    """It only scales what the scheme orthogonal draws at the same seed."""
    scaled = pc.initialize(folder / "m.yaml", scheme="lsuv", seed=2)
    drawn = pc.initialize(folder / "m.yaml", scheme="orthogonal", seed=2)
    for name in "abc":
        ratio = np.asarray(scaled[f"{name}/kernel"]) / np.asarray(drawn[f"{name}/kernel"])
        assert ratio.std() < 1e-5 * abs(ratio.mean())
        assert abs(ratio.mean() - 1) > 1e-3


def test_the_command_writes_them_and_reports_the_scheme(folder: Path, paramctl: Run) -> None:
    done = paramctl("init", "m.yaml", "--scheme", "lsuv", "--input", "x.npy", "-o", "w.h5", "--format", "csv")
    assert done.returncode == 0
    assert [line.split(",")[4] for line in done.stdout.splitlines() if "kernel" in line] == ["lsuv"] * 3
    again = pc.initialize(folder / "m.yaml", scheme="lsuv", inputs=folder / "x.npy")
    assert pc.diff(again, folder / "w.h5").equal
    assert "lsuv" in paramctl("summary", "w.h5", "--parameters", "--format", "json").stdout


def test_examples_are_for_lsuv_alone(folder: Path) -> None:
    with pytest.raises(AddressError, match=r"inputs are for the scheme lsuv \(got 'he_normal'\)"):
        pc.initialize(folder / "m.yaml", scheme="he", inputs=folder / "x.npy")


@pytest.mark.parametrize("layer", ["lstm", "gru", "simple_rnn"])
def test_recurrent_layers_reach_unit_variance_or_stay_orthogonal_with_a_note(layer: str, tmp_path: Path) -> None:
    """The outputs of a cell that ends in tanh never have variance 1."""
    text = f"name: m\ninput: [5, 3]\nlayers:\n  - {layer}: {{name: r, units: 4}}\n  - dense: {{name: d, units: 8}}\n"
    (tmp_path / "m.yaml").write_text(text)
    scaled, drawn = (pc.initialize(tmp_path / "m.yaml", scheme=scheme, seed=1) for scheme in ("lsuv", "orthogonal"))
    schemes = {row.path: row.scheme for row in scaled.report if row.reason == "--scheme"}
    assert schemes.pop("d/kernel") == "lsuv"
    assert {*schemes.values()} == {"orthogonal"}
    for path, note in zip(schemes, scaled.notes, strict=True):
        assert note.startswith(f"{path} stays orthogonal")
        assert np.array_equal(np.asarray(scaled[path]), np.asarray(drawn[path]))


def test_a_relu_cell_reaches_unit_variance(tmp_path: Path) -> None:
    """Its own outputs are measured, after the activation. In one step they grow with the weights."""
    text = "name: m\ninput: [1, 3]\nlayers:\n  - simple_rnn: {units: 16, activation: relu}\n"
    (tmp_path / "m.yaml").write_text(text)
    x = np.random.default_rng(0).standard_normal((64, 1, 3)).astype("float32")
    weights = pc.initialize(tmp_path / "m.yaml", scheme="lsuv", inputs=x)
    (output,) = pc.run(tmp_path / "m.yaml", x, weights=weights).values()
    assert np.asarray(output).var() == pytest.approx(1, abs=0.011)


@pytest.mark.parametrize("value", [np.nan, 1e300])
def test_inputs_that_are_not_finite_are_refused(value: float, folder: Path, paramctl: Run) -> None:
    x = np.ones((4, 6))
    x[2, 1] = value
    np.save(folder / "bad.npy", x)
    done = paramctl("init", "m.yaml", "--scheme", "lsuv", "--input", "bad.npy", "-o", "w.h5")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"(got {value} in row 2)" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder / "w.h5").exists()


def test_no_rows_are_refused(folder: Path) -> None:
    with pytest.raises(AddressError, match=r"the scheme lsuv requires examples \(got 0 rows\)"):
        pc.initialize(folder / "m.yaml", scheme="lsuv", inputs=np.ones((0, 6)))
