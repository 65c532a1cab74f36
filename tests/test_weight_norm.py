"""Weight normalization, folded where a model expects the weight. tests/interop compares it with torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import paramctl as pc
from tests.conftest import Run

MODEL = """input: [6]
layers:
  - dense: {name: a, units: 5}
  - dense: {name: b, units: 3}
"""
STYLES = {"old": ("{}_g", "{}_v"), "new": ("parametrizations.{}.original0", "parametrizations.{}.original1")}


def normalized(axes: tuple[int, ...] | None, v: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Return a magnitude for each index of some axes, or one for all, and the weight by definition."""
    rng = np.random.default_rng(1)
    others = tuple(axis for axis in range(v.ndim) if axes is None or axis not in axes)
    norm = np.sqrt((v.astype("f8") ** 2).sum(others, keepdims=True))
    g = rng.normal(size=norm.shape).astype(v.dtype)
    return (g.reshape(()) if axes is None else g), g * v / norm


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "m.yaml").write_text(MODEL)
    return tmp_path


def write(folder: Path, style: str, axes: tuple[int, ...] | None = (0,), dtype: str = "f4", **more: Any) -> Any:
    """Write w.safetensors, in which the weight of a is normalized, and return that weight."""
    rng = np.random.default_rng(0)
    v = rng.normal(size=(5, 6)).astype(dtype)
    g, weight = normalized(axes, v)
    names = [template.format("weight") for template in STYLES[style]]
    arrays = {f"a.{names[0]}": g, f"a.{names[1]}": v, "a.bias": np.ones(5, dtype)}
    arrays |= {"b.weight": rng.normal(size=(3, 5)).astype(dtype), "b.bias": np.zeros(3, dtype)}
    save_file(arrays | more, folder / "w.safetensors")
    return weight


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("axes", [(0,), (1,), None, (0, 1)])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_a_weight_is_the_direction_with_its_magnitude(
    paramctl: Run, files: Path, style: str, axes: tuple[int, ...] | None, dtype: str
) -> None:
    """In both styles and along any axis: the shape of g says which. The report has the status folded."""
    weight = write(files, style, axes, dtype)
    arguments = ["save", "w.safetensors", "--like", "m.yaml", "--layout", "keras", "-o", "k.h5", "--format", "json"]
    result = paramctl(*arguments)
    assert result.returncode == 0, result.stderr
    kernel = np.array(pc.open(files / "k.h5")["a/kernel"])
    assert kernel.dtype == dtype
    np.testing.assert_allclose(kernel, weight.T, rtol=2 * np.finfo(dtype).eps)
    row = next(row for row in json.loads(result.stdout) if row["path"] == "a/kernel")
    assert (row["status"], row["note"]) == ("folded", "and transposed")
    assert row["source"] == [f"a.{template.format('weight')}" for template in STYLES[style]]


@pytest.mark.parametrize("style", STYLES)
def test_it_is_folded_for_a_model_in_torchs_layout(paramctl: Run, files: Path, style: str) -> None:
    """Also for a plain file of arrays that has the weight, and under new names."""
    weight = write(files, style)
    save_file({"a.weight": np.zeros((5, 6), "f4")}, files / "plain.safetensors")
    like_model = ["--like", "m.yaml", "--layout", "torch"]
    for options in (like_model, ["--like", "plain.safetensors", "--partial", "**/bias", "--partial", "b/weight"]):
        result = paramctl("save", "w.safetensors", *options, "-o", "t.safetensors", "--force")
        assert result.returncode == 0, result.stderr
        np.testing.assert_allclose(load_file(files / "t.safetensors")["a.weight"], weight, rtol=1e-6)


def test_the_report_has_the_names_of_the_file(files: Path) -> None:
    """Not those that --rename gives the factors before they are folded."""
    weight = write(files, "old")
    pc.save(files / "w.safetensors", files / "net.safetensors", rename={"**": "net.**"})
    converted = pc.convert(files / "net.safetensors", rename={"net.**": "**"}, like=files / "m.yaml", layout="keras")
    np.testing.assert_allclose(np.array(converted["a/kernel"]).T, weight, rtol=1e-6)
    row = next(row for row in converted.report if row.path == "a/kernel")
    assert (row.status, row.source) == ("folded", ("net.a.weight_g", "net.a.weight_v"))


def test_it_stays_where_no_model_expects_the_weight(paramctl: Run, files: Path) -> None:
    write(files, "old")
    assert paramctl("save", "w.safetensors", "-o", "copy.safetensors").returncode == 0
    assert load_file(files / "copy.safetensors").keys() == load_file(files / "w.safetensors").keys()
    assert paramctl("save", "w.safetensors", "--like", "copy.safetensors", "-o", "same.safetensors").returncode == 0
    assert "a.weight_g" in load_file(files / "same.safetensors")


def test_shared_factors_make_a_shared_weight(files: Path) -> None:
    """One module under two names: the values of both are the folded ones."""
    text = "input: [6]\nlayers:\n  - dense: {name: a, units: 6}\n  - dense: {name: b, units: 6}\n"
    (files / "t.yaml").write_text(f"{text}ties:\n  - {{keep: a/kernel, tie: b/kernel}}\n")
    rng = np.random.default_rng(0)
    v = rng.normal(size=(6, 6)).astype("f4")
    g, weight = normalized((0,), v)
    arrays = {"a.weight_g": g, "a.weight_v": v, "a.bias": np.zeros(6, "f4"), "b.bias": np.ones(6, "f4")}
    save_file(arrays, files / "w.safetensors", {"b.weight_g": "a.weight_g", "b.weight_v": "a.weight_v", "format": "pt"})
    kept = pc.convert(files / "w.safetensors", like=files / "t.yaml", layout="keras")
    assert [(tie.kept, tie.tied) for tie in pc.ties(kept)] == [("a/kernel", "b/kernel")]
    np.testing.assert_allclose(kept["b/kernel"], weight.T, rtol=1e-6)


def test_a_direction_of_zeros_is_nan_as_in_torch(files: Path) -> None:
    write(files, "old", **{"a.weight_v": np.zeros((5, 6), "f4")})
    kernel = np.array(pc.convert(files / "w.safetensors", like=files / "m.yaml", layout="keras")["a/kernel"])
    assert np.isnan(kernel).all()


@pytest.mark.parametrize(
    "names",
    [
        {"a.weight_orig": (5, 6), "a.weight_u": (5,), "a.weight_v": (6,)},
        {
            "a.parametrizations.weight.original": (5, 6),
            "a.parametrizations.weight.0._u": (5,),
            "a.parametrizations.weight.0._v": (6,),
        },
    ],
)
def test_spectral_normalization_is_named(paramctl: Run, files: Path, names: dict[str, tuple[int, ...]]) -> None:
    """Its weight_v is no direction; the error names it and how to remove it."""
    others = {"a.bias": (5,), "b.weight": (3, 5), "b.bias": (3,)}
    save_file({name: np.ones(shape, "f4") for name, shape in (names | others).items()}, files / "s.safetensors")
    for layout in ("keras", "torch"):
        result = paramctl("save", "s.safetensors", "--like", "m.yaml", "--layout", layout, "-o", f"k.{layout}.h5")
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert "a.weight has spectral normalization" in result.stderr


@pytest.mark.parametrize(
    ("g", "v"),
    [((2, 1), (5, 6)), ((6,), (5, 6)), ((5, 1, 1), (5, 6))],
)
def test_factors_that_do_not_fit_are_not_folded(paramctl: Run, files: Path, g: Any, v: Any) -> None:
    write(files, "old", **{"a.weight_g": np.ones(g, "f4"), "a.weight_v": np.ones(v, "f4")})
    result = paramctl("save", "w.safetensors", "--like", "m.yaml", "--layout", "keras", "-o", "k.h5")
    assert result.returncode == 2
    assert "a.weight_g" in result.stderr or "a.weight" in result.stderr
