"""Quantiles equal numpy.quantile of the values as float64, for every dtype, however the values are cut and counted."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.errors import InputError
from paramctl.inspect import quantiles as module
from paramctl.inspect.quantiles import Numbers, quantiles

REAL = [name for name in DTYPE_BYTES if numpy_dtype(name).kind != "c"]
PROBABILITIES = [0, 0.001, 0.25, 1 / 3, 0.5, 0.75, 0.99, 1]


class Pieces:
    """Selected values in memory, read in pieces of a size."""

    def __init__(self, values: np.ndarray, piece: int) -> None:
        self.values, self.piece, self.dtype, self.name = values, piece, values.dtype.name, "w"
        self.selection = SimpleNamespace(size=values.size)
        self.source = SimpleNamespace(model=SimpleNamespace(name="m"))

    def reads(self) -> Any:
        for start in range(0, self.values.size, self.piece):
            part = self.values[start : start + self.piece]
            yield part.size, lambda part=part: part


def wide(values: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        numbers = values.astype(np.float64)
    return numbers[np.isfinite(numbers)]


def found(arrays: list[np.ndarray], piece: int = 300, threads: int = 2) -> tuple[float, ...] | None:
    finite = sum(wide(values.real).size for values in arrays)
    members: Any = tuple(Pieces(values, piece) for values in arrays)
    return quantiles([Numbers(members, finite)], PROBABILITIES, threads=threads)[0]


def assert_numpys(result: tuple[float, ...] | None, numbers: np.ndarray) -> None:
    """The result is NumPy's, bit for bit; where NumPy's difference overflows, it is between the ends."""
    assert result is not None
    with np.errstate(all="ignore"):
        expected = np.quantile(numbers, PROBABILITIES)
    usable = np.isfinite(expected)
    assert np.array_equal(np.array(result)[usable], expected[usable])
    assert all(numbers.min() <= value <= numbers.max() for value in result)


@pytest.mark.parametrize(("few", "counts"), [(1 << 20, 1 << 20), (5, 1 << 20), (5, 64), (200, 1 << 17)])
@pytest.mark.parametrize("name", REAL)
def test_every_dtype(name: str, few: int, counts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorted, and counted in digits of several widths: any bit patterns with NaN, and values that lie close together."""
    monkeypatch.setattr(module, "SORTED", few)
    monkeypatch.setattr(module, "MAX_COUNTS", counts)
    dtype, rng = numpy_dtype(name), np.random.default_rng(len(name))
    patterns = rng.integers(0, 256, 1500 * dtype.itemsize).astype(np.uint8)
    values = (patterns % 2).astype(bool) if name == "bool" else patterns.view(dtype)
    close = (rng.standard_normal(900) * 0.25 + 3).astype(dtype)
    for each in (values, close, close[:1], np.repeat(close[:3], 50)):
        assert_numpys(found([each]), wide(each))


@settings(max_examples=60)
@given(st.lists(st.floats(width=64), min_size=1, max_size=60), st.integers(1, 70), st.integers(1, 3))
def test_any_doubles_in_any_pieces(numbers: list[float], piece: int, threads: int) -> None:
    """Zeros of both signs, subnormal numbers and the ends of the range, for any pieces and threads."""
    values = np.array(numbers)
    few, module.SORTED = module.SORTED, 3
    try:
        result = found([values], piece, threads)
    finally:
        module.SORTED = few
    if wide(values).size:
        assert_numpys(result, wide(values))
    else:
        assert result is None


def test_arrays_of_several_dtypes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are compared as float64, and complex numbers have no order."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(700).astype("f4"), rng.integers(-3, 3, 500), rng.standard_normal(90).astype("f2")]
    expected = np.concatenate([wide(values) for values in arrays])
    assert_numpys(found(arrays), expected)
    monkeypatch.setattr(module, "SORTED", 10)
    assert_numpys(found(arrays), expected)
    assert found([*arrays, np.zeros(3, np.complex64)]) is None


@pytest.mark.parametrize("few", [1 << 20, 10])
def test_values_that_change_are_an_error(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks in other values than those that were counted would be wrong."""
    monkeypatch.setattr(module, "SORTED", few)
    changed: Any = (Pieces(np.arange(100, dtype=np.float32), 30),)
    with pytest.raises(InputError, match="m: w: values changed while they were read"):
        quantiles([Numbers(changed, 99)], PROBABILITIES)


def test_progress_adds_up_to_the_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The passes that were not needed count at the end."""
    for few in (1 << 20, 10):
        monkeypatch.setattr(module, "SORTED", few)
        for values in (np.arange(500, dtype=np.float64), np.zeros(500), np.arange(500, dtype=np.float32)):
            numbers = Numbers((Pieces(values, 70),), 500)  # type: ignore[arg-type]
            reports: list[int] = []
            quantiles([numbers], PROBABILITIES, reports.append)
            assert sum(reports) == module.passes(numbers) * values.nbytes
