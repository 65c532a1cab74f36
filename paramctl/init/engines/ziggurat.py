"""Standard normal values in float32: those that NumPy's Generator draws from the same bits, in half the time.

NumPy passes one word of 32 random bits at a time through the ziggurat: 8 bits select a layer, one is the sign, and 23
are the place in the layer. In 98.5 % of cases the place is below the next layer, and the value is complete. Here arrays
of words take these steps together, and only the words that are left are followed one by one.

Source: Marsaglia and Tsang (2000), "The ziggurat method for generating random variables". A word in the wedge of its
layer takes one further word. A word in the tail takes two for each attempt.
"""

from __future__ import annotations

from functools import cache
from math import erfc, exp, log, pi, sqrt
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array

LAST = 3.6541528853610088
"""The end of the last layer, where the tail begins."""
LAYERS = 256
PLACES = 1 << 23

STRIDE = 1 << 15
"""The number of words at once, whose arrays stay in the processor's cache."""
SPARE = 64
"""The number of words that no value starts at, because the values before them may take them."""

UNCLEAR = 4e-6
"""The relative difference of two logarithms up to which float32 and float64 may order them differently."""
TIE = 1e-14
"""The difference of two heights up to which two functions exp may order them differently."""


class Unclear(Exception):
    """A value that only NumPy can draw: it depends on how the C library rounds."""


class Layers(NamedTuple):
    """The layers of the ziggurat.

    widths: with the sign; the negative ones follow the positive ones, so that 9 bits of a word select one.
    inner: the number of places below the next layer, by the same bits.
    floors, rises: the height of the density at the end of a layer, and the difference to the next.
    """

    widths: Array
    inner: Array
    floors: Array
    rises: Array


@cache
def layers() -> Layers:
    """Return the layers, which have one area. Layer 0 is the lowest, and has the tail.

    They are computed in float64, whose last bits may depend on the C library, and rounded to the 24 bits of NumPy's.
    """
    lowest = exp(-LAST * LAST / 2)
    area = LAST * lowest + sqrt(pi / 2) * erfc(LAST / sqrt(2))
    ends, floors = [LAST], [lowest]
    for _ in range(LAYERS - 2):
        floors.append(floors[-1] + area / ends[-1])
        ends.append(sqrt(-2 * log(floors[-1])))
    ends.append(area / lowest)  # as if the layer with the tail were a rectangle
    floors.append(1.0)
    widths, heights = np.array(ends[::-1], np.float32), np.array(floors[::-1], np.float32)
    shares = [LAST / ends[-1], 0.0, *(ends[-k] / ends[-k - 1] for k in range(2, LAYERS))]
    inner = np.rint(np.array(shares) * PLACES).astype(np.uint32)
    return Layers(np.append(widths, -widths), np.tile(inner, 2), heights, np.roll(heights, 1) - heights)


class Ziggurat:
    """The values that NumPy draws from a bit generator, in order."""

    def __init__(self, bits: np.random.BitGenerator) -> None:
        self.bits = bits
        self.words = np.empty(0, np.uint32)
        """The words that no value has taken yet."""
        self.values = np.empty(0, np.float32)
        """The values that are drawn, but not used yet."""

    def draw(self, size: int) -> Array:
        """Return further values: infinity with the value's sign for one in the tail. Raises Unclear."""
        while self.values.size < size:
            further = self._next(size - self.values.size)
            self.values = np.concatenate([self.values, further]) if self.values.size else further
        values, self.values = self.values[:size], self.values[size:]
        return values

    def _next(self, size: int) -> Array:
        """Draw about as many values as are needed."""
        count = (size + size // 32 + 4 * SPARE) // 2
        fresh = self.bits.random_raw(count).astype("<u8", copy=False).view("<u4")  # the lower half comes first
        words = np.concatenate([self.words, fresh]) if self.words.size else fresh
        values, inner = _innermost(words)
        end = _follow(words, values, inner)
        self.words = words[end:]
        return values[:end][inner[:end]]


def _innermost(words: Array) -> tuple[Array, Array]:
    """Return the value of each word, and whether it is below the next layer. The others are to be followed."""
    values, inner = np.empty(words.size, np.float32), np.empty(words.size, bool)
    table, index, limits = layers(), np.empty(STRIDE, np.intp), np.empty(STRIDE, np.uint32)
    for begin in range(0, words.size, STRIDE):
        word, value = words[begin : begin + STRIDE], values[begin : begin + STRIDE]
        index, limits = index[: word.size], limits[: word.size]
        np.bitwise_and(word, 2 * LAYERS - 1, out=index)
        place = np.right_shift(word, 9, out=value.view(np.uint32))
        table.inner.take(index, out=limits, mode="clip")
        np.less(place, limits, out=inner[begin : begin + STRIDE])
        place |= 0x3F800000  # the bits of the float 1 + place / PLACES
        value -= 1
        value *= table.widths.take(index, out=limits.view(np.float32), mode="clip")
    return values, inner


def _follow(words: Array, values: Array, inner: Array) -> int:
    """Follow the words that are not below the next layer, and return the first word that no value has taken.

    inner: False for these words. True on return for the first word of each value.
    """
    end = words.size - SPARE
    starts = np.flatnonzero(~inner[:end])
    layer = words[starts].astype(np.intp) & (LAYERS - 1)
    tails = np.flatnonzero(layer == 0)
    ends = starts + 2
    ends[tails] = _ends_of_tails(words, starts[tails])
    free = _free(starts, ends)
    starts, layer, ends = starts[free], layer[free], ends[free]
    inner[starts] = _below_density(values[starts], layer, words[starts + 1])
    inner[starts + 1] = False
    tails = np.flatnonzero(layer == 0)
    values[starts[tails]] = np.where(
        words[starts[tails]] & (1 << 17), -np.inf, np.inf
    )  # in NumPy too, a bit of the place
    for start, after in zip(starts[tails].tolist(), ends[tails].tolist(), strict=True):
        inner[start] = True
        inner[start + 1 : after] = False
    return max(end, int(ends[-1])) if ends.size else end


def _free(starts: Array, ends: Array) -> Array:
    """Return whether each word is free to start a value. The others are before the end of the value before them."""
    free = np.ones(starts.size, bool)
    before = np.flatnonzero(ends[:-1] > starts[1:])
    for k, after in zip(before.tolist(), np.searchsorted(starts, ends[before]).tolist(), strict=True):
        if free[k]:
            free[k + 1 : after] = False
    return free


def _below_density(values: Array, layer: Array, words: Array) -> Array:
    """Return whether a random height within its layer is below the density, for values in the wedge of a layer."""
    u = (words >> 8).astype(np.float32) * np.float32(2**-24)
    height = layers().rises[layer] * u + layers().floors[layer]
    exponents = -0.5 * np.square(values.astype(np.float64))
    density = np.exp(exponents)
    for k in np.flatnonzero(np.abs(height - density) < TIE):
        density[k] = exp(exponents[k])  # the C library's, as NumPy's generators have it
    below: Array = height < density
    return below


def _ends_of_tails(words: Array, starts: Array) -> Array:
    """Return the first word after each value in the tail. Raises Unclear."""
    ends = starts + 1
    pending = np.arange(starts.size)
    while pending.size:
        begin = ends[pending]
        if begin[-1] + 1 >= words.size:
            raise Unclear
        x, y = (-np.log1p((words[at] >> 8) * -(2.0**-24)) for at in (begin, begin + 1))
        x /= LAST
        excess = y + y - x * x
        # x: a value that float32 may round to the tail's beginning
        if (np.abs(excess) <= UNCLEAR * (y + y)).any() or (x < UNCLEAR).any():
            raise Unclear
        ends[pending] += 2
        pending = pending[excess < 0]
    return ends
