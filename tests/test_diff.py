"""paramctl diff: what differs between two sources, and the exit code that says whether anything does."""

import json
import os
import sys
import time
from fractions import Fraction
from math import hypot, inf, isfinite, ldexp, sqrt
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import paramctl as pc
from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.init.engines.streams import BLOCK_SIZE
from paramctl.inspect import diff, scaled
from paramctl.inspect import difference as numeric
from paramctl.inspect.diff import DiffRow, compare
from paramctl.inspect.difference import compare_values
from paramctl.inspect.ranking import MEASURES, rank
from paramctl.inspect.tolerance import EXACT, Tolerance
from paramctl.model import Tie
from paramctl.source.base import Source
from paramctl.source.stored import Stored
from paramctl.store.checkpoint import Checkpoint, build_model, stored_parameter
from paramctl.store.contents import Origin
from tests.conftest import ROOT, Call, Run

MLP = str(ROOT / "sample_models/mlp.yaml")


def write(path: Path, **values: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        for name, array in values.items():
            file[name] = array


def rows(paramctl: Run, *arguments: str, **options: object) -> tuple[int, list[dict[str, Any]]]:
    done = paramctl("diff", *arguments, "--format", "json", **options)
    return done.returncode, json.loads(done.stdout)


class Held:
    """Arrays in memory, read as those of a file are."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays

    def read(self, path: str, start: int, stop: int) -> np.ndarray:
        return self.arrays[path].reshape(-1)[start:stop]


def source(*ties: Tie, **arrays: np.ndarray) -> Source:
    kept = {name: stored_parameter(name, array.shape, array.dtype.name) for name, array in arrays.items()}
    held = Held({name: array for name, array in arrays.items() if name not in {tie.tied for tie in ties}})
    model, _ = build_model("m", kept, ties)
    return Stored(Checkpoint(model, held, Origin()))


def differing(
    a: Source, b: Source, tolerance: Tolerance = EXACT, threads: int | None = None, structure: bool = False
) -> list[DiffRow]:
    return compare(a, b, tolerance=tolerance, structure=structure, threads=threads)


def difference(a: Any, b: Any, tolerance: Tolerance = EXACT) -> DiffRow | None:
    """The row of two arrays, None if they are the same."""
    made = differing(source(w=np.asarray(a)), source(w=np.asarray(b)), tolerance)
    return made[0] if made else None


def test_a_model_and_its_file_are_the_same(paramctl: Run) -> None:
    """Equal values are equal in every format, and the values of another seed differ."""
    for suffix in ("h5", "safetensors", "npz"):
        paramctl("save", MLP, "-o", f"m.{suffix}")
        assert paramctl("diff", MLP, f"m.{suffix}").returncode == 0
        assert paramctl("diff", MLP, f"m.{suffix}").stdout == ""
    code, found = rows(paramctl, MLP, "m.h5", "--seed", "1")
    assert (code, [row["path"] for row in found]) == (1, ["dense/kernel", "dense_1/kernel"])


def test_the_facts_about_a_difference(paramctl: Run, tmp_path: Path) -> None:
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
    assert row["max_abs"] == pytest.approx(distance.max())
    assert row["max_rel"] == pytest.approx((distance / np.abs(b)).max())
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
        code, found = rows(paramctl, "a.h5", "b.h5", *option)
        assert code == 1
        assert {row["path"]: row["status"] for row in found} == {
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


def test_another_dtype_may_be_no_difference(paramctl: Run, tmp_path: Path) -> None:
    """A copy in fewer bits, within what they hold; a value beyond that is one all the same."""
    np.savez(tmp_path / "a.npz", w=np.array([1.001, 2.0, 0.0]))
    assert paramctl("save", "a.npz", "--dtype", "bfloat16", "-o", "b.npz").returncode == 0
    assert paramctl("diff", "a.npz", "b.npz", "--rtol", "0.01").returncode == 1
    assert paramctl("diff", "a.npz", "b.npz", "--rtol", "0.01", "--any-dtype").returncode == 0
    done = paramctl("diff", "a.npz", "b.npz", "--any-dtype", "--format", "json")
    assert [(row["path"], row["status"], row["different"]) for row in json.loads(done.stdout)] == [("w", "values", 1)]


def test_nan_and_infinity_are_compared(paramctl: Run, tmp_path: Path) -> None:
    """A file is the same as itself, NaN and all; a NaN is no number, and as any other only if asked."""
    bits = np.array([0x7FC00000, 0x7FC00001, 0x7F800000, 0xFF800000], "uint32").view("float32")
    write(tmp_path / "a.h5", w=bits)
    write(tmp_path / "b.h5", w=bits[[1, 0, 2, 3]])
    write(tmp_path / "c.h5", w=np.array([0, 0, np.inf, np.inf], "float32"))
    assert paramctl("diff", "a.h5", "a.h5").returncode == 0
    code, (row,) = rows(paramctl, "a.h5", "b.h5")
    assert (code, row["different"], row["max_abs"], row["at"]) == (1, 2, None, [0]), "how far NaN is from NaN is none"
    assert paramctl("diff", "a.h5", "b.h5", "--equal-nan").returncode == 0
    code, (row,) = rows(paramctl, "a.h5", "c.h5", "--atol", "1e300")
    assert (code, row["different"]) == (1, 3), "no tolerance reaches infinity"


def test_bfloat16_float8_and_nothing(paramctl: Run) -> None:
    fixtures = ROOT / "tests/fixtures"
    for name in ("bf16_nan.safetensors", "dtypes.safetensors"):
        assert paramctl("diff", str(fixtures / name), str(fixtures / name)).returncode == 0


def special_values(dtype: str) -> dict[str, float]:
    """NaN and the infinities, those that a dtype has."""
    values = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}
    with np.errstate(all="ignore"):
        return {
            name: value for name, value in values.items() if str(np.array(value).astype(numpy_dtype(dtype))) == name
        }


SPECIAL = [(dtype, name) for dtype in DTYPE_BYTES if numpy_dtype(dtype).kind in "fV" for name in special_values(dtype)]
assert {"float16", "bfloat16", "float32", "float64", "float8_e5m2"} <= {
    dtype for dtype, name in SPECIAL if name == "inf"
}


@pytest.mark.parametrize(("dtype", "name"), SPECIAL)
def test_one_value_that_is_not_finite_is_never_hidden(dtype: str, name: str) -> None:
    """One NaN or infinity among many differences has a count, an address and the first rank, within any tolerance."""
    a = np.ones(BLOCK_SIZE + 70_000, numpy_dtype(dtype))
    b = a.astype("float32") * 2
    b[BLOCK_SIZE + 5] = special_values(dtype)[name]
    b = b.astype(a.dtype)
    sides = (
        {"small": a[:9], "w[0]": a, "big": a[:9]},
        {"small": a[:9] * a.dtype.type(2), "w[0]": b, "big": b[:9] * b[:9]},
    )
    for tolerance in (EXACT, Tolerance(equal_nan=True), Tolerance(absolute=0.5), Tolerance(1e300, 1e300)):
        for first, second, at in ((*sides, "b"), (*sides[::-1], "a")):
            rows = differing(source(**first), source(**second), tolerance)
            (row,) = (row for row in rows if row.path == "w[0]")
            assert row.different == (1 if tolerance.absolute > 1 else a.size)
            counts = {key: getattr(row, key) for key in ("nan_a", "nan_b", "inf_a", "inf_b")}
            assert counts == {key: int(key == f"{name[-3:]}_{at}") for key in counts}
            assert getattr(row, f"first_{name[-3:]}") == f"'w[0]'[{BLOCK_SIZE + 5}]"
            assert row.nonfinite == 1
            assert all(rank(rows, measure)[0] == row for measure in MEASURES)


def test_infinities_and_nans_that_are_equal() -> None:
    """An infinity equals itself, in any dtype; so does a NaN of the same bits, or any with equal_nan."""
    for dtype in {dtype for dtype, name in SPECIAL if name == "inf"}:
        a = np.array([np.inf, -np.inf, np.nan, 1], "float64").astype(numpy_dtype(dtype))
        assert difference(a, a.copy()) is None
        wide = a.astype("float32").astype("float64")
        row = difference(a, wide)
        if dtype != "float64":
            assert row is not None
            assert (row.different, row.nan_a, row.nan_b, row.inf_a, row.inf_b) == (1, 1, 1, 0, 0)
        row = difference(a, wide, Tolerance(equal_nan=True))
        assert row is None or (row.different, row.norm, row.nonfinite) == (0, 0.0, 0)
        row = difference(a, -a, Tolerance(2, 2, equal_nan=True))
        assert row is not None
        assert (row.different, row.inf_a, row.inf_b, row.nan_a) == (2, 2, 2, 0)


def strict_json(text: str) -> Any:
    """Read JSON, which has neither NaN nor Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_nan_is_shown_in_every_format_and_can_be_dumped(paramctl: Run, tmp_path: Path) -> None:
    """The address in the row can be typed as it is."""
    a = np.arange(65_536, dtype="float32").reshape(256, 256)
    b = a + 1
    b[3, 5], b[7, 0] = np.nan, -np.inf
    np.savez(tmp_path / "a.npz", **{"q[0]": a, "v": np.ones(3), "z": np.ones(3)})
    np.savez(tmp_path / "b.npz", **{"q[0]": b, "v": np.full(3, 1e30), "z": np.ones(3)})
    (row,) = strict_json(paramctl("diff", "a.npz", "b.npz", "--top", "1", "--format", "json").stdout)
    assert (row["path"], row["different"], row["max_abs"], row["norm"]) == ("q[0]", 65_536, 1.0, None)
    assert [row[f"{kind}_{side}"] for kind in ("nan", "inf") for side in "ab"] == [0, 1, 0, 1]
    assert paramctl("dump", "b.npz", row["first_nan"], row["first_inf"], "--format", "json").stdout == (
        '{\n  "q[0][3, 5]": "NaN",\n  "q[0][7, 0]": "-Infinity"\n}\n'
    )
    shown = paramctl("diff", "a.npz", "b.npz").stdout
    assert [name for name in ("NaN in A", "NaN in B", "Inf in A", "Inf in B") if name in shown] == [
        "NaN in B",
        "Inf in B",
    ]
    assert "'q[0]'[3, 5]" in shown
    assert "NaN" not in paramctl("diff", "a.npz", "b.npz", "--rename", "v=w").stdout.replace("NaN in B", "").replace(
        "First NaN", ""
    )
    csv = paramctl("diff", "a.npz", "b.npz", "--format", "csv").stdout.splitlines()
    assert csv[0].endswith("cosine,nan_a,nan_b,inf_a,inf_b,first_nan,first_inf")
    assert csv[2].endswith(",0,0,0,0,,"), "a row of finite differences counts none"


def test_the_relative_norm_and_the_total(paramctl: Run, tmp_path: Path) -> None:
    """The norm of A - B over that of A, for each parameter and for all of them, equal arrays included."""
    rng = np.random.default_rng(1)
    a = {name: rng.standard_normal(size) for name, size in (("x", 5), ("y", BLOCK_SIZE + 3), ("z", 7), ("o", 2))}
    b = {name: array.copy() for name, array in a.items()}
    b["x"] *= 1.5
    b["y"][-1] += 100
    a["o"], b["o"] = np.zeros(2), np.array([3.0, 4.0])
    np.savez(tmp_path / "a.npz", **a)
    np.savez(tmp_path / "b.npz", **b)
    code, (x, y, o, total) = rows(paramctl, "a.npz", "b.npz", "--total")
    assert code == 1
    norm = np.linalg.norm
    assert x["relative_norm"] == pytest.approx(0.5)
    assert y["relative_norm"] == pytest.approx(100 / norm(a["y"]))
    assert (o["norm"], o["relative_norm"], o["cosine"]) == (5.0, None, None), "A is zero"
    whole, other = (np.concatenate(list(arrays.values())) for arrays in (a, b))
    assert (total["path"], total["status"], total["different"]) == (None, "total", 5 + 1 + 2)
    assert total["norm"] == pytest.approx(norm(whole - other))
    assert total["relative_norm"] == pytest.approx(norm(whole - other) / norm(whole))
    assert total["cosine"] == pytest.approx(whole @ other / norm(whole) / norm(other))
    assert rows(paramctl, "a.npz", "a.npz", "--total") == (0, [])
    assert [row["status"] for row in rows(paramctl, "a.npz", "b.npz", "--total", "--structure", "--top", "9")[1]] == []


RANGES = {"float16": 65504.0, "bfloat16": 3.38e38, "float32": 3.4028234e38, "float64": 1e300, "complex128": 1e300}


@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("power", [1, -1])
def test_norms_do_not_overflow_or_vanish(dtype: str, power: int) -> None:
    """Of numbers near both ends of the range of a dtype, beside ordinary ones too."""
    scale = RANGES[dtype] if power == 1 else float(ml_dtypes.finfo(numpy_dtype(dtype)).tiny)
    a = (np.array([1.0, -1.0, 0.5, 0.0]) * scale).astype(numpy_dtype(dtype))
    b = (np.array([0.5, -1.0, 0.5, 0.25]) * scale).astype(numpy_dtype(dtype))
    row = difference(a, b)
    assert row is not None
    exact = [np.array(side.astype(complex) / scale) for side in (a, b)]
    norm, length = np.linalg.norm(exact[0] - exact[1]), np.linalg.norm(exact[0])
    assert row.norm == pytest.approx(norm * scale, rel=1e-6, abs=0)
    assert row.relative_norm == pytest.approx(norm / length, rel=1e-6, abs=0)
    assert row.cosine == pytest.approx((exact[0].conj() @ exact[1]).real / length / np.linalg.norm(exact[1]), rel=1e-6)
    filled = np.full(BLOCK_SIZE, scale).astype(numpy_dtype(dtype))
    beside = difference(
        np.concatenate([filled, a, np.ones(9, a.dtype)]), np.concatenate([filled, b, np.ones(9, a.dtype)])
    )
    assert beside is not None
    assert beside.norm == pytest.approx(norm * scale, rel=1e-6, abs=0)
    length = np.hypot(np.linalg.norm(filled.astype(complex) / scale) * scale, np.hypot(3.0, length * scale))
    assert beside.relative_norm == pytest.approx(norm * scale / length, rel=1e-6, abs=0)


def test_the_rank_is_chosen(paramctl: Run, tmp_path: Path) -> None:
    """Each measure puts another parameter first; what has no number comes before all, and --by alone sorts all."""
    zeros = np.zeros(100)
    wide, many = zeros.copy(), zeros + 1
    wide[0] = 5
    a = {"flat": many, "peak": many, "tiny": many * 1e-3, "turned": np.array([1.0, 0.0] * 50), "gone": zeros}
    b = {"flat": many + 2, "peak": many + wide, "tiny": many * 4e-3, "turned": np.array([0.0, 1.0] * 50)}
    write(tmp_path / "a.h5", **a)
    write(tmp_path / "b.h5", **b)
    best = {"max_abs": "peak", "norm": "flat", "relative_norm": "tiny", "cosine": "turned", "different": "flat"}
    for measure, path in best.items():
        _, found = rows(paramctl, "a.h5", "b.h5", "--by", measure)
        assert [row["path"] for row in found[:2]] == ["gone", path], measure
        assert len(found) == 5
        if measure != "different":
            values = [row[measure] for row in found[1:]]
            assert values == sorted(values, reverse=measure != "cosine")
        _, top = rows(paramctl, "a.h5", "b.h5", "--by", measure, "--top", "2")
        assert top == found[:2]
    assert set(best) | {"max_rel"} == set(MEASURES)
    assert paramctl("diff", "a.h5", "b.h5", "--by", "path").returncode == 2


def test_only_the_greatest(paramctl: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.h5", x=np.ones(2), y=np.ones(2), z=np.ones(2))
    write(tmp_path / "b.h5", x=np.ones(2) * 2, y=np.ones(2) * 9, z=np.ones(2) * 3)
    assert [row["path"] for row in rows(paramctl, "a.h5", "b.h5", "--top", "2")[1]] == ["y", "z"]


def test_an_error_is_not_a_difference(paramctl: Run) -> None:
    assert paramctl("diff", MLP, "no.h5").returncode == 2
    assert paramctl("diff", "-", "-").returncode == 2


def test_the_same_bytes_are_compared_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is the same nothing is computed; of an array that differs, all, though only a piece of it does."""
    rng = np.random.default_rng(0)
    a = rng.random(3 * BLOCK_SIZE + 5)
    b = a.copy()
    b[BLOCK_SIZE + 7] += 1.0
    measured = []
    real = numeric.measure_values
    for module in (numeric, diff):
        monkeypatch.setattr(module, "measure_values", lambda *piece: measured.append(piece[0]) or real(*piece))
    assert differing(source(w=a, v=a), source(w=a.copy(), v=a)) == []
    assert measured == []
    (row,) = differing(source(v=a, w=a), source(v=a, w=b))
    assert sorted(measured) == list(range(0, a.size, BLOCK_SIZE))
    assert (row.path, row.different, row.max_abs, row.at) == ("w", 1, pytest.approx(1.0), (BLOCK_SIZE + 7,))
    assert row.norm == pytest.approx(1.0)
    assert row.cosine == pytest.approx(a @ b / sqrt((a @ a) * (b @ b)), abs=1e-14)
    assert row.cosine is not None
    assert row.cosine < 1


def test_threads_do_not_change_the_result(paramctl: Run, tmp_path: Path) -> None:
    """Ours, and those of the library that multiplies."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal(7 * BLOCK_SIZE + 3, dtype="float32")
    b = a.copy()
    b[2 * BLOCK_SIZE : 4 * BLOCK_SIZE] *= 1.01
    b[-1] = 0
    one, *others = (differing(source(w=a), source(w=b), threads=threads) for threads in (1, 2, 7))
    assert len(one) == 1
    assert all(other == one for other in others)
    write(tmp_path / "a.h5", w=a)
    write(tmp_path / "b.h5", w=b)
    told = [rows(paramctl, "a.h5", "b.h5", env={"OPENBLAS_NUM_THREADS": str(n)}) for n in (1, os.cpu_count() or 2)]
    assert told[0] == told[1]
    assert told[0][1][0]["norm"] == one[0].norm


def test_one_array_is_compared_under_one_name() -> None:
    """A difference of values is told once for all names that both sides have for it."""
    a, b = np.ones((2, 3)), np.full((2, 3), 2.0)
    tie = Tie("x", "y", transpose=True)
    (row,) = differing(source(tie, x=a, y=a.T), source(tie, x=b, y=b.T))
    assert (row.path, row.status, row.different) == ("x", "values", 6)


X, Y, Z = (np.full((2, 2), value) for value in (0.0, 1.0, 2.0))
TIES = {
    "the same": ([Tie("x", "y")], [Tie("x", "y")], []),
    "under the other name": ([Tie("x", "y")], [Tie("y", "x")], []),
    "all three, kept under each": ([Tie("x", "y"), Tie("x", "z")], [Tie("z", "x"), Tie("z", "y")], []),
    "in A alone": ([Tie("x", "y")], [], ["y"]),
    "in B alone": ([], [Tie("z", "x")], ["x"]),
    "to another": ([Tie("x", "y")], [Tie("x", "z")], ["y", "z"]),
    "to another, kept last": ([Tie("z", "y")], [Tie("z", "x")], ["x", "y"]),
    "to another, one kept last": ([Tie("z", "x")], [Tie("y", "x")], ["x"]),
    "transposed": ([Tie("x", "y", True)], [Tie("x", "y")], ["y"]),
    "transposed under both names": ([Tie("x", "y", True)], [Tie("y", "x", True)], []),
    "transposed twice": ([Tie("x", "y", True), Tie("x", "z", True)], [Tie("y", "z"), Tie("y", "x", True)], []),
}


@pytest.mark.parametrize(("in_a", "in_b", "expected"), TIES.values(), ids=TIES)
def test_ties_are_of_names_to_each_other(in_a: list[Tie], in_b: list[Tie], expected: list[str]) -> None:
    """Names of one array agree, whichever of them a file keeps; each name with another array in B has a row."""
    zeros = np.zeros((2, 2))
    sides = [source(*ties, x=zeros, y=zeros, z=zeros) for ties in (in_a, in_b)]
    for structure in (True, False):
        found = differing(*sides, structure=structure)
        assert [row.path for row in found] == expected
        assert {row.status for row in found} <= {"ties"}
        assert all(row.a != row.b for row in found), "a row shows what differs"


def test_ties_to_a_name_that_one_side_lacks() -> None:
    """The names that both have are tied alike; the other is a row of its own."""
    zeros = np.zeros(3)
    a = source(Tie("k", "x"), Tie("k", "y"), k=zeros, x=zeros, y=zeros)
    assert [(row.path, row.status) for row in differing(a, source(Tie("y", "x"), x=zeros, y=zeros))] == [
        ("k", "only in A")
    ]
    found = differing(a, source(x=zeros, y=zeros + 1))
    assert [(row.path, row.status) for row in found] == [("k", "only in A"), ("y", "values")]


def test_no_values_and_one() -> None:
    """Arrays of no values are the same, or differ in their dtype or shape; an array of no axes has one value."""
    assert difference(np.zeros((0, 3)), np.zeros((0, 3))) is None
    row = difference(np.zeros((0, 3)), np.zeros((0, 3), "float32"))
    assert row is not None
    assert (row.status, row.different) == ("dtype", None)
    row = difference(np.zeros((0, 3)), np.zeros((3, 0)))
    assert row is not None
    assert row.status == "shape"
    row = difference(np.float32(2), np.float32(3))
    assert row is not None
    assert (row.different, row.max_abs, row.at, row.norm, row.cosine) == (1, 1.0, None, 1.0, 1.0)


def test_values_that_lie_apart() -> None:
    """A source may hand out a view, whose values are not side by side."""
    grid = np.arange(40, dtype="float32").reshape(20, 2)
    assert compare_values(0, grid[:, 0], grid[:, 0].copy(), EXACT).sums is None
    assert compare_values(0, grid[:, 0], grid[:, 1], EXACT).different == 20


def test_zeros_of_either_sign() -> None:
    for dtype in ("float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "complex64"):
        zeros = np.zeros(5, numpy_dtype(dtype))
        assert (
            difference(zeros, (-zeros.astype("complex64" if dtype == "complex64" else "float32")).astype(zeros.dtype))
            is None
        )


def test_another_dtype_is_a_row_within_tolerance_too() -> None:
    """It tells how far apart the values are, though none differs."""
    a = np.linspace(1, 2, 50, dtype="float32")
    b = a.astype(ml_dtypes.bfloat16)
    row = difference(a, b, Tolerance(relative=2**-8))
    assert row is not None
    distance = np.abs(a.astype(float) - b.astype(float))
    assert (row.status, row.different, row.max_abs) == ("dtype", 0, distance.max())
    assert row.norm == pytest.approx(np.linalg.norm(distance))
    row = difference(a, a.astype("float64"))
    assert row is not None
    assert (row.status, row.different, row.max_abs, row.norm, row.at) == ("dtype", 0, 0.0, 0.0, None)


def test_the_greatest_difference_is_among_differing_values() -> None:
    """A value within the tolerance may be further away than one that is not; and NaN hides no number."""
    for k in (0, BLOCK_SIZE - 1, 2 * BLOCK_SIZE):
        a, b = np.ones(2 * BLOCK_SIZE + 1), np.ones(2 * BLOCK_SIZE + 1)
        a[BLOCK_SIZE], b[BLOCK_SIZE] = 1000.0, 1001.0
        b[k] = 1.25
        row = difference(a, b, Tolerance(relative=0.01))
        assert row is not None
        assert (row.different, row.max_abs, row.at, row.max_rel) == (1, 0.25, (k,), 0.2)
        a[5 if k else 6] = np.nan
        row = difference(a, b, Tolerance(relative=0.01))
        assert row is not None
        assert (row.different, row.max_abs, row.at, row.norm, row.cosine) == (2, 0.25, (k,), None, None)


WHOLE = {
    "above 2^53": (["int64", "int64"], [2**53 + 1, -(2**62)], [2**53, -(2**62) - 3], 3),
    "across all of int64": (["int64", "int64"], [-(2**63), 5], [2**63 - 1, 5], 2**64 - 1),
    "across all of uint64": (["uint64", "uint64"], [2**64 - 1, 5], [0, 6], 2**64 - 1),
    "of either sign": (["uint64", "int64"], [2**64 - 1, 2**64 - 1], [-(2**63) + 1, -(2**63)], 2**64 + 2**63 - 1),
    "small beside large": (["int8", "uint64"], [-1, 0], [2**64 - 1, 2**64 - 1], 2**64),
    "of 32 bits": (["uint32", "int32"], [2**32 - 1, 0], [-(2**31), 0], 2**32 + 2**31 - 1),
    "truth": (["bool", "bool"], [True, False], [False, False], 1),
    "truth beside large": (["bool", "uint64"], [True, False], [2**63 + 1, 0], 2**63),
}


@pytest.mark.parametrize(("dtypes", "a", "b", "greatest"), WHOLE.values(), ids=WHOLE)
def test_whole_numbers_are_exact(dtypes: list[str], a: list[int], b: list[int], greatest: int) -> None:
    row = difference(np.array(a, dtypes[0]), np.array(b, dtypes[1]))
    assert row is not None
    assert (row.max_abs, type(row.max_abs)) == (greatest, int)
    assert row.different == sum(x != y for x, y in zip(a, b, strict=True))
    assert row.status == ("values" if dtypes[0] == dtypes[1] else "dtype")


def test_whole_numbers_and_floats() -> None:
    """2^53 + 1 is no float64; and a tolerance is compared with the distance, not with what it is rounded to."""
    row = difference(np.array([2**53 + 1, 7]), np.array([2.0**53, 7.0]))
    assert row is not None
    assert (row.status, row.different, row.max_abs, row.at) == ("dtype", 1, 1.0, (0,))
    row = difference(np.array([2**53 + 1, 7]), np.array([2.0**53, 7.0], "complex128"))
    assert row is not None
    assert row.different == 1
    a, b = np.array([2**53 + 1]), np.array([0])
    assert difference(a, b, Tolerance(absolute=2.0**53)) is not None
    assert difference(a, b, Tolerance(absolute=2.0**53 + 2)) is None
    assert difference(np.array([2**64 - 1], "uint64"), np.array([0], "uint64"), Tolerance(absolute=inf)) is None
    row = difference(np.array([2**64 - 1], "uint64"), np.array([5e-324]))
    assert row is not None
    assert row.max_rel is None, "there is no float64 as large"


@st.composite
def near_the_limit(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Pairs, of which one side at least is of integers, that are as far apart as a tolerance allows, or 1 more."""
    integers = [name for name in DTYPE_BYTES if numpy_dtype(name).kind in "biu"]
    floating = [name for name in DTYPE_BYTES if numpy_dtype(name).kind in "fV" and not name.startswith("float8")]
    pair = draw(st.permutations([draw(st.sampled_from(integers)), draw(st.sampled_from(integers + floating))]))
    rtol = draw(st.sampled_from([0.0, 1.0, 0.5, 0.1, 1e-5, 2**-53, 1 + 2**-52, 3.0]))
    atol = draw(st.sampled_from([0.0, 1.0, 0.1, 2.0**53, 2.0**53 + 2, 1e-8, 2.0**63]))
    values: list[tuple[Any, Any]] = []
    for _ in range(draw(st.integers(1, 8))):
        y = exactly(held(draw(st.integers(-(2**65), 2**65) | st.integers(-300, 300)), pair[1]))
        limit = Fraction(atol) + Fraction(rtol) * abs(Fraction(y))
        apart = int(limit) + draw(st.integers(-2, 2))
        values.append((held(int(y) + draw(st.sampled_from([-1, 1])) * apart, pair[0]), held(y, pair[1])))
    a, b = (np.array([value[side] for value in values], numpy_dtype(pair[side])) for side in (0, 1))
    return a, b, rtol, atol


def held(value: Any, dtype: str) -> Any:
    """A number as a dtype holds it, or the nearest that it does."""
    kind = numpy_dtype(dtype).kind
    if kind == "b":
        return np.bool_(value > 0)
    if kind in "iu":
        return numpy_dtype(dtype).type(min(max(int(value), np.iinfo(dtype).min), np.iinfo(dtype).max))
    largest = int(float(ml_dtypes.finfo(numpy_dtype(dtype)).max))
    return np.float64(min(max(value, -largest), largest)).astype(numpy_dtype(dtype))


def test_a_distance_beyond_two_small_integers_is_exact() -> None:
    """Float64 holds both integers, but not their distance, which exceeds the tolerance by 1."""
    row = difference(np.array([1 - 2**53]), np.array([2], "i1"), Tolerance(0.0, 2.0**53))
    assert row is not None
    assert row.different == 1


@settings(max_examples=400)
@given(near_the_limit())
def test_integers_are_compared_exactly(case: tuple[np.ndarray, np.ndarray, float, float]) -> None:
    """Within the tolerance means what mathematics says, wherever one side is an integer, of any size and sign."""
    a, b, rtol, atol = case
    row = difference(a, b, Tolerance(rtol, atol))
    pairs = [(Fraction(exactly(p)), Fraction(exactly(q))) for p, q in zip(a, b, strict=True)]
    beyond = sum(abs(p - q) > Fraction(atol) + Fraction(rtol) * abs(q) for p, q in pairs)
    assert (0 if row is None else row.different) == beyond


@pytest.mark.parametrize("dtypes", [("int64", "int64"), ("uint64", "int64"), ("int64", "float64"), ("int8", "float32")])
def test_many_values_at_the_limit_are_fast(dtypes: tuple[str, str]) -> None:
    """All of a million values may be exactly as far apart as allowed, or 1 further."""
    b = (np.arange(1 << 20) % 50).astype(dtypes[1])
    a = (b * 2).astype(dtypes[0])
    start = time.process_time()
    assert compare_values(0, a, b, Tolerance(1.0)).different == 0
    assert compare_values(0, a, b, Tolerance(0.1, 44.1)).different == 0
    assert compare_values(0, a, b, Tolerance(0.1, 44.0)).different == np.count_nonzero(b == 49)
    assert time.process_time() - start < 20


def test_a_tolerance_of_large_integers(paramctl: Run, tmp_path: Path) -> None:
    """A limit of 8184006991193160031 is not rounded to 8184006991193159680, so an equal distance is within it."""
    a, b = np.array([1], "uint32"), np.array([8184006991193160031], "uint64")
    np.savez(tmp_path / "a.npz", x=a)
    np.savez(tmp_path / "b.npz", x=b)
    assert paramctl("diff", "a.npz", "b.npz", "--rtol", "1", "--any-dtype").returncode == 0
    np.savez(tmp_path / "c.npz", x=np.array([-1]))
    assert paramctl("diff", "c.npz", "b.npz", "--rtol", "1", "--any-dtype").returncode == 1


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
    piece = compare_values(0, a, b, Tolerance(rtol, atol, equal_nan=True))
    with np.errstate(all="ignore"):
        near = np.isclose(a.astype(float), b.astype(float), rtol, atol, equal_nan=True)
    assert piece.different == np.count_nonzero(~near)


def exactly(value: Any) -> Any:
    """A value as Python has it, from which nothing is lost."""
    if isinstance(value, np.complexfloating):
        return complex(value)
    return int(value) if isinstance(value, (np.integer, np.bool_)) else float(value)


def apart(x: Any, y: Any) -> Any:
    """|x - y| as a fraction; as a float if it is not finite, or of complex numbers."""
    parts = [(x.real, y.real), (x.imag, y.imag)]
    if x == y:
        return Fraction(0)
    if not all(isfinite(each) for pair in parts for each in pair):
        with np.errstate(all="ignore"):
            return float(np.abs(np.complex128(x) - np.complex128(y)))
    real, imaginary = (abs(Fraction(p) - Fraction(q)) for p, q in parts)
    made = real if not imaginary else hypot(real, imaginary)
    return made if made <= sys.float_info.max else inf


def by_hand(a: np.ndarray, b: np.ndarray, tolerance: Tolerance) -> dict[str, Any]:
    """The numbers of a row, one value after the other, in Python's exact arithmetic."""
    distances, far, special = [], [], []
    for p, q in zip(a, b, strict=True):
        x, y = exactly(p), exactly(q)
        distance = apart(x, y)
        if x != x and y != y and (tolerance.equal_nan or (a.dtype == b.dtype and p.tobytes() == q.tobytes())):
            distance = 0.0
        with np.errstate(all="ignore"):
            limit = float(
                np.float64(tolerance.absolute) + np.float64(tolerance.relative) * np.abs(np.asarray(y, complex))
            )
        finite = isinstance(distance, Fraction) or isfinite(distance)
        kinds = {a.dtype.kind, b.dtype.kind}
        if "c" not in kinds and kinds & set("biu") and finite:  # exact, as soon as one is an integer
            limit = Fraction(tolerance.absolute) + Fraction(tolerance.relative) * abs(Fraction(y))
            differs = distance > limit
        else:
            differs = distance != 0 and not (finite and float(distance) <= limit)
        distances.append(distance)
        far.append((differs, distance if finite else None, abs(y)))
        sides = [np.asarray(side, complex) for side in (x, y)]
        special += [[differs and test(side) for test in (np.isnan, np.isinf) for side in sides]]
    squares, squares_a = sum_of_squares(distances), sum_of_squares([exactly(p) for p in a])
    told = [each for each in far if each[0]] or far
    finite_ones = [each[1] for each in told if each[1] is not None]
    ratios = [float(d) / float(y) for _, d, y in told if d is not None and y and isfinite(y)]
    return {
        "different": sum(each[0] for each in far),
        "max_abs": max(finite_ones, default=None),
        "max_rel": max(filter(isfinite, ratios), default=None),
        "norm": root(squares),
        "relative_norm": None if squares is None or not squares_a else root(squares / squares_a),
        "nonfinite": tuple(map(int, np.sum(special, axis=0))),
    }


def sum_of_squares(values: list[Any]) -> Fraction | None:
    """The sum of the squares of numbers, exactly; None if one is not finite."""
    parts = [part for value in values for part in (value.real, value.imag)]
    if not all(isinstance(part, (int, Fraction)) or isfinite(part) for part in parts):
        return None
    return sum((Fraction(part) ** 2 for part in parts), Fraction(0))


def root(square: Fraction | None) -> float | None:
    """The square root of a fraction as float64; None beyond it."""
    if not square:
        return None if square is None else 0.0
    exponent = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    try:
        return ldexp(sqrt(square / Fraction(4) ** exponent), exponent)
    except OverflowError:
        return None


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of any bits and dtypes, many of whose values are the same."""
    names = st.sampled_from(list(DTYPE_BYTES))
    first, second = draw(names), draw(names)
    second = draw(st.sampled_from([first, first, second]))
    size = draw(st.integers(1, 12))

    def values(name: str) -> np.ndarray:
        bits = draw(st.binary(min_size=size * DTYPE_BYTES[name], max_size=size * DTYPE_BYTES[name]))
        made = np.frombuffer(bits, "uint8" if name == "bool" else numpy_dtype(name))
        return made % 2 == 1 if name == "bool" else made

    a = values(first)
    with np.errstate(all="ignore"):
        b = a.real if numpy_dtype(second).kind != "c" else a
        eight = first.startswith("float8") and second.startswith("float8")  # ml_dtypes casts not all of them
        b = (b.astype("float32") if eight else b).astype(numpy_dtype(second))
    keep = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return a, np.where(keep, b, values(second))


@settings(max_examples=300)
@example((np.array([0, 1 << 56]), np.array([1e-303, 1e-303])), 0.0, 0.0, False)
@given(pairs(), st.sampled_from([0.0, 0.0, 0.5, 1e-3]), st.sampled_from([0.0, 0.0, 1.0, 1e20]), st.booleans())
def test_any_values_of_any_dtypes(
    pair: tuple[np.ndarray, np.ndarray], rtol: float, atol: float, equal_nan: bool
) -> None:
    """Against exact arithmetic, value by value; and in whatever chunks."""
    a, b = pair
    tolerance = Tolerance(rtol, atol, equal_nan)
    expected = by_hand(a, b, tolerance)
    for chunk, row_ in ((numeric.CHUNK, scaled.ROW), (5, 2)):
        with patch.object(numeric, "CHUNK", chunk), patch.object(scaled, "ROW", row_):
            row = difference(a, b, tolerance)
        if row is None:
            assert expected["different"] == 0
            assert a.dtype == b.dtype
            continue
        assert row.different == expected["different"]
        for name in ("max_abs", "max_rel", "norm", "relative_norm"):
            told = getattr(row, name)
            wanted = expected[name]
            assert (told is None) == (wanted is None), name
            assert told is None or told == pytest.approx(float(wanted), rel=1e-12, abs=5e-324), name
        assert (row.nan_a, row.nan_b, row.inf_a, row.inf_b) == expected["nonfinite"]


def test_variables_are_those_of_each_document(paramctl: Run, tmp_path: Path) -> None:
    """Of A, of B, of both, and of neither, which is an error, because a checkpoint has none."""
    (tmp_path / "m.yaml").write_text("vars: {width: 3}\ninput: [4]\nlayers: [{dense: '${width}'}]\n")
    assert paramctl("save", "m.yaml", "-D", "width=2", "-o", "two.npz").returncode == 0
    for sides in (("m.yaml", "two.npz"), ("two.npz", "m.yaml")):
        assert paramctl("diff", *sides, "-D", "width=2").returncode == 0
        assert paramctl("diff", *sides).returncode == 1
        assert paramctl("diff", *sides, "-D", "width=5").returncode == 1
    assert paramctl("diff", "m.yaml", "m.yaml", "-D", "width=5").returncode == 0
    refused = paramctl("diff", "two.npz", "two.npz", "-D", "width=2")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "-D requires a model document" in refused.stderr


def test_names_that_differ_by_a_prefix_have_a_hint(paramctl: Run, tmp_path: Path) -> None:
    """The note is a --rename option for B, and with it the files are equal. The error for A's names says so."""
    values = {"fc.weight": np.ones((2, 3), "float32"), "fc.bias": np.zeros(2, "float32")}
    np.savez(tmp_path / "a.npz", **{f"module.{name}": array for name, array in values.items()})
    np.savez(tmp_path / "b.npz", **values)
    done = paramctl("diff", "a.npz", "b.npz", "--top", "1")
    assert done.stderr.splitlines() == [
        "3 more rows, not shown",
        "4 of 4 arrays differ: 2 only in A, 2 only in B",
        "note: the names differ. Use --rename '**=module.**' to match the names.",
    ]
    assert paramctl("diff", "a.npz", "b.npz", "--rename", "**=module.**").returncode == 0
    done = paramctl("diff", "b.npz", "a.npz", "-q")
    assert (done.returncode, done.stderr) == (1, "")
    done = paramctl("diff", "a.npz", "b.npz", "--rename", "module.**=**")
    assert done.returncode == 2
    assert done.stderr.endswith("(got 'module.**'). The first of the two has it: exchange them.\n")
    done = paramctl("diff", "a.npz", "b.npz", "--rename", "other.**=**")
    assert "exchange" not in done.stderr


def test_a_closing_line_counts_the_arrays(call: Call, tmp_path: Path) -> None:
    """On standard error, with each kind of difference, and with the options by which arrays are equal."""
    ones = np.ones((2, 3), "float32")
    common = {"same": ones, "shape": ones, "dtype": ones, "values": ones, "near": ones}
    np.savez(tmp_path / "a.npz", **common, only=ones)
    np.savez(
        tmp_path / "b.npz",
        **common | {"shape": ones[:1], "dtype": ones.astype("float64"), "values": 2 * ones, "near": ones + 1e-3},
        new=ones,
    )
    every = "2 in values, 1 in dtype, 1 in shape, 1 only in A, 1 only in B"
    near = "1 in values, 1 in dtype, 1 in shape, 1 only in A, 1 only in B"
    for options, lines in {
        (): [f"6 of 7 arrays differ: {every}"],
        ("--top", "2", "--format", "csv"): ["4 more rows, not shown", f"6 of 7 arrays differ: {every}"],
        ("--by", "norm", "--total"): [f"6 of 7 arrays differ: {every}"],
        ("--rtol", "0.01", "--atol", "1e-5"): [f"5 of 7 arrays differ (rtol 0.01, atol 1e-05): {near}"],
        ("--structure", "--rtol", "1"): [
            "4 of 7 arrays differ (values not compared): 1 in dtype, 1 in shape, 1 only in A, 1 only in B"
        ],
    }.items():
        code, _, err = call("diff", "a.npz", "b.npz", *options)
        assert (code, err.splitlines()) == (1, lines)
    assert call("diff", "a.npz", "a.npz") == (0, "", "no differences: 6 arrays compared\n")
    equal = call("diff", "a.npz", "a.npz", "--any-dtype", "--equal-nan", "--format", "json")
    assert equal == (0, "[]\n", "no differences: 6 arrays compared (any NaN equals another, dtypes ignored)\n")
    assert call("diff", "a.npz", "b.npz", "-q") == (1, "", "")
    np.savez(tmp_path / "c.npz", **common | {"same": 2 * ones}, only=ones)
    assert call("diff", "a.npz", "c.npz")[2] == "1 of 6 arrays differs\n"
    found = pc.diff(tmp_path / "a.npz", tmp_path / "b.npz", top=1)
    assert (len(found.rows), found.arrays, sum(found.counts.values())) == (1, 7, 6)


def test_a_shared_array_counts_once_in_the_closing_line(call: Call, tmp_path: Path) -> None:
    """If both sides share it; names that only one side shares count apart."""
    tied = "input: [4]\nlayers:\n  - dense: {name: a, units: 4}\n  - dense: {name: b, units: 4}\n"
    (tmp_path / "plain.yaml").write_text(tied)
    (tmp_path / "tied.yaml").write_text(tied + "ties: [{keep: a/kernel, tie: b/kernel}]\n")
    assert call("diff", "tied.yaml", "tied.yaml")[2] == "no differences: 3 arrays compared\n"
    assert call("diff", "tied.yaml", "plain.yaml", "--structure")[2] == (
        "1 of 4 arrays differs (values not compared): 1 in ties\n"
    )


def test_the_help_says_what_is_not_compared(call: Call, tmp_path: Path) -> None:
    """Files that differ in which parameters are trained are equal, and --help says so."""
    text = " ".join(call("diff", "--help")[1].split())
    assert "Not metadata, nor which parameters are trained." in text
    np.savez(tmp_path / "a.npz", w=np.ones(3))
    assert call("save", "a.npz", "-o", "a.safetensors", "-q")[0] == 0
    assert call("freeze", "a.safetensors", "w", "-o", "b.safetensors")[0] == 0
    assert call("diff", "a.safetensors", "b.safetensors") == (0, "", "no differences: 1 array compared\n")
