"""paramctl diff: what differs between two sources, and the exit code that says whether anything does."""

import json
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramctl.inspect.diff import Tolerance, compare
from tests.conftest import ROOT, Run

MLP = str(ROOT / "sample_models/mlp.yaml")


def write(path: Path, **values: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        for name, array in values.items():
            file[name] = array


def rows(paramctl: Run, *arguments: str) -> tuple[int, list[dict[str, object]]]:
    done = paramctl("diff", *arguments, "--format", "json")
    return done.returncode, json.loads(done.stdout)


def test_a_model_and_its_file_are_the_same(paramctl: Run) -> None:
    """Whatever the format; and another seed's are not."""
    for suffix in ("h5", "safetensors", "npz"):
        paramctl("save", MLP, "-o", f"m.{suffix}")
        assert paramctl("diff", MLP, f"m.{suffix}").returncode == 0
        assert paramctl("diff", MLP, f"m.{suffix}").stdout == ""
    code, differing = rows(paramctl, MLP, "m.h5", "--seed", "1")
    assert (code, [row["path"] for row in differing]) == (1, ["dense/kernel", "dense_1/kernel"])


def test_what_is_told_of_a_difference(paramctl: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a = rng.random((700, 900), dtype="float32")
    b = a.copy()
    b[3, 5] += 0.5
    b[699, 899] -= 2.0
    write(tmp_path / "a.h5", w=a)
    write(tmp_path / "b.h5", w=b)
    code, (row,) = rows(paramctl, "a.h5", "b.h5")
    distance = np.abs(a.astype(float) - b.astype(float))
    assert code == 1
    assert (row["status"], row["different"], row["at"]) == ("values", 2, [699, 899])
    assert row["greatest"] == pytest.approx(distance.max())
    assert row["relative"] == pytest.approx((distance / np.abs(b)).max())
    assert row["norm"] == pytest.approx(np.linalg.norm(distance))
    cosine = np.vdot(a.astype(float), b) / np.linalg.norm(a.astype(float)) / np.linalg.norm(b.astype(float))
    assert row["cosine"] == pytest.approx(cosine)


def test_names_shapes_dtypes_and_ties(paramctl: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.h5", same=np.ones(3), gone=np.ones(2), shape=np.ones((2, 3)), dtype=np.ones(3, "float32"))
    write(tmp_path / "b.h5", same=np.ones(3), new=np.ones(2), shape=np.ones((3, 2)), dtype=np.ones(3, "float64"))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["tied"] = file["same"]
    with h5py.File(tmp_path / "b.h5", "a") as file:
        file["tied"] = np.ones(3)
    for option in ([], ["--structure"]):
        code, differing = rows(paramctl, "a.h5", "b.h5", *option)
        assert code == 1
        assert {row["path"]: row["status"] for row in differing} == {
            "gone": "only in A",
            "shape": "shape",
            "dtype": "dtype",
            "tied": "ties",
            "new": "only in B",
        }


def test_tolerances(paramctl: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.h5", w=np.array([100.0, 1e-9, 0]))
    write(tmp_path / "b.h5", w=np.array([100.1, 0, 0]))
    assert paramctl("diff", "a.h5", "b.h5", "-q").returncode == 1
    assert paramctl("diff", "a.h5", "b.h5", "--rtol", "1e-2").returncode == 1, "a relative tolerance of 0 is 0"
    assert paramctl("diff", "a.h5", "b.h5", "--rtol", "1e-2", "--atol", "1e-8").returncode == 0
    assert paramctl("diff", "a.h5", "b.h5", "--structure").returncode == 0


def test_what_is_not_finite(paramctl: Run, tmp_path: Path) -> None:
    """A file is the same as itself, NaN and all; a NaN is no number, and as any other only if asked."""
    bits = np.array([0x7FC00000, 0x7FC00001, 0x7F800000, 0xFF800000], "uint32").view("float32")
    write(tmp_path / "a.h5", w=bits)
    write(tmp_path / "b.h5", w=bits[[1, 0, 2, 3]])
    write(tmp_path / "c.h5", w=np.array([0, 0, np.inf, np.inf], "float32"))
    assert paramctl("diff", "a.h5", "a.h5").returncode == 0
    code, (row,) = rows(paramctl, "a.h5", "b.h5")
    assert (code, row["different"], row["greatest"], row["at"]) == (1, 2, 0.0, [0])
    assert paramctl("diff", "a.h5", "b.h5", "--equal-nan").returncode == 0
    code, (row,) = rows(paramctl, "a.h5", "c.h5", "--atol", "1e300")
    assert (code, row["different"]) == (1, 3), "no tolerance reaches infinity"


def test_bfloat16_float8_and_nothing(paramctl: Run) -> None:
    fixtures = ROOT / "tests/fixtures"
    for name in ("bf16_nan.safetensors", "dtypes.safetensors"):
        assert paramctl("diff", str(fixtures / name), str(fixtures / name)).returncode == 0


def test_only_the_greatest(paramctl: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.h5", x=np.ones(2), y=np.ones(2), z=np.ones(2))
    write(tmp_path / "b.h5", x=np.ones(2) * 2, y=np.ones(2) * 9, z=np.ones(2) * 3)
    assert [row["path"] for row in rows(paramctl, "a.h5", "b.h5", "--top", "2")[1]] == ["y", "z"]


def test_trouble_is_no_difference(paramctl: Run) -> None:
    assert paramctl("diff", MLP, "no.h5").returncode == 2
    assert paramctl("diff", "-", "-").returncode == 2


NUMBERS = st.floats(width=16, allow_nan=True, allow_infinity=True)
RATIO = st.floats(0, 1)
floats = st.sampled_from([np.float16, np.float32, np.float64, ml_dtypes.bfloat16])


@given(
    st.integers(1, 20).flatmap(lambda n: st.tuples(*[st.lists(NUMBERS, min_size=n, max_size=n)] * 2)),
    floats,
    RATIO,
    RATIO,
)
def test_the_count_is_numpys_isclose(
    pair: tuple[list[float], list[float]], dtype: type, rtol: float, atol: float
) -> None:
    """But that no tolerance reaches infinity."""
    a, b = (np.array(each).astype(dtype) for each in pair)
    piece = compare("w", 0, a, b, Tolerance(rtol, atol, equal_nan=True))
    with np.errstate(all="ignore"):
        near = np.isclose(a.astype(float), b.astype(float), rtol, atol, equal_nan=True)
    assert piece.different == np.count_nonzero(~near)
