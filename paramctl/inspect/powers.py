"""Powers: the skewness, the kurtosis and the L1 norm of arrays, from a pass over values whose moments are known.

The differences from the mean are at most 1 after scaling, so no power of them overflows, and those that vanish are too
small to matter. As the mean is known, a join is an addition, and loses no digits. The rounding of the mean is corrected
at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import frexp, ldexp, sqrt
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.inspect.moments import AT_ONCE, Moments, differences, dot, exponent_of
from paramctl.inspect.tally import Tally, widened


class Center(NamedTuple):
    """The point and the unit of differences: ``(x * 2**-exponent - origin - offset) * 2**-spread``.

    exponent: that of the moments, or for complex numbers, of the largest part.
    wraps: True if 64-bit integers are within 2^63 of each other.
    """

    origin: float | int = 0
    offset: float = 0.0
    exponent: int = 0
    spread: int = 0
    wraps: bool = False

    @classmethod
    def of(cls, counts: Tally) -> Center:
        """Return the mean of real values and the largest difference from it."""
        parts = counts.parts
        if len(parts) > 1:
            return cls(exponent=exponent_of(max(max(abs(part.minimum), abs(part.maximum)) for part in parts)))
        (moments,) = parts
        origin, offset = _recentered(moments)
        ends = [
            (ldexp(end, -moments.exponent) if moments.exponent else end) - origin - offset
            for end in (moments.minimum, moments.maximum)
        ]
        spread = frexp(max(map(abs, ends)))[1]
        return cls(origin, offset, moments.exponent, spread, moments.maximum - moments.minimum < 1 << 63)


def _recentered(moments: Moments) -> tuple[float | int, float]:
    """Return the mean as a number and a rest. The number is an integer for integers, whose rest is exact then."""
    if isinstance(moments.origin, int):
        step = min(max(round(moments.offset), moments.minimum - moments.origin), moments.maximum - moments.origin)
        return moments.origin + int(step), moments.offset - step
    origin = moments.origin + moments.offset
    return origin, (moments.origin - origin) + moments.offset


class Powers(NamedTuple):
    """Sums over the finite values: of the first four powers of the differences, and of the absolute values.

    absolute, largest: of ``|x| * 2**-exponent``, with the exponent of the center. Zero if they are not wanted.
    """

    size: int = 0
    sums: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    absolute: float = 0.0
    largest: float = 0.0

    def join(self, later: Powers) -> Powers:
        """Return the sums over both together; they have the same center."""
        first, second, third, fourth = (a + b for a, b in zip(self.sums, later.sums, strict=True))
        return Powers(
            self.size + later.size,
            (first, second, third, fourth),
            self.absolute + later.absolute,
            max(self.largest, later.largest),
        )

    @property
    def shape(self) -> tuple[float, float] | None:
        """(skewness, excess kurtosis) of the population; None if the values do not differ.

        ``m3 / m2**1.5`` and ``m4 / m2**2 - 3``, where mk is the mean of ``(x - mean)**k``.
        """
        if not self.size:
            return None
        error, second, third, fourth = (each / self.size for each in self.sums)
        square = second - error**2
        if square <= 0:
            return None
        cube = third - 3 * error * second + 2 * error**3
        return cube / (square * sqrt(square)), (fourth - 4 * error * third + 6 * error**2 * second - 3 * error**4) / (
            square * square
        ) - 3


def powers(values: Array, center: Center, moments: bool, norms: bool) -> Powers:
    """Return the sums over a flat array of any dtype.

    moments: compute the sums of powers. norms: compute the absolute sum and the largest absolute value.
    """
    with np.errstate(all="ignore"):
        values = widened(values)
        if values.dtype.kind in "fc":
            finite = np.isfinite(values)
            values = values if finite.all() else values[finite]
        result = Powers(values.size)
        if norms:
            for part in _absolute(values, center.exponent):
                absolute, largest = float(np.add.reduce(part)), float(part.max())
                result = result._replace(absolute=result.absolute + absolute, largest=max(result.largest, largest))
        if moments and values.dtype.kind != "c":
            first = second = third = fourth = 0.0
            for part in _centered(values, center):
                squares = part * part
                first += float(np.add.reduce(part))
                second += float(np.add.reduce(squares))
                third += dot(squares, part)
                fourth += dot(squares, squares)
            result = result._replace(sums=(first, second, third, fourth))
        return result


def _absolute(values: Array, exponent: int) -> Iterator[Array]:
    """Yield the absolute values, scaled, as float64, a part at a time."""
    for start in range(0, values.size, AT_ONCE):
        part = values[start : start + AT_ONCE]
        if part.dtype.kind == "c":
            numbers = part.astype(np.complex128).view(np.float64)
            yield np.abs((np.ldexp(numbers, -exponent) if exponent else numbers).view(np.complex128))
        else:
            numbers = part.astype(np.float64)
            yield np.abs(np.ldexp(numbers, -exponent) if exponent else numbers)


def _centered(values: Array, center: Center) -> Iterator[Array]:
    """Yield the scaled differences from the center, a part at a time, each time in the same memory."""
    if center.exponent:
        values = np.ldexp(values.astype(np.float64), -center.exponent)
    exact = center.wraps and isinstance(center.origin, int) and _holds(values, center.origin)
    for part in differences(values, center.origin, exact):
        part -= center.offset
        if center.spread:
            part *= ldexp(1.0, -center.spread)
        yield part


def _holds(values: Array, number: int) -> bool:
    limits = np.iinfo(values.dtype) if values.dtype.kind in "iu" else None
    return limits is not None and int(limits.min) <= number <= int(limits.max)
