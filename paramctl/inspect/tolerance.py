"""Tolerance: the largest distance at which two values count as equal."""

from __future__ import annotations

from fractions import Fraction
from math import frexp, inf
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array, to_native

MARGIN = 2.0**-50
"""More than the relative rounding error of a distance and of its limit in float64."""

EXACT_INTEGER = 2**53
"""Float64 holds every integer up to this one."""


class Tolerance(NamedTuple):
    """Two values count as equal if ``|a - b| <= absolute + relative * |b|``.

    If a or b is an integer or a bool, this is decided exactly. Floating-point numbers are compared in float64, as
    numpy.isclose does.

    equal_nan: any NaN equals any other; otherwise NaNs are equal only if their dtypes and their bits are.
    """

    relative: float = 0.0
    absolute: float = 0.0
    equal_nan: bool = False

    @property
    def any(self) -> bool:
        """True if unequal numbers may count as equal."""
        return bool(self.relative or self.absolute)

    def covers(self, a: Array, b: Array, distance: Array, magnitude: Array) -> Array:
        """Return a mask of the values within the tolerance. No tolerance covers an infinite distance.

        distance, magnitude: ``|a - b|`` and ``|b|`` as float64, correct to a unit in the last place.
        """
        limit = self.absolute + self.relative * magnitude
        covered: Array = (distance <= limit) & (distance < inf)
        kinds = {a.dtype.kind, b.dtype.kind}
        if "c" in kinds or not kinds & set("biu"):
            return covered
        # The smallest normal number allows for products that underflow.
        near = np.abs(distance - limit) <= limit * MARGIN + np.finfo(np.float64).tiny
        places = np.flatnonzero(near & (limit < inf) & (distance > 0))
        if places.size:
            covered[places] = self._covers_exactly(a[places], b[places], covered[places])
        return covered

    def _covers_exactly(self, a: Array, b: Array, rounded: Array) -> list[bool]:
        """Return the exact result for values that are so near the limit that rounding may decide.

        rounded: the result in float64, which is exact for small integers if the limit has no rounding error.
        """
        limit_is_exact = not self.relative or (not self.absolute and frexp(self.relative)[0] == 0.5)
        pairs = list(zip(to_native(a).tolist(), to_native(b).tolist(), strict=True))
        decided: dict[tuple[float, float], bool] = {}
        for (x, y), result in zip(pairs, rounded.tolist(), strict=True):
            if (x, y) not in decided:
                is_small = isinstance(x, int) and isinstance(y, int) and abs(x) + abs(y) <= EXACT_INTEGER
                decided[x, y] = result if limit_is_exact and is_small else self._covers_pair(x, y)
        return [decided[pair] for pair in pairs]

    def _covers_pair(self, x: float, y: float) -> bool:
        limit = Fraction(self.absolute) + Fraction(self.relative) * abs(Fraction(y))
        return abs(Fraction(x) - Fraction(y)) <= limit


EXACT = Tolerance()
