"""The mean and the standard deviation of arrays, measured while they are written.

Only sums are needed, about a shift near the mean, so that they lose no digits. The shift is the expected mean of a
drawn array, which costs nothing, and otherwise the mean of each piece.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, sqrt
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.store.io.write_values import Measure


class ShiftedSums(NamedTuple):
    """The number of some values, and the sums of (x - shift) and of (x - shift)^2."""

    shift: float
    size: int
    total: float
    squares: float

    def join(self, later: ShiftedSums) -> ShiftedSums:
        """Return the sums of both together, about the shift of the first."""
        step = later.shift - self.shift
        total = later.total + later.size * step
        squares = later.squares + 2 * step * later.total + later.size * step**2
        return ShiftedSums(self.shift, self.size + later.size, self.total + total, self.squares + squares)

    @property
    def mean_and_stddev(self) -> tuple[float, float] | None:
        """(mean, population standard deviation), or None if a sum is not finite."""
        if not self.size or not isfinite(self.total) or not isfinite(self.squares):
            return None
        offset = self.total / self.size
        if self.size == 1:  # not the rounding of the square
            return self.shift + offset, 0.0
        return self.shift + offset, sqrt(max(self.squares / self.size - offset**2, 0.0))


def sums_about(shifts: Mapping[str, float]) -> Measure:
    """Return a measurement of pieces about the shifts of their arrays, by path, or about their means."""

    def measure(path: str, values: Array) -> ShiftedSums | None:
        if not values.size or values.dtype.kind == "c":
            return None
        numbers: Array = values
        if values.dtype.kind in "iub":
            numbers = values.astype(np.float64)
        elif values.dtype not in (np.float32, np.float64):
            numbers = values.astype(np.float32)
        shift = shifts.get(path)
        if shift is None:
            mean = float(numbers.mean(dtype=np.float64))
            shift = float(numbers.dtype.type(mean)) if isfinite(mean) else 0.0
        if shift:
            numbers = numbers - numbers.dtype.type(shift)
        return ShiftedSums(shift, values.size, float(numbers.sum()), float(np.dot(numbers, numbers)))

    return measure
