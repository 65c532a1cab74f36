"""Difference: the distance between the values of two arrays, measured in pieces that join.

Pieces with equal bytes are not measured. If the arrays differ elsewhere, the caller measures them later, because the
norm and the cosine cover all values.
"""

from __future__ import annotations

from functools import reduce
from math import inf, isfinite
from typing import Any, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array

CHUNK = 1 << 15
"""The number of values to measure at once, so that intermediate results stay in the processor's cache."""

ROW = 1 << 12
"""The number of products that BLAS sums at once. For longer rows it uses threads, on whose number rounding depends."""


class Tolerance(NamedTuple):
    """Two values count as equal if ``|a - b| <= absolute + relative * |b|``.

    equal_nan: any NaN equals any other; otherwise NaNs are equal only if their bits are.
    """

    relative: float = 0.0
    absolute: float = 0.0
    equal_nan: bool = False

    @property
    def any(self) -> bool:
        """True if unequal numbers may count as equal."""
        return bool(self.relative or self.absolute)


EXACT = Tolerance()


class Sums(NamedTuple):
    """The sums behind norm and cosine: ``sum((a - b)**2)``, ``sum(a * b)``, ``sum(a**2)`` and ``sum(b**2)``."""

    squares: float
    dot: float
    squares_a: float
    squares_b: float


class Difference(NamedTuple):
    """The difference between consecutive values of two arrays.

    different: the number of values that differ.
    max_abs, max_rel: the largest ``|a - b|`` and ``|a - b| / |b|`` of the values that differ, or of all if none does;
    negative if none is finite. max_abs of integers is an int.
    place: the flat index in the array of the value with max_abs.
    sums: None if nothing has been measured.
    equal: the spans (start, stop) of the array that were not measured because their bytes are equal.
    """

    different: int = 0
    max_abs: float = -1.0
    max_rel: float = -1.0
    place: int = 0
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
            Sums(*map(float.__add__, self.sums, later.sums)),
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
    squares_a = _dot(x, x)
    if _same_bytes(a, b):
        return Difference(sums=Sums(0.0, squares_a, squares_a, squares_a))
    y = b.astype(wide)
    distance = _distance(a, b, x, y)
    distance_float = distance if distance.dtype.kind == "f" else distance.astype(np.float64)
    differs = distance != 0
    squares = _dot(distance_float, distance_float)
    if not isfinite(squares):
        # Equal infinities and equal NaNs have the distance NaN. They do not differ, and must not spoil the norm.
        differs &= ~_equal_special(a, b, x, y, tolerance)
        distance_float[~differs] = 0.0
        squares = _dot(distance_float, distance_float)
    if tolerance.any:
        differs &= ~_within(distance, y, tolerance)
    different = int(np.count_nonzero(differs))
    # a ratio of long doubles, such as 2^56 / 1e-303, can be finite although float64 cannot hold it
    ratio = (distance_float / np.abs(y)).astype(np.float64, copy=False)
    top = _argmax(distance, distance_float, differs, different)
    top_ratio = _argmax(ratio, ratio, differs, different)
    return Difference(
        different,
        -1.0 if top is None else (float if distance is distance_float else int)(distance[top]),
        -1.0 if top_ratio is None else float(ratio[top_ratio]),
        start + (int(differs.argmax()) if top is None else top),
        Sums(squares, _dot(x, y), squares_a, _dot(y, y)),
    )


def _same_bytes(a: Array, b: Array) -> bool:
    if a.dtype != b.dtype:
        return False
    width = (a.nbytes | 8) & -(a.nbytes | 8)  # the widest word, of at most 8 bytes, that divides the size
    return bool((_as_words(a, width) == _as_words(b, width)).all())


def _as_words(values: Array, width: int) -> Array:
    return np.ascontiguousarray(values).view(f"u{width}")


def _wide_dtype(a: np.dtype[Any], b: np.dtype[Any]) -> Any:
    """Return the dtype to compute in: float64, or complex128; long double for 64-bit integers against other kinds."""
    both_integer = a.kind in "biu" and b.kind in "biu"
    long = not both_integer and any(dtype.kind in "iu" and dtype.itemsize == 8 for dtype in (a, b))
    if "c" in (a.kind, b.kind):
        return np.clongdouble if long else np.complex128
    return np.longdouble if long else np.float64


def _distance(a: Array, b: Array, x: Array, y: Array) -> Array:
    """Return ``|a - b|``: exact for integers, as uint64 or Python integers; otherwise in the dtype of x and y.

    x, y: the same values as a and b, in the dtype to compute in.
    """
    distance: Array
    if a.dtype.kind not in "biu" or b.dtype.kind not in "biu":
        distance = np.abs(x - y)
        return distance
    common: Any = np.result_type(a.dtype, b.dtype)
    if common.kind == "f":  # uint64 against a signed dtype: no NumPy integer holds both
        distance = np.abs(a.astype(object) - b.astype(object))
        return distance
    common = np.uint64 if common == np.uint64 else np.int64
    p, q = a.astype(common), b.astype(common)
    # Subtracting as unsigned avoids overflow: the distance from -2^63 to 2^63 - 1 is 2^64 - 1.
    distance = np.maximum(p, q).view(np.uint64) - np.minimum(p, q).view(np.uint64)
    return distance


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


def _within(distance: Array, y: Array, tolerance: Tolerance) -> Array:
    """Return a mask of the distances within the tolerance. No tolerance covers an infinite distance."""
    limit: Array = tolerance.absolute + tolerance.relative * np.abs(y)
    if distance.dtype != np.uint64:
        return (distance <= limit) & (distance < inf)
    # Integers are compared as integers: NumPy would round 2^53 + 1 to compare it with a float.
    beyond_uint64 = 2.0**64
    exact_limit = np.where(limit < beyond_uint64, limit, 0).astype(np.uint64)
    return (limit >= beyond_uint64) | (distance <= exact_limit)


def _argmax(values: Array, values_float: Array, differs: Array, different: int) -> int | None:
    """Return the index of the largest finite value among those that differ, or among all if none does.

    values_float: the same values as floats. Returns None if none is finite.
    """
    index = int(values.argmax())
    if isfinite(values_float[index]) and (differs[index] or not different):
        return index
    candidates = np.flatnonzero(np.isfinite(values_float) & differs if different else np.isfinite(values_float))
    return int(candidates[values[candidates].argmax()]) if candidates.size else None


def _dot(x: Array, y: Array) -> float:
    whole = x.size // ROW * ROW
    total = np.vecdot(x[:whole].reshape(-1, ROW), y[:whole].reshape(-1, ROW)).sum()
    if whole < x.size:
        total += np.vecdot(x[whole:], y[whole:])
    return float(total.real)
