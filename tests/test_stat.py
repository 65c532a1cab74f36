"""paramctl stat: NumPy's statistics where it has them, of every dtype, however the values are cut, and with what no
float holds on the way."""

import csv
import io
import json
import os
import re
import struct
import subprocess
import sys
import warnings
from fractions import Fraction
from functools import reduce
from math import isqrt
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.inspect.moments import AT_ONCE
from paramctl.inspect.stat import StatRow, statistics
from paramctl.inspect.tally import Tally, tally
from paramctl.source.base import select_values
from paramctl.source.open import open_path
from paramctl.source.stored import Stored
from tests import forks
from tests.conftest import ROOT, Run

MLP = str(ROOT / "sample_models/mlp.yaml")
TORCHS = str(ROOT / "tests/fixtures/torch_tied.safetensors")
FIXTURES = ROOT / "tests/fixtures"
CODES = {"float64": "F64", "float32": "F32", "uint64": "U64", "int64": "I64", "complex64": "C64", "bool": "BOOL"}

Row = dict[str, object]


def write(path: Path, **values: np.ndarray) -> str:
    """A safetensors file."""
    header, offset = {}, 0
    for name, array in values.items():
        code = CODES[array.dtype.name]
        header[name] = {"dtype": code, "shape": array.shape, "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in values.values()))
    return str(path)


def rows(paramctl: Run, *arguments: str) -> dict[str, Row]:
    """Return the rows of stat as JSON, by path. The command succeeds, and NumPy gives no warning."""
    done = paramctl("stat", *arguments, "--format", "json", env={"PYTHONWARNINGS": "error::RuntimeWarning"})
    assert (done.returncode, done.stderr) == (0, "")
    listed = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"JSON has no {name}"))
    return {row["path"]: row for row in listed}


def in_pieces(values: np.ndarray, cuts: list[int]) -> Tally:
    pieces = np.split(values, sorted(cuts))
    return reduce(Tally.join, [tally(piece) for piece in pieces if piece.size])


def same(row: Row, values: np.ndarray) -> None:
    """A row says of finite real values what NumPy says."""
    wide = values.astype("float64")
    assert (row["shape"], row["size"]) == (list(values.shape), values.size)
    assert row["mean"] == pytest.approx(wide.mean(), rel=1e-12, abs=1e-15 * np.abs(wide).max())
    assert row["stddev"] == pytest.approx(wide.std(), rel=1e-10)
    assert row["norm"] == pytest.approx(np.linalg.norm(wide), rel=1e-12)
    for key, end in (("min", values.min()), ("max", values.max())):
        assert values.dtype.type(row[key]) == end
    assert (row["zeros"], row["nan"], row["inf"], row["first"]) == (np.count_nonzero(values == 0), 0, 0, None)


def test_numpys_text_is_printed(paramctl: Run, tmp_path: Path) -> None:
    """Of arrays of several pieces and of few values, of floats, of whole numbers, of truths."""
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((700, 900), dtype="float32") * 0.02
    normal[rng.random(normal.shape) < 0.1] = 0
    made = {
        "normal": normal,
        "double": rng.standard_normal((600, 500)) + 5,
        "far": 1e6 + rng.random(300_000),
        "whole": rng.integers(-1000, 1000, (1000, 333)),
        "truths": rng.random((3, 100)) < 0.3,
        "one": np.array(2.5, "float32"),
        "few": np.array([[0.1], [-0.3]], "float32"),
    }
    found = rows(paramctl, write(tmp_path / "m.safetensors", **made))
    assert list(found) == list(made)
    for name, values in made.items():
        same(found[name], values)
        assert found[name]["dtype"] == values.dtype.name
    assert found["few"]["max"] == 0.1, "as short as the dtype allows, as dump prints it"


def test_files_that_the_library_accepts(paramctl: Run) -> None:
    """Two files in which another tool sees no NaN, or at which it stops."""
    (row,) = rows(paramctl, str(FIXTURES / "bf16_nan.safetensors")).values()
    assert row == {
        "path": "w",
        "shape": [2],
        "dtype": "bfloat16",
        "size": 2,
        "mean": 1.0,
        "stddev": 0.0,
        "min": 1.0,
        "max": 1.0,
        "norm": 1.0,
        "zeros": 0,
        "nan": 1,
        "inf": 0,
        "first": [1],
    }
    found = rows(paramctl, str(FIXTURES / "dtypes.safetensors"))
    assert {name: (row["dtype"], row["size"]) for name, row in found.items()} == {
        "i64": ("int64", 4),
        "empty": ("float32", 0),
        "f32": ("float32", 6),
        "nan": ("float32", 3),
        "scalar": ("float32", 1),
        "bf16": ("bfloat16", 3),
        "f16": ("float16", 2),
        "f8": ("float8_e4m3fn", 4),
        "bool": ("bool", 2),
    }
    assert {name: (row["nan"], row["inf"], row["first"]) for name, row in found.items() if row["nan"]} == {
        "nan": (1, 1, [1])
    }
    assert [found["nan"][key] for key in ("mean", "stddev", "min", "max", "norm")] == [1, 0, 1, 1, 1]
    assert [found["empty"][key] for key in ("mean", "stddev", "min", "max", "norm")] == [None] * 5
    assert [found["empty"][key] for key in ("zeros", "nan", "inf", "first")] == [0, 0, 0, None]
    assert (found["scalar"]["shape"], found["scalar"]["mean"]) == ([], 3)
    assert (found["bool"]["mean"], found["bool"]["min"], found["bool"]["max"]) == (0.5, 0, 1)


SMALL = {  # (NaN, infinite, zero, least, greatest) among all patterns of bits, by the formats' own definitions
    "bfloat16": (254, 2, 2, -(2 - 2**-7) * 2.0**127, (2 - 2**-7) * 2.0**127),
    "float16": (2046, 2, 2, -65504, 65504),
    "float8_e4m3fn": (2, 0, 2, -448, 448),
    "float8_e4m3fnuz": (1, 0, 1, -240, 240),
    "float8_e5m2": (6, 2, 2, -57344, 57344),
    "float8_e5m2fnuz": (1, 0, 1, -57344, 57344),
    "float8_e8m0fnu": (1, 0, 0, 2.0**-127, 2.0**127),
}


@pytest.mark.parametrize("name", SMALL)
def test_every_value_of_a_small_float(name: str) -> None:
    assert SMALL.keys() == {each for each in DTYPE_BYTES if re.match("b?float", each)} - {"float32", "float64"}
    dtype = numpy_dtype(name)
    values = np.arange(1 << 8 * dtype.itemsize).astype(f"u{dtype.itemsize}").view(dtype)
    found = tally(values)
    (part,) = found.parts
    assert (found.nan, found.inf, found.zeros, part.minimum, part.maximum) == SMALL[name]
    with np.errstate(invalid="ignore"):
        wide = values.astype("float32").astype("float64")
    wide = wide[np.isfinite(wide)]
    assert part.size == wide.size == values.size - found.nan - found.inf
    assert part.mean == pytest.approx(wide.mean(), abs=1e-12 * wide.max())
    assert (part.stddev, part.norm) == pytest.approx((wide.std(), np.linalg.norm(wide)))


def test_complex_numbers(paramctl: Run, tmp_path: Path) -> None:
    values = np.array([[1 + 2j, 3 - 4j, 0], [-0.0, 5, 1j]], "complex64")
    wrong = np.array([1j, complex(np.nan, np.inf), complex(0, -np.inf), complex(1, np.nan)], "complex64")
    found = rows(paramctl, write(tmp_path / "m.safetensors", values=values, wrong=wrong))
    row = found["values"]
    assert complex(str(row["mean"])) == pytest.approx(complex(values.mean()))
    assert (row["stddev"], row["norm"]) == pytest.approx((values.std(), np.linalg.norm(values)))
    assert (row["min"], row["max"], row["zeros"], row["nan"], row["inf"]) == (None, None, 2, 0, 0)
    row = found["wrong"]
    assert [row[key] for key in ("mean", "nan", "inf", "first", "norm")] == ["1j", 2, 1, [1], 1.0]
    assert " 1.5-0.1667j " in paramctl("stat", "m.safetensors", "values").stdout


def test_64_bits(paramctl: Run, tmp_path: Path) -> None:
    """To the last digit, which no float64 has; and the deviation of numbers that are one to it."""
    low, high = -(2**63), 2**63 - 1
    made = {
        "ends": np.array([low, high, 0, -1]),
        "near": np.array([high, high - 2] * 200_000),
        "below": np.array([low, low + 1, low + 2]),
        "unsigned": np.array([0, 2**64 - 1, 2**64 - 2], "uint64"),
        "top": np.array([2**64 - 1, 2**64 - 3], "uint64"),
        "same": np.full(7, high),
    }
    found = rows(paramctl, write(tmp_path / "m.safetensors", **made))
    assert {name: (row["min"], row["max"]) for name, row in found.items()} == {
        name: (int(values.min()), int(values.max())) for name, values in made.items()
    }
    assert found["near"]["stddev"] == found["top"]["stddev"] == 1
    assert found["below"]["stddev"] == pytest.approx((2 / 3) ** 0.5)
    assert (found["same"]["stddev"], found["same"]["mean"]) == (0, 2.0**63)
    assert found["ends"]["stddev"] == pytest.approx(2.0**63 / 2**0.5)
    text = paramctl("stat", "m.safetensors", "ends", "--format", "csv").stdout
    assert ",-9223372036854775808,9223372036854775807," in text


def test_numbers_whose_squares_no_float_holds(paramctl: Run, tmp_path: Path) -> None:
    big, tiny, greatest = np.array([1e300, -1e300, 3e300]), np.array([3e-320, 1e-320]), np.finfo("float64").max
    made = {
        "big": big,
        "tiny": tiny,
        "beyond": np.full(4, greatest),
        "both": np.array([greatest, -greatest]),
        "mixed": np.concatenate([np.full(300_000, 1e-200), np.zeros(300_000), np.full(300_000, 1e200)]),
    }
    found = rows(paramctl, write(tmp_path / "m.safetensors", **made))
    assert found["big"]["stddev"] == pytest.approx((big / 1e300).std() * 1e300)
    assert found["big"]["norm"] == pytest.approx(11**0.5 * 1e300)
    assert (found["tiny"]["mean"], found["tiny"]["stddev"]) == pytest.approx((2e-320, 1e-320), rel=1e-3)
    assert (found["beyond"]["mean"], found["beyond"]["stddev"], found["beyond"]["norm"]) == (greatest, 0, None)
    assert (found["both"]["mean"], found["both"]["stddev"], found["both"]["norm"]) == (0, greatest, None)
    assert found["mixed"]["mean"] == pytest.approx(1e200 / 3)
    assert found["mixed"]["stddev"] == pytest.approx(1e200 * 2**0.5 / 3)
    assert found["mixed"]["min"] == 0


def test_nan_and_infinity_are_counted_apart_and_located(paramctl: Run, tmp_path: Path) -> None:
    """It is found anywhere, and reported by its index in the whole array, even for a slice."""
    values = np.random.default_rng(0).standard_normal((700, 900), dtype="float32")
    values[400, 5], values[400, 7], values[600, 0], values[699, 899] = np.inf, np.nan, -np.inf, np.nan
    made = {"w": values, "nothing": np.full((2, 2), np.nan), "zero": np.array([-0.0, 0.0, np.inf])}
    path = write(tmp_path / "m.safetensors", **made)
    found = rows(paramctl, path, "w", "w[600:, ::-1]", "w[401:600]", "nothing", "zero")
    row = found["w"]
    finite = values[np.isfinite(values)].astype("float64")
    assert (row["nan"], row["inf"], row["first"], row["size"]) == (2, 2, [400, 5], values.size)
    assert (row["mean"], row["stddev"], row["norm"]) == pytest.approx(
        (finite.mean(), finite.std(), np.linalg.norm(finite))
    )
    assert (np.float32(row["min"]), np.float32(row["max"])) == (finite.min(), finite.max())
    sliced = found["w[600:, ::-1]"]
    assert (sliced["nan"], sliced["inf"], sliced["first"], sliced["shape"]) == (1, 1, [600, 0], [100, 900])
    assert (found["w[401:600]"]["nan"], found["w[401:600]"]["first"]) == (0, None)
    assert found["nothing"] == {
        "path": "nothing",
        "shape": [2, 2],
        "dtype": "float64",
        "size": 4,
        "mean": None,
        "stddev": None,
        "min": None,
        "max": None,
        "norm": None,
        "zeros": 0,
        "nan": 4,
        "inf": 0,
        "first": [0, 0],
    }
    assert (found["zero"]["zeros"], found["zero"]["mean"], found["zero"]["inf"]) == (2, 0, 1)


def test_a_model_and_its_file_are_the_same(paramctl: Run) -> None:
    """The values are drawn, by the seed, and read from any format."""
    drawn = rows(paramctl, MLP)
    assert list(drawn) == ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    for suffix in ("h5", "safetensors", "npz"):
        paramctl("save", MLP, "-o", f"m.{suffix}")
        assert rows(paramctl, f"m.{suffix}") == drawn
    assert rows(paramctl, MLP, "--seed", "1")["dense/kernel"]["mean"] != drawn["dense/kernel"]["mean"]
    piped = subprocess.run(
        ["sh", "-c", f"{forks.shell_command()} init {MLP} -o - -q | {forks.shell_command()} stat - dense"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert piped.stdout.count("\n") == 4


def test_addresses_slices_filters_and_ties(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "input: [600]\nlayers:\n  - dense: {name: a, units: 500}\n  - dense: {name: b, units: 600}\n"
        "  - dense: {name: c, units: 20, kernel_initializer: orthogonal}\n"
        "ties: [{keep: a/kernel, tie: b/kernel, transpose: true}]\n"
    )
    paramctl("save", "m.yaml", "-o", "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        kernel, other = file["a/kernel"][:], file["c/kernel"][:]
    for source in ("m.yaml", "m.h5"):
        assert "b/kernel" not in rows(paramctl, source), "an array counts once"
        found = rows(paramctl, source, "a/kernel", "b/kernel", "b/kernel[3:400:7, -2:]", "a/kernel[..., 5]", "c/kernel")
        same(found["a/kernel"], kernel)
        same(found["b/kernel"], kernel.T)
        same(found["b/kernel[3:400:7, -2:]"], kernel.T[3:400:7, -2:])
        same(found["a/kernel[..., 5]"], kernel[..., 5])
        same(found["c/kernel"], other)
        assert list(rows(paramctl, source, "--kind", "bias")) == ["a/bias", "b/bias", "c/bias"]
        (empty,) = rows(paramctl, source, "a/kernel[5:5]").values()
        assert (empty["shape"], empty["size"], empty["mean"]) == ([0, 500], 0, None)


def test_the_place_under_the_name_of_a_transpose(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "input: [6]\nlayers:\n  - dense: {name: a, units: 5}\n  - dense: {name: b, units: 6}\n"
        "ties: [{keep: a/kernel, tie: b/kernel, transpose: true}]\n"
    )
    paramctl("save", "m.yaml", "-o", "m.h5")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        file["a/kernel"][2, 4] = np.nan
    found = rows(paramctl, "m.h5", "a/kernel", "b/kernel", "b/kernel[3:, 1:]")
    assert [row["first"] for row in found.values()][::2] == [[2, 4], [4, 2]]


def test_formats(paramctl: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", w=np.array([[1.0, 2], [4, np.nan]]), v=np.zeros((2, 0)))
    by_json = list(rows(paramctl, path).values())
    lines = paramctl("stat", path, "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == by_json
    first, second = csv.DictReader(io.StringIO(paramctl("stat", path, "--format", "csv").stdout))
    assert (first["mean"], first["nan"], first["first"], second["mean"]) == (str(7 / 3), "1", "(1, 1)", "")
    assert paramctl("stat", path, "--format", "markdown").stdout.startswith("| Parameter | Shape | Dtype |")
    heading, _, line, *_ = paramctl("stat", path).stdout.splitlines()
    assert (
        heading.split() == "Parameter Shape Dtype Size Mean Std Min Max L2 norm Zeros NaN Inf First non-finite".split()
    )
    assert line.split() == "w (2, 2) float64 4 2.333 1.247 1 4 4.583 0 1 0 (1, 1)".split()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no.h5"], "no.h5: No such file or directory"),
        ([MLP, "dense/kernl"], "Did you mean 'dense/kernel'?"),
        ([MLP, "dense/kernel[9]"], "axis 0 of dense/kernel has the size 4 (got the index 9"),
        ([MLP, "--min-size", "100"], "no selected parameter passes the filters"),
        ([TORCHS, "--kind", "bias"], "This file does not record the kinds of its parameters."),
        ([TORCHS, "--trainable"], "This file does not record which parameters are trainable."),
    ],
)
def test_an_error_is_one_line(paramctl: Run, arguments: list[str], says: str) -> None:
    done = paramctl("stat", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr


def counted(path: str, threads: int | None) -> list[StatRow]:
    found = open_path(path)
    reports: list[tuple[int, int]] = []
    selection = select_values(Stored(found.checkpoint), ())
    rows = statistics(selection, lambda *report: reports.append(report), threads)
    assert [done for done, _ in reports] == sorted({done for done, _ in reports}), "progress only grows"
    assert set(reports[-1]) == {total for _, total in reports}, "and ends when all is done"
    return rows


def test_any_number_of_threads_gives_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = {f"w{k}": rng.standard_normal(k * 100_000 + 1) for k in range(12)}
    made["w7"][[3, 650_000]] = np.nan
    path = write(tmp_path / "m.safetensors", **made)
    alone = counted(path, 1)
    assert counted(path, 7) == counted(path, None) == alone
    assert [row.first for row in alone if row.nan] == [(3,)]


def test_no_file_is_held_in_memory(tmp_path: Path) -> None:
    """A gigabyte, which takes no room on the disk, where that and a start are more than the limit."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [250_000_000], "data_offsets": [0, 1_000_000_000]}}).encode()
    with open(tmp_path / "m.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 1_000_000_000)
    limited = f"ulimit -v 1000000; {sys.executable} -m paramctl stat m.safetensors --format csv"
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(["bash", "-c", limited], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.stdout.endswith(",250000000,0.0,0.0,0.0,0.0,0.0,250000000,0,0,\n"), done.stderr


def root(value: Fraction) -> float:
    """The square root, rounded; infinite if float64 does not hold it."""
    try:
        return float(Fraction(isqrt(value.numerator * 4**1200 // value.denominator), 2**1200))
    except OverflowError:
        return float("inf")


def exact(values: np.ndarray) -> tuple[Fraction, float, float]:
    """The mean, the deviation and the norm, in rational numbers."""
    numbers = [Fraction(number) for number in values.tolist()]
    mean = sum(numbers) / len(numbers)
    return mean, root(sum((x - mean) ** 2 for x in numbers) / len(numbers)), root(sum(x * x for x in numbers))


CUTS = st.lists(st.integers(0, 12), max_size=5)
LEAST = 5e-324


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=12), CUTS)
def test_any_doubles_however_they_are_cut(numbers: list[float], cuts: list[int]) -> None:
    """Subnormal numbers and the greatest among them, and all that a warning might be about."""
    values = np.array(numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (part,) = in_pieces(values, cuts).parts
    mean, stddev, norm = exact(values)
    largest = max(map(abs, numbers))
    assert part.mean == pytest.approx(float(mean), rel=1e-14, abs=max(1e-15 * largest, LEAST))
    assert part.stddev == pytest.approx(stddev, rel=1e-12, abs=LEAST)
    if part.norm is None:
        assert norm > 1.797e308
    else:
        assert part.norm == pytest.approx(norm, rel=1e-12, abs=2 * LEAST)
    assert (part.minimum, part.maximum) == (min(numbers), max(numbers))


@given(
    st.one_of(
        st.tuples(st.just("int64"), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=12)),
        st.tuples(st.just("uint64"), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12)),
        st.tuples(st.just("uint64"), st.lists(st.integers(2**64 - 9, 2**64 - 1), min_size=1, max_size=12)),
        st.tuples(st.just("int8"), st.lists(st.integers(-128, 127), min_size=1, max_size=12)),
    ),
    CUTS,
)
def test_any_whole_numbers_however_they_are_cut(made: tuple[str, list[int]], cuts: list[int]) -> None:
    values = np.array(made[1], made[0])
    (part,) = in_pieces(values, cuts).parts
    mean, stddev, norm = exact(values)
    assert part.mean == pytest.approx(float(mean), rel=1e-14, abs=1e-15 * max(map(abs, made[1])))
    assert part.stddev == pytest.approx(stddev, rel=1e-12)
    assert part.norm == pytest.approx(norm, rel=1e-12)
    assert (part.minimum, part.maximum) == (min(made[1]), max(made[1]))


SPREAD = np.random.default_rng(1).standard_normal(3 * AT_ONCE + 5)


@given(
    st.lists(st.integers(0, SPREAD.size), max_size=6),
    st.sampled_from(["float32", "float64", "bfloat16", "float8_e4m3fn", "complex64"]),
    st.sampled_from([0.0, 1.0, 400.0]),
)
def test_a_long_array_is_the_same_however_it_is_cut(cuts: list[int], dtype: str, about: float) -> None:
    with np.errstate(all="ignore"):
        values = (SPREAD + about).astype(numpy_dtype(dtype))
    values[[7, AT_ONCE, 2 * AT_ONCE + 1]] = np.nan
    whole, cut = tally(values), in_pieces(values, cuts)
    assert (cut.size, cut.zeros, cut.nan, cut.first) == (whole.size, whole.zeros, whole.nan, 7)
    for one, other in zip(cut.parts, whole.parts, strict=True):
        assert (one.size, one.minimum, one.maximum) == (other.size, other.minimum, other.maximum)
        assert (one.mean, one.stddev, one.norm) == pytest.approx((other.mean, other.stddev, other.norm), rel=1e-12)


def test_the_first_value_may_be_far_from_all_others() -> None:
    """The sums are about the mean of many, so one of them costs no digit."""
    values = np.concatenate([[1e8], SPREAD[:1000]])
    _, stddev, norm = exact(values)
    (part,) = tally(values).parts
    assert (part.stddev, part.norm) == pytest.approx((stddev, norm), rel=1e-13)
    assert tally(np.full(3, 0.1)).parts[0].stddev == 0, "where NumPy finds 1.4e-17"
