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
