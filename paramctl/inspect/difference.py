"""Difference: the distance between the values of two arrays, measured in pieces that join.

Pieces with equal bytes are not measured. If the arrays differ elsewhere, the caller measures them later, because the
norm and the cosine cover all values.
"""

from __future__ import annotations

from functools import reduce
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.inspect.scaled import Scaled, sum_products, sum_squares
from paramctl.inspect.tolerance import Tolerance

CHUNK = 1 << 15
"""The number of values to measure at once, so that intermediate results stay in the processor's cache."""


class Sums(NamedTuple):
    """The sums behind norms and cosine: ``sum((a - b)**2)``, ``sum(a * b)``, ``sum(a**2)`` and ``sum(b**2)``."""

    squares: Scaled
    dot: Scaled
    squares_a: Scaled
    squares_b: Scaled

    def join(self, later: Sums) -> Sums:
        """Return the sums of both together."""
        return Sums(*map(Scaled.plus, self, later))


class NonFinite(NamedTuple):
    """Values that differ where a or b is NaN or infinite: their counts on each side.

    first_nan, first_inf: the flat index of the first NaN and of the first infinity on either side; None without any.
    """

    nan_a: int = 0
    nan_b: int = 0
    inf_a: int = 0
    inf_b: int = 0
    first_nan: int | None = None
    first_inf: int | None = None

    def join(self, later: NonFinite) -> NonFinite:
        """Return the counts of both together."""
        return NonFinite(
            self.nan_a + later.nan_a,
            self.nan_b + later.nan_b,
            self.inf_a + later.inf_a,
            self.inf_b + later.inf_b,
            later.first_nan if self.first_nan is None else self.first_nan,
            later.first_inf if self.first_inf is None else self.first_inf,
        )


ALL_FINITE = NonFinite()


class Difference(NamedTuple):
    """The difference between consecutive values of two arrays.

    different: the number of values that differ.
    max_abs, max_rel: the largest ``|a - b|`` and ``|a - b| / |b|`` of the values that differ, or of all if none does;
    negative if none is finite. max_abs of integers is an int.
    place: the flat index in the array of the value with max_abs.
    nonfinite: the values that differ and are not finite.
    sums: None if nothing has been measured.
    equal: the spans (start, stop) of the array that were not measured because their bytes are equal.
    """

    different: int = 0
    max_abs: float = -1.0
    max_rel: float = -1.0
    place: int = 0
    nonfinite: NonFinite = ALL_FINITE
    sums: Sums | None = None
    equal: tuple[tuple[int, int], ...] = ()

    def join(self, later: Difference) -> Difference:
        """Return the difference of both together."""
        equal = _merged(self.equal, later.equal)
        if self.sums is None or later.sums is None:
            return (later if self.sums is None else self)._replace(equal=equal)
        # Values within the tolerance may be further apart than values beyond it; only the latter count.
        counted = [difference for difference in (self, later) if difference.different] or [self, later]
        largest = max(counted, key=lambda difference: difference.max_abs)
        return Difference(
            self.different + later.different,
            largest.max_abs,
            max(difference.max_rel for difference in counted),
            largest.place,
            self.nonfinite.join(later.nonfinite),
            self.sums.join(later.sums),
            equal,
        )


def _merged(spans: tuple[tuple[int, int], ...], later: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    if spans and later and spans[-1][1] == later[0][0]:
        return (*spans[:-1], (spans[-1][0], later[0][1]), *later[1:])
    return spans + later


def compare_values(start: int, a: Array, b: Array, tolerance: Tolerance) -> Difference:
    """Return the difference between two flat pieces, of any dtypes, that begin at index ``start`` of their arrays.

    Pieces with equal bytes are noted as equal and not measured.
    """
    if _same_bytes(a, b):
        return Difference(equal=((start, start + a.size),))
    return measure_values(start, a, b, tolerance)


def measure_values(start: int, a: Array, b: Array, tolerance: Tolerance) -> Difference:
    """Return the difference between two flat pieces, measured even where their bytes are equal."""
    wide = _wide_dtype(a.dtype, b.dtype)
    with np.errstate(all="ignore"):
        chunks = [
            _measure_chunk(start + k, a[k : k + CHUNK], b[k : k + CHUNK], wide, tolerance)
            for k in range(0, a.size, CHUNK)
        ]
    return reduce(Difference.join, chunks)


def _measure_chunk(start: int, a: Array, b: Array, wide: Any, tolerance: Tolerance) -> Difference:
    x = a.astype(wide)
    squared_a = sum_squares(x)
    if _same_bytes(a, b):
        return Difference(sums=Sums(Scaled(), squared_a.total, squared_a.total, squared_a.total))
    y = b.astype(wide)
    squared_b, magnitude = sum_squares(y), np.abs(y)
    distance = _distance(a, b, x, y)
    distance_float = distance if distance.dtype.kind == "f" else distance.astype(np.float64)
    differs = distance != 0
    squares = sum_squares(distance_float).total
    all_finite = isfinite(squares.value)
    if not all_finite:
        # Equal infinities and equal NaNs have the distance NaN. They do not differ, and must not spoil the norm.
        differs &= ~_equal_special(a, b, x, y, tolerance)
        distance_float[~differs] = 0.0
        squares = sum_squares(distance_float).total
    if tolerance.any:
        differs &= ~tolerance.covers(a, b, distance_float, magnitude)
    different = int(np.count_nonzero(differs))
    ratio = np.divide(distance_float, magnitude, out=magnitude)
    top = _argmax(distance, distance_float, differs, different)
    top_ratio = _argmax(ratio, ratio, differs, different)
    return Difference(
        different,
        -1.0 if top is None else (float if distance is distance_float else int)(distance[top]),
        -1.0 if top_ratio is None else float(ratio[top_ratio]),
        start + (int(differs.argmax()) if top is None else top),
        ALL_FINITE if all_finite else _count_nonfinite(start, x, y, differs),
        Sums(squares, sum_products(squared_a, squared_b), squared_a.total, squared_b.total),
    )


def _count_nonfinite(start: int, x: Array, y: Array, differs: Array) -> NonFinite:
    """Return the counts of values that differ and are not finite, and the places of the first."""
    nan_a, nan_b, inf_a, inf_b = (differs & test(side) for test in (np.isnan, np.isinf) for side in (x, y))
    firsts = [start + int(both.argmax()) if both.any() else None for both in (nan_a | nan_b, inf_a | inf_b)]
    counts = [int(np.count_nonzero(mask)) for mask in (nan_a, nan_b, inf_a, inf_b)]
    return NonFinite(*counts, *firsts)


def _same_bytes(a: Array, b: Array) -> bool:
    if a.dtype != b.dtype:
        return False
    width = (a.nbytes | 8) & -(a.nbytes | 8)  # the widest word, of at most 8 bytes, that divides the size
    return bool((_as_words(a, width) == _as_words(b, width)).all())


def _as_words(values: Array, width: int) -> Array:
    return np.ascontiguousarray(values).view(f"u{width}")


def _wide_dtype(a: np.dtype[Any], b: np.dtype[Any]) -> Any:
    """Return the dtype to compute in."""
    return np.complex128 if "c" in (a.kind, b.kind) else np.float64


def _distance(a: Array, b: Array, x: Array, y: Array) -> Array:
    """Return ``|a - b|``: exact for integers, as uint64 or Python integers; otherwise as float64.

    x, y: the same values as a and b, in the dtype to compute in.
    """
    distance: Array
    if a.dtype.kind not in "biu" or b.dtype.kind not in "biu":
        rest = _rounding(a, x) - _rounding(b, y)
        distance = x - y
        if isinstance(rest, np.ndarray):
            distance += rest
        return np.abs(distance) if distance.dtype.kind == "c" else np.abs(distance, out=distance)
    common: Any = np.result_type(a.dtype, b.dtype)
    if common.kind == "f":  # uint64 against a signed dtype: no NumPy integer holds both
        distance = np.abs(a.astype(object) - b.astype(object))
        return distance
    common = np.uint64 if common == np.uint64 else np.int64
    p, q = a.astype(common), b.astype(common)
    # Subtracting as unsigned avoids overflow: the distance from -2^63 to 2^63 - 1 is 2^64 - 1.
    distance = np.maximum(p, q).view(np.uint64) - np.minimum(p, q).view(np.uint64)
    return distance


def _rounding(values: Array, rounded: Array) -> Array | float:
    """Return the exact values less the same values as float64. Only integers of 64 bits are rounded."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8:
        return 0.0
    low = values & values.dtype.type(0xFFF)
    # Float64 holds both parts exactly, and their distance from the rounded value is small.
    exact: Array = ((values - low).astype(np.float64) - rounded.real) + low.astype(np.float64)
    return exact


def _equal_special(a: Array, b: Array, x: Array, y: Array, tolerance: Tolerance) -> Array:
    """Return a mask of the values that are equal, infinities and NaN included."""
    equal: Array = np.isnan(x) & np.isnan(y)
    if not tolerance.equal_nan:
        equal &= _same_bits(a, b)
    equal |= x == y
    return equal


def _same_bits(a: Array, b: Array) -> Array:
    if a.dtype != b.dtype:
        return np.zeros(a.size, bool)
    same: Array = (_as_words(a, 1) == _as_words(b, 1)).reshape(a.size, -1).all(axis=1)
    return same


def _argmax(values: Array, values_float: Array, differs: Array, different: int) -> int | None:
    """Return the index of the largest finite value among those that differ, or among all if none does.

    values_float: the same values as floats. Returns None if none is finite.
    """
    index = int(values.argmax())
    if isfinite(values_float[index]) and (differs[index] or not different):
        return index
    candidates = np.flatnonzero(np.isfinite(values_float) & differs if different else np.isfinite(values_float))
    return int(candidates[values[candidates].argmax()]) if candidates.size else None
