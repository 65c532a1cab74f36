"""Moments: the mean, the spread and the ends of numbers, measured in pieces that join without losing digits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import frexp, ldexp, sqrt
from typing import Any, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array

AT_ONCE = 1 << 15
"""The number of values to sum at once. As float64, they fit a processor's second-level cache."""

WITHOUT_THREADS = 1 << 13
"""The number of values that BLAS multiplies in the calling thread. OpenBLAS starts threads from 10,000, which takes 40
times as long as the product, and gives other last bits with another number of processors."""

PARTS = 2
"""The number of parts of AT_ONCE values in one call of NumPy. Threads lose time between calls, not in them."""

SAFE_EXPONENT = 400
"""Numbers between 2^-400 and 2^400 have squares, and sums of squares, well within the range of float64."""


class Moments(NamedTuple):
    """The count, ends, mean and spread of finite numbers, in a form that joins exactly.

    The mean is ``(origin + offset) * 2**exponent``. The sum of ``(x - mean)**2`` is ``squares * 2**(2 * exponent)``.

    origin: a number near the mean, subtracted before summing. For integers it is an integer, and the subtraction is
    exact, so a mean far from zero and 64-bit integers cost the standard deviation no digits.
    exponent: 0, except for float64 numbers beyond SAFE_EXPONENT.
    """

    size: int = 0
    minimum: float | int = 0
    maximum: float | int = 0
    origin: float | int = 0
    offset: float = 0.0
    squares: float = 0.0
    exponent: int = 0

    def join(self, later: Moments) -> Moments:
        """Return the moments of both together. Source: Chan, Golub and LeVeque (1979)."""
        if not self.size or not later.size:
            return self if self.size else later
        exponent = max(self.exponent, later.exponent)
        a, b = self._rescaled(exponent), later._rescaled(exponent)
        size, share = a.size + b.size, b.size / (a.size + b.size)
        shift = (b.origin - a.origin) + (b.offset - a.offset)
        squares = a.squares + b.squares + shift * shift * a.size * share
        ends = min(a.minimum, b.minimum), max(a.maximum, b.maximum)
        return Moments(size, *ends, a.origin, a.offset + shift * share, squares, exponent)

    def _rescaled(self, exponent: int) -> Moments:
        """Return the same moments with another exponent."""
        by = self.exponent - exponent
        if not by:
            return self
        origin, offset, squares = ldexp(self.origin, by), ldexp(self.offset, by), ldexp(self.squares, 2 * by)
        return self._replace(origin=origin, offset=offset, squares=squares, exponent=exponent)

    @property
    def mean(self) -> float | None:
        """The mean; None without values."""
        return self._scaled_back(self.origin + self.offset)

    @property
    def stddev(self) -> float | None:
        """The population's standard deviation, ``sqrt(sum((x - mean)**2) / n)``; None without values."""
        return self._scaled_back(sqrt(self.squares / max(self.size, 1)))

    @property
    def rms(self) -> float | None:
        """The root of the mean square; None without values."""
        mean = self.origin + self.offset
        return self._scaled_back(sqrt(self.squares / max(self.size, 1) + mean * mean))

    @property
    def norm(self) -> float | None:
        """The L2 norm; None without values, or if float64 cannot hold it."""
        mean = self.origin + self.offset
        return self._scaled_back(sqrt(self.squares + mean * mean * self.size))

    def _scaled_back(self, value: float) -> float | None:
        try:
            return ldexp(value, self.exponent) if self.size else None
        except OverflowError:
            return None


def moments_of(values: Array, minimum: float | int, maximum: float | int) -> Moments:
    """Return the moments of finite numbers, whose ends are known.

    Sums are of the differences from the mean of the first AT_ONCE values. That mean is at most
    ``sqrt(n / AT_ONCE)`` standard deviations off, which costs at most ``log2(1 + n / AT_ONCE)`` bits.
    """
    exponent = exponent_of(max(abs(minimum), abs(maximum))) if values.dtype == np.float64 else 0
    if exponent:
        values = np.ldexp(values, -exponent)
    if minimum == maximum:
        # Rounding in the sums would give equal numbers a standard deviation: NumPy finds 1.4e-17 for three times 0.1.
        return Moments(values.size, minimum, maximum, values[0].item(), exponent=exponent)
    first = values[:AT_ONCE]
    origin = float(np.add.reduce(first, dtype=np.float64)) / first.size
    if values.dtype.kind in "iu":
        origin = min(max(round(origin), minimum), maximum)
    total = squares = 0.0
    for parts in differences(values, origin, maximum - minimum < 1 << 63, PARTS * AT_ONCE):
        # added part by part, so that the rounding does not depend on PARTS
        for part in in_rows(np.add.reduce, AT_ONCE, parts):
            total += part
        products = _products(parts, parts)
        for start in range(0, len(products), AT_ONCE // WITHOUT_THREADS):
            squares += sum(products[start : start + AT_ONCE // WITHOUT_THREADS])
    squares = max(0.0, squares - total * (total / values.size))
    return Moments(values.size, minimum, maximum, origin, total / values.size, squares, exponent)


def dot(left: Array, right: Array) -> float:
    """Return the sum of products, with the same bits for any number of threads and processors."""
    return sum(_products(left, right))


def _products(left: Array, right: Array) -> list[float]:
    return in_rows(np.vecdot, WITHOUT_THREADS, left, right)


def in_rows(function: Callable[..., Any], size: int, *arrays: Array) -> list[float]:
    """Return what a function of rows returns for each row of flat arrays, the last of which may be shorter.

    One call for all rows gives the bits of a call for each, without the time between calls.
    """
    whole = arrays[0].size // size * size
    results = function(*(array[:whole].reshape(-1, size) for array in arrays), axis=-1).tolist() if whole else []
    if whole < arrays[0].size:
        results.append(float(function(*(array[whole:] for array in arrays))))
    return list(results)


def exponent_of(largest: float) -> int:
    """Return the power of two by which numbers up to this one are scaled to keep their squares in range; 0 for most."""
    exponent = frexp(largest)[1] if largest else frexp(5e-324)[1]
    return exponent if abs(exponent) > SAFE_EXPONENT else 0


def differences(values: Array, origin: float | int, exact: bool, size: int = AT_ONCE) -> Iterator[Array]:
    """Yield the values less the origin as float64, ``size`` at a time, each time in the same memory.

    exact: the values are within 2^63 of each other. Then differences of 64-bit integers fit int64, even where the
    unsigned subtraction wraps: uint64 3 - 5 wraps to 2^64 - 2, which is -2 as int64.
    """
    buffer = np.empty(min(values.size, size))
    wraps = exact and values.dtype.kind in "iu" and values.dtype.itemsize == 8
    for start in range(0, values.size, size):
        part = values[start : start + size]
        result = buffer[: part.size]
        if wraps:
            result[:] = (part - values.dtype.type(origin)).view(np.int64)
        else:
            result[:] = part
            result -= float(origin)
        yield result
