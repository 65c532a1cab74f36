"""stat: skewness, kurtosis and norms, rows for groups of arrays, columns, and rules that fail."""

import csv
import io
import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paramctl as pc
from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.inspect import histogram, stat
from paramctl.inspect.powers import Center, Powers, powers
from paramctl.inspect.tally import Tally, tally
from tests.conftest import ROOT, Call
from tests.test_stat import write

REAL = [name for name in DTYPE_BYTES if numpy_dtype(name).kind != "c"]
TIED = str(ROOT / "tests/fixtures/torch_tied.safetensors")


def shape_of(numbers: list[Fraction]) -> tuple[float, float]:
    """(skewness, excess kurtosis), in exact arithmetic up to the root."""
    mean = sum(numbers, Fraction(0)) / len(numbers)
    second, third, fourth = (sum((x - mean) ** k for x in numbers) / len(numbers) for k in (2, 3, 4))
    sign = 1 if third > 0 else -1
    return sign * float(third**2 / second**3) ** 0.5, float(fourth / second**2 - 3)


def folded(pieces: list[np.ndarray]) -> Powers:
    counts = tally(pieces[0])
    for piece in pieces[1:]:
        counts = Tally.join(counts, tally(piece))
    result = Powers()
    for piece in pieces:
        result = result.join(powers(piece, Center.of(counts), True, True))
    return result


@pytest.mark.parametrize("name", REAL)
def test_skewness_and_kurtosis_of_every_dtype(name: str) -> None:
    """Those of exact arithmetic, without NaN and infinities, also far from zero."""
    rng, dtype = np.random.default_rng(3), numpy_dtype(name)
    drawn = rng.exponential(size=600) * 2
    values = drawn > 1 if name == "bool" else drawn.astype(dtype)
    others = [values]
    if dtype.kind in "iu" and dtype.itemsize > 2:
        others.append((rng.integers(0, 9, 600) + np.iinfo(dtype).max // 2).astype(dtype))
    if dtype.kind == "f" and dtype.itemsize >= 4:
        others += [(values + 4096).astype(dtype), (values * dtype.type(1e-40)).astype(dtype)]
    if name == "float64":
        others += [values * 1e307, values * 1e-310, np.where(values > 4, 1.7e308, -1.7e308)]
    for each in others:
        numbers = [Fraction(x) for x in (each.tolist() if dtype.kind in "iuf" else each.astype(float).tolist())]
        shape = folded(np.array_split(each, 7)).shape
        assert shape == pytest.approx(shape_of(numbers), rel=1e-10, abs=1e-10)


@settings(max_examples=40)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=30), st.integers(1, 5))
def test_kurtosis_of_any_doubles(numbers: list[float], pieces: int) -> None:
    """Of any exponents together, in any pieces; kurtosis is never below skewness squared less 2."""
    values = np.array(numbers)
    shape = folded([piece for piece in np.array_split(values, pieces) if piece.size]).shape
    if values.min() == values.max():
        return
    assert shape is not None
    assert shape == pytest.approx(shape_of([*map(Fraction, numbers)]), rel=1e-6, abs=1e-6)


def test_norms(tmp_path: Path) -> None:
    """The sum and the largest of absolute values, and the root mean square; of complex numbers too, and far out."""
    rng = np.random.default_rng(0)
    arrays = {
        "f": rng.standard_normal(100).astype("f4"),
        "i": rng.integers(-(2**62), 2**62, 50),
        "z": rng.standard_normal(70) + 1j * rng.standard_normal(70),
        "big": np.array([3e307, -4e307]),
    }
    np.savez(tmp_path / "m.npz", **arrays)
    for row in pc.stat(str(tmp_path / "m.npz"), norms=True, moments=True).rows:
        size = np.abs(arrays[row.path].astype(complex if row.path == "z" else float))
        assert row.l1 == pytest.approx(size.sum(), rel=1e-13)
        assert row.linf == pytest.approx(size.max(), rel=1e-7)  # of float32, the shortest text
        assert row.rms == pytest.approx(size.max() * np.sqrt(np.mean((size / size.max()) ** 2)), rel=1e-13)
        assert (row.kurtosis is None) == (row.path == "z")


def test_a_group_has_the_statistics_of_its_values(tmp_path: Path) -> None:
    """Of arrays of several dtypes, far apart, with NaN; the total too, with quantiles, kurtosis and norms."""
    rng = np.random.default_rng(0)
    arrays = {
        "a.x": rng.standard_normal(300).astype("f4"),
        "a.y.w": rng.standard_normal(200) + 1000,
        "a.y.v": rng.integers(-5, 5, 40),
        "b.w": np.array([1.0, np.nan, 0.0, np.inf]),
    }
    path = str(tmp_path / "m.npz")
    np.savez(path, **arrays)
    asked = {"quantiles": (0.1, 0.5), "moments": True, "norms": True, "total": True}
    for depth, names in ((1, {"a": "a.", "b": "b."}), (2, {"a": "a.x", "a.y": "a.y", "b": "b."})):
        result = pc.stat(path, per="block", depth=depth, **asked)
        assert [row.path for row in result.rows] == [*names]
        assert result.total is not None
        for row, start in [*zip(result.rows, names.values(), strict=True), (result.total, "")]:
            parts = [values.astype(float) for name, values in arrays.items() if name.startswith(start)]
            values = np.concatenate(parts)
            finite = values[np.isfinite(values)]
            assert (row.arrays, row.size, row.nan) == (len(parts), values.size, int(np.isnan(values).sum()))
            assert row.mean == pytest.approx(finite.mean(), rel=1e-12)
            assert row.stddev == pytest.approx(finite.std(), rel=1e-12)
            assert row.l1 == pytest.approx(np.abs(finite).sum(), rel=1e-12)
            assert (row.skewness, row.kurtosis) == pytest.approx(shape_of([*map(Fraction, finite.tolist())]), rel=1e-9)
            assert [*row.quantiles.values()] == np.quantile(finite, (0.1, 0.5)).tolist()
    rows = pc.stat(path, per="dtype").rows
    assert [(row.path, row.arrays, row.size) for row in rows] == [
        ("float32", 1, 300),
        ("float64", 2, 204),
        ("int64", 1, 40),
    ]


def test_a_shared_array_counts_once_in_a_group(call: Call) -> None:
    """In the block where summary counts it; under the selected name if names are selected; slices may not overlap."""
    assert [(row.path, row.size) for row in pc.stat(TIED, per="block").rows] == [("emb", 40), ("h", 20)]
    assert [row.path for row in pc.stat(TIED, "out.weight", per="block").rows] == ["out"]
    total = pc.stat(TIED, "emb", "out", total=True).total
    assert total is not None
    assert (total.arrays, total.size) == (1, 40)
    code, out, err = call("stat", TIED, "h.weight[0]", "h.weight[:2]", "--total")
    assert (code, out) == (2, "")
    assert err == "h.weight: a group has one selection of an array (got h.weight[0] and h.weight[:2])\n"


def test_complex_and_real_arrays_together(tmp_path: Path) -> None:
    """Real numbers count as complex ones with an imaginary part of 0."""
    real, other = np.arange(5.0), np.array([1 + 2j, 3 - 1j])
    np.savez(tmp_path / "m.npz", a=real, b=other)
    total = pc.stat(str(tmp_path / "m.npz"), total=True, norms=True, quantiles=(0.5,), moments=True).total
    both = np.concatenate([real, other])
    assert total is not None
    assert total.mean == pytest.approx(both.mean())
    assert (total.stddev, total.norm) == pytest.approx((both.std(), np.linalg.norm(both)))
    assert (total.l1, total.linf) == pytest.approx((np.abs(both).sum(), np.abs(both).max()))
    assert (total.min, total.kurtosis, total.quantiles) == (None, None, {0.5: None})


@pytest.fixture
def bad(tmp_path: Path) -> str:
    return write(
        tmp_path / "bad.safetensors",
        fine=np.array([1.0, 2.0, 4.0]),
        nan=np.array([1.0, np.nan, np.nan]),
        inf=np.array([-np.inf, 1.0]),
        zero=np.zeros(4),
        same=np.full(3, 0.5),
        none=np.zeros((0, 2)),
        beyond=np.full(4, 1.7e308) * [1, 1, 1, -1],
    )


@pytest.mark.parametrize(
    ("rules", "lines"),
    [
        ("nan,inf", ["nan: fails nan (2 values)", "inf: fails inf (1 value)"]),
        ("zero", ["zero: fails zero (4 values)"]),
        ("constant", ["zero: fails constant (got 0)", "same: fails constant (got 0.5)"]),
        ("empty", ["none: fails empty"]),
        (
            "max>=4 , nan>1",
            ["fine: fails max>=4 (got 4)", "nan: fails nan>1 (got 2)", "beyond: fails max>=4 (got 1.7e+308)"],
        ),
        ("norm>1e308", ["beyond: fails norm>1e308 (got inf)"]),
        ("q0.5>1.5", ["fine: fails q0.5>1.5 (got 2)", "beyond: fails q0.5>1.5 (got 1.7e+308)"]),
        ("std<1e-6,sparsity>0.9", ["nan: fails std<1e-6 (got 0)", "inf: fails std<1e-6 (got 0)"]),
        ("kurtosis>100", []),
    ],
)
def test_rules_that_fail(call: Call, bad: str, rules: str, lines: list[str]) -> None:
    """The table is printed all the same, each failing array has a line, and the exit code is 1; for groups too."""
    for options in ([], ["--per", "dtype"]):
        code, out, err = call("stat", bad, "--fail-on", rules, *options)
        assert code == (1 if lines else 0)
        shown = [line for line in err.splitlines() if line.split(":")[0] not in ("zero", "same") or "std" not in line]
        assert shown == lines
        assert out.startswith("Dtype" if options else "Parameter")


@pytest.mark.parametrize("rule", ["zeros", "max", "max>", "max>x", "max>nan", "shape>1", "q2>1", "max==1", ""])
def test_malformed_rules_are_refused(call: Call, bad: str, rule: str) -> None:
    """In one line, before any value is read."""
    code, out, err = call("stat", bad, "--fail-on", rule)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "a rule must" in err


def test_rules_that_could_not_test_an_array_say_so(call: Call, tmp_path: Path) -> None:
    """A gate does not pass in silence: no value is finite, or is real, or the iteration gives no condition."""
    path = str(tmp_path / "m.npz")
    rng = np.random.default_rng(0)
    np.savez(
        path,
        nan=np.full((2, 2), np.nan),
        complex=np.ones(2, complex),
        large=rng.standard_normal((1025, 1025)).astype("f4"),
        vector=np.ones(3),
        zero=np.zeros((2, 2)),
        empty=np.zeros((0, 2)),
    )
    code, _, err = call(
        "stat", path, "--columns", "path", "--fail-on", "max>100", "--fail-on", "condition>1e300,rank<1"
    )
    assert code == 1
    assert err.splitlines() == [
        "zero: fails rank<1 (got 0)",
        "nan: not tested: max>100 (no value is finite), condition>1e300 (has NaN or infinities), "
        "rank<1 (has NaN or infinities)",
        "complex: not tested: max>100 (complex numbers)",
        "large: not tested: condition>1e300 (by iteration, within 0.0001), rank<1 (by iteration, within 0.0001)",
        "zero: not tested: condition>1e300 (all zero)",
    ]
    code, _, err = call("stat", path, "vector", "empty", "--fail-on", "rank>9,max>9,skewness>1,kurtosis<0")
    assert (code, err) == (0, "")
    many = str(tmp_path / "many.npz")
    np.savez(many, **{f"w{number:02}": np.array([np.nan]) for number in range(12)})
    code, _, err = call("stat", many, "--fail-on", "max>1")
    assert (code, err.splitlines()[-1]) == (0, "2 more arrays were not tested")


def test_a_spectral_norm_beyond_float64_is_infinite(call: Call, tmp_path: Path) -> None:
    """Also of a matrix whose note is about its rank."""
    np.savez(tmp_path / "m.npz", w=np.full((4, 4), 1.7e308))
    code, _, err = call("stat", "m.npz", "--columns", "path", "--fail-on", "spectral_norm>1e308")
    assert (code, err) == (1, "w: fails spectral_norm>1e308 (got inf)\n")


def test_ends_of_short_floats_are_those_of_the_values(call: Call, tmp_path: Path) -> None:
    """The largest float16 is 65504, not 65500, and 2^30 + 128 in float32 is an integer with all of its digits."""
    np.savez(tmp_path / "m.npz", half=np.array([65504, -65504, 0.1], "f2"), single=np.array([2.0**30 + 128, 0.1], "f4"))
    half, single = pc.stat("m.npz", norms=True, quantiles=(0, 1)).rows
    assert (half.min, half.max, half.linf, half.quantiles[1.0]) == (-65504, 65504, 65504, 65504)
    assert (single.min, single.max) == (0.1, 2**30 + 128)
    assert call("stat", "m.npz", "half", "--fail-on", "max>=65504")[0] == 1
    (tenth,) = pc.stat("m.npz", "half[2]").rows
    assert np.float32(tenth.max) == np.float32(np.float16(0.1))


def test_small_probabilities_have_names_that_can_be_typed(call: Call, bad: str) -> None:
    """A name without an exponent, for columns and rules, which also accept one with an exponent."""
    _, out, _ = call("stat", bad, "fine", "--columns", "path", "--quantiles=0.00001,-0.0", "--format", "csv")
    assert out.splitlines()[0] == "path,q0.00001,q0"
    for name in ("q0.00001", "q1e-5", "q1e-05", "q.00001"):
        code, out, err = call("stat", bad, "fine", "--columns", name, "--fail-on", f"{name}>=1", "--format", "csv")
        assert (code, out.splitlines()[0]) == (1, "q0.00001")
        assert err.startswith(f"fine: fails {name}>=1")
    for name in ("qnan", "q1e5", "q2", "q", "q-0", "q1.5"):
        code, _, err = call("stat", bad, "fine", "--columns", name)
        assert (code, "No such column" in err) == (2, True)


def test_many_failures_are_abbreviated(call: Call, tmp_path: Path) -> None:
    """Ten lines, and the number of the others; of several files, with the name of the file, and 2 beats 1."""
    path = write(tmp_path / "m.safetensors", **{f"w{number:02}": np.zeros(1) for number in range(13)})
    code, _, err = call("stat", path, "--fail-on", "zero")
    assert (code, len(err.splitlines()), err.splitlines()[-1]) == (1, 11, "3 more arrays fail")
    code, out, err = call("stat", path, path, "w00", "--fail-on", "zero", "--total", "--format", "csv")
    assert (code, err.splitlines()) == (1, [f"{path}: w00: fails zero (1 value)"] * 2)
    assert [line.split(",")[1] for line in out.splitlines()[1:]] == ["w00", "", "w00", ""]
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    assert call("stat", path, "broken.safetensors", "--fail-on", "zero")[0] == 2


def test_columns_and_formats(call: Call, bad: str) -> None:
    """--columns replaces the usual ones, options add to them, and the total of JSON has no name."""
    code, out, _ = call(
        "stat", bad, "fine", "--columns", "q0.50, path,sparsity", "--norms", "--total", "--format", "json"
    )
    assert code == 0
    assert json.loads(out) == [
        {"q0.5": 2.0, "path": path, "sparsity": 0.0, "l1": 7.0, "linf": 4.0, "rms": pytest.approx(7**0.5)}
        for path in ("fine", None)
    ]
    _, out, _ = call("stat", bad, "fine", "--quantiles", "--moments", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert [*row][-8:] == ["sparsity", "skewness", "kurtosis", "q0.01", "q0.25", "q0.5", "q0.75", "q0.99"]
    _, out, _ = call("stat", bad, "--per", "block", "--quantiles", "0,1", "--format", "markdown")
    assert out.startswith("| Block | Arrays | Size |")
    for arguments, says in (
        (["--quantiles", "2"], "must be numbers from 0 to 1, separated by commas (got '2')"),
        (["--quantiles", "x"], "must be numbers from 0 to 1, separated by commas (got 'x')"),
        (["--columns", "nonsense"], "No such column: 'nonsense'"),
        (["--per", "block", "--columns", "shape"], "No such column: 'shape'"),
        (["--depth", "2"], "--depth requires --per block"),
    ):
        code, out, err = call("stat", bad, *arguments)
        assert (code, out) == (2, "")
        assert says in err


def test_slices_and_state_have_all_options(call: Call) -> None:
    """A slice's quantiles and norms are those of its values, in every format."""
    for each in ("table", "json", "jsonl", "csv", "markdown"):
        code, out, err = call(
            "stat",
            TIED,
            "h.weight[0]",
            "--quantiles",
            "0.5",
            "--moments",
            "--norms",
            "--spectral",
            "--state",
            "--format",
            each,
        )
        assert (code, "q0.5" in out) == (0, True), err
    whole = np.array(pc.open(TIED)["h.weight"])[0].astype(float)
    (row,) = pc.stat(TIED, "h.weight[0]", quantiles=(0.5,), norms=True).rows
    assert (row.quantiles[0.5], row.l1) == (np.quantile(whole, 0.5), pytest.approx(np.abs(whole).sum()))


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "h5"])
@pytest.mark.parametrize("facts", ["moments", "spectral", "histogram", "draw"])
def test_a_file_that_is_written_between_two_passes(
    suffix: str, facts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No mixture of two files: not of other values, nor of NaN, with which the SVD does not converge. A new file at
    the same path is no error."""
    path = tmp_path / f"m.{suffix}"
    np.savez(tmp_path / "drawn.npz", w=np.arange(12.0).reshape(3, 4))
    pc.save(str(tmp_path / "drawn.npz"), path)
    data, other = path.read_bytes(), np.full((3, 4), np.nan)
    place = data.index(np.arange(12.0).tobytes())
    rows, count = stat._Rows.rows, histogram.bins_between

    def written(function: Callable[..., Any], *arguments: Any) -> Any:
        os.utime(path, ns=(1, 1))  # a clock may be too coarse to show a write at once
        with path.open("r+b") as file:
            file.seek(place)
            file.write(other.tobytes())
        return function(*arguments)

    def read() -> object:
        return pc.histogram(path) if facts == "draw" else pc.stat(path, **{facts: True})

    monkeypatch.setattr(stat._Rows, "rows", lambda self: written(rows, self))
    if facts == "draw":
        monkeypatch.setattr(histogram, "bins_between", lambda *arguments: written(count, *arguments))
    with pytest.raises(pc.InputError, match="was written while its values were read"):
        read()
    path.write_bytes(data)

    def replaced(function: Callable[..., Any], *arguments: Any) -> Any:
        (tmp_path / "new").write_bytes(b"")
        (tmp_path / "new").replace(path)
        return function(*arguments)

    monkeypatch.setattr(stat._Rows, "rows", lambda self: replaced(rows, self))
    monkeypatch.setattr(histogram, "bins_between", lambda *arguments: replaced(count, *arguments))
    read()


def test_quiet_prints_no_table_and_keeps_the_lines_of_rules(call: Call, bad: str) -> None:
    """For one file and for several, and the exit code is that without it."""
    assert call("stat", bad, "-q") == (0, "", "")
    assert call("stat", bad, bad, "--quiet", "--format", "json") == (0, "", "")
    for files in ([bad], [bad, bad]):
        loud = call("stat", *files, "--fail-on", "nan")
        assert loud[0] == 1
        assert loud[1]
        assert "fails nan" in loud[2]
        assert call("stat", *files, "--fail-on", "nan", "-q") == (1, "", loud[2])
