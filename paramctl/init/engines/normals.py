"""Standard normal values for one block: NumPy's ziggurat, with tails that have the same bits everywhere.

Source of the tails: Marsaglia (1964), "Generating a variable from the tail of the normal distribution".
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import inf, log, sqrt
from typing import Any, TypeAlias

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.init.engines.streams import Stream
from paramctl.init.engines.ziggurat import LAST, Unclear, Ziggurat

TAILS = 1 << 30
"""The branch of a stream for tails. Branches from 0 on are for the parts of a distribution, which are fewer."""

FEW = 1 << 13
"""The number of values up to which NumPy's generator is faster than arrays of words."""

AT_ONCE = 1 << 15
"""The number of values to search at once, while they are in the processor's cache."""

WITHIN = 3.65
"""Bounds up to which no value in the tail stays, so that it need not be drawn."""

Draw: TypeAlias = Callable[[int], Array]
"""A function that returns so many further values. Those beyond LAST have the right sign only."""


def normals(stream: Stream, block: int, size: int, dtype: np.dtype[Any], low: float = -inf, high: float = inf) -> Array:
    """Return standard normal values for a block, redrawn beyond the bounds."""
    tails = None if low >= -WITHIN and high <= WITHIN else Tails(stream, block)
    generator = stream.generator(block)
    if dtype == np.float32 and size > FEW:
        with suppress(Unclear):  # then from the start, by NumPy itself
            return _between(low, high, Ziggurat(generator.bit_generator).draw, size, tails)
        tails, generator = tails and Tails(stream, block), stream.generator(block)
    return _between(low, high, lambda count: generator.standard_normal(count, dtype=dtype), size, tails)


def _between(low: float, high: float, draw: Draw, size: int, tails: Tails | None) -> Array:
    """Return values between the bounds. tails: of the values that need them; None for bounds that exclude them."""
    values = draw(size)
    if tails:
        tails.replace(values)
    if low == -inf and high == inf:
        return values
    beyond = _beyond(low, high, values)
    while beyond.size:
        redrawn = draw(beyond.size)
        if tails:
            tails.replace(redrawn)
        values[beyond] = redrawn
        beyond = beyond[_beyond(low, high, redrawn)]
    return values


def _beyond(low: float, high: float, values: Array) -> Array:
    """Return the indices of the values beyond the bounds."""
    parts = ((begin, values[begin : begin + AT_ONCE]) for begin in range(0, values.size, AT_ONCE))
    found = [np.flatnonzero((part < low) | (part > high)) + begin for begin, part in parts]
    return np.concatenate(found) if found else np.empty(0, np.intp)


class Tails:
    """The values beyond the ziggurat's last layer, which are few."""

    def __init__(self, stream: Stream, block: int) -> None:
        self.stream, self.block = stream.part(TAILS), block
        self.generator: np.random.Generator | None = None

    def replace(self, values: Array) -> None:
        """Replace the values beyond the last layer by new ones with the same signs."""
        beyond = _beyond(-LAST, LAST, values)
        if beyond.size:
            values[beyond] = np.copysign(self.draw(beyond.size), values[beyond])

    def draw(self, size: int) -> Array:
        """Return positive values beyond the last layer."""
        if self.generator is None:
            self.generator = self.stream.generator(self.block)
        values = np.empty(size)
        pending = np.arange(size)
        while pending.size:
            # 1 - u is in (0, 1], so its logarithm exists
            x, y = _log(1 - self.generator.random(2 * pending.size)).reshape(2, -1)
            x /= -LAST
            accepted = -y - y > x * x
            values[pending[accepted]] = LAST + x[accepted]
            pending = pending[~accepted]
        return values


def _log(values: Array) -> Array:
    """Return the natural logarithm, ``2 atanh((m - 1) / (m + 1))`` of the mantissa m plus the exponent's.

    Sums and products have the same bits on every processor; the C library's logarithm does not.
    """
    mantissa, exponent = np.frexp(values)
    # a mantissa in [sqrt(1/2), sqrt(2)) keeps z below 0.172, where 13 terms of the series are enough for float64
    small = mantissa < sqrt(0.5)
    mantissa = np.where(small, mantissa * 2, mantissa)
    z = (mantissa - 1) / (mantissa + 1)
    square = z * z
    total = np.zeros_like(z)
    for odd in range(25, 0, -2):
        total *= square
        total += 1 / odd
    logarithm: Array = 2 * z * total + (exponent - small) * log(2)
    return logarithm
