"""Sums of products as ``value * 2**exponent``: squares of float64 numbers are often beyond the range of float64."""

from __future__ import annotations

from math import frexp, inf, isfinite, ldexp, sqrt
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array

ROW = 1 << 12
"""The number of products that BLAS sums at once. For longer rows it uses threads, on whose number rounding depends."""

SAFE = 2.0**900
"""Sums between 1 / SAFE and SAFE need no exponent: so many more can be added that no memory holds them."""


class Scaled(NamedTuple):
    """The number ``value * 2**exponent``; an exponent other than 0 is even."""

    value: float = 0.0
    exponent: int = 0

    def plus(self, other: Scaled) -> Scaled:
        """Return the sum of both."""
        if self.exponent == other.exponent:
            return Scaled(self.value + other.value, self.exponent)
        low, high = sorted((self, other), key=lambda number: number.exponent)
        if not high.value:
            return low
        return Scaled(high.value + ldexp(low.value, low.exponent - high.exponent), high.exponent)

    def root(self) -> float | None:
        """Return the square root; None if it is not finite."""
        return _times_power(sqrt(self.value), self.exponent // 2)

    def ratio(self, other: Scaled) -> float | None:
        """Return the square root of this over that of another; None if that is 0, or if a number is not finite."""
        if not other.value or not isfinite(self.value) or not isfinite(other.value):
            return None
        return _times_power(sqrt(self.value) / sqrt(other.value), (self.exponent - other.exponent) // 2)

    def cosine(self, a: Scaled, b: Scaled) -> float | None:
        """Return the cosine of the angle between two vectors with this product, from the sums of their squares.

        None if a vector is zero, or if a number is not finite.
        """
        length = sqrt(a.value) * sqrt(b.value) if isfinite(a.value) and isfinite(b.value) else 0.0
        if not length or not isfinite(self.value):
            return None
        cosine = _times_power(self.value / length, self.exponent - a.exponent // 2 - b.exponent // 2)
        # rounding may give 1.0000000000000002 for equal directions
        return None if cosine is None else max(-1.0, min(1.0, cosine))


def _times_power(value: float, exponent: int) -> float | None:
    """Return ``value * 2**exponent``; None if it is not finite."""
    try:
        product = ldexp(value, exponent)
    except OverflowError:
        return None
    return product if isfinite(product) else None


class Squared(NamedTuple):
    """The sum of the squares of numbers, and these numbers divided by ``2**exponent`` so that it is in range."""

    total: Scaled
    numbers: Array
    exponent: int


def sum_squares(numbers: Array) -> Squared:
    """Return the sum of ``|x|**2`` of float64 or complex128 numbers. It is NaN or infinite only if one of them is."""
    total = _dot(numbers, numbers)
    if 1 / SAFE < total < SAFE:
        return Squared(Scaled(total), numbers, 0)
    # the parts of complex numbers: their absolute value may be beyond float64
    parts = np.ascontiguousarray(numbers).view(np.float64)
    largest = float(np.abs(parts).max())
    if not 0 < largest < inf:
        return Squared(Scaled(total), numbers, 0)
    exponent = frexp(largest)[1]
    scaled = np.ldexp(parts, -exponent).view(numbers.dtype)
    return Squared(Scaled(_dot(scaled, scaled), 2 * exponent), scaled, exponent)


def sum_products(a: Squared, b: Squared) -> Scaled:
    """Return the sum of the products of two arrays; of complex numbers, its real part."""
    return Scaled(_dot(a.numbers, b.numbers), a.exponent + b.exponent)


def _dot(x: Array, y: Array) -> float:
    whole = x.size // ROW * ROW
    total = np.vecdot(x[:whole].reshape(-1, ROW), y[:whole].reshape(-1, ROW)).sum()
    if whole < x.size:
        total += np.vecdot(x[whole:], y[whole:])
    return float(total.real)
