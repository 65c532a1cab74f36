"""TensorFlow's stateless random numbers: Philox 4x32 with 10 rounds, and the laws of its CPU kernels.

Group g of a stream is four 32-bit words that depend on the seed and g alone, so any part of a tensor can be drawn by
itself. A uniform or normal tensor takes one group for four values (for two in float64). A truncated normal tensor
reserves 256 groups for four values, and takes the first four that are within two standard deviations.

Source: Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3"; TensorFlow 2.21,
core/lib/random/random_distributions.h, core/kernels/random_op_cpu.h and stateless_random_ops.cc.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.init.engines.glibc_math import logf, sin_cosf

ROUNDS = 10
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (0x9E3779B9, 0xBB67AE85)
SEED_KEY = (0x3EC8F720, 0x02461E29)
"""The key under which TensorFlow scrambles a seed to the key and the counter of a stream."""
MASK = 0xFFFFFFFF
LOW = np.uint64(MASK)
HALF = np.uint64(32)

CHUNK = 1 << 14
"""The number of groups to compute at once, so that the intermediate arrays stay in the processor's cache."""
GROUP = 4
"""The number of words of a group, and of the values of a float32 tensor that it gives."""
RESERVED_GROUPS = 256
"""The number of groups between those of one run of four truncated normal values and those of the next."""
BITS = {"float32": 23, "float16": 10, "bfloat16": 7}
"""The number of bits of a word that a uniform value has, by dtype: those of its significand."""
EPSILON = np.float32(1e-7)
"""The least value that the kernels take a logarithm of."""


@dataclass(frozen=True, slots=True)
class Philox:
    """A stream of random words. key: its two words. stream: the upper two words of all counters."""

    key: tuple[int, int]
    stream: tuple[int, int]

    @classmethod
    def of_seed(cls, first: int, second: int = 0) -> Philox:
        """Return the stream of a seed of TensorFlow's stateless functions: a pair of integers of at most 64 bits."""
        counter = [np.uint64(half & MASK) for word in (first, second) for half in (word, word >> 32)]
        words = [int(word) for word in _rounds(SEED_KEY, *counter)]
        return cls((words[0], words[1]), (words[2], words[3]))

    def words(self, groups: Array) -> Array:
        """Return the words of these groups: an array of uint64 with a row of four for each group."""
        words = np.empty((groups.size, GROUP), np.uint64)
        upper = [np.uint64(word) for word in self.stream]
        for start in range(0, groups.size, CHUNK):
            part = groups[start : start + CHUNK]
            for column, word in enumerate(_rounds(self.key, part & LOW, part >> HALF, *upper)):
                words[start : start + CHUNK, column] = word
        return words


def _rounds(key: tuple[int, int], a: Any, b: Any, c: Any, d: Any) -> tuple[Any, Any, Any, Any]:
    """Return the words of Philox for the counters (a, b, c, d): arrays or numbers of uint64, of which 32 bits count."""
    for number in range(ROUNDS):
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        left, right = (np.uint64((word + number * step) & MASK) for word, step in zip(key, WEYL, strict=True))
        a, b, c, d = (second >> HALF) ^ b ^ left, second & LOW, (first >> HALF) ^ d ^ right, first & LOW
    return a, b, c, d


def uniform(stream: Philox, start: int, stop: int, dtype: np.dtype[Any]) -> Array:
    """Return the values of a uniform tensor on [0, 1), from one flat index to another."""
    if dtype == np.float64:
        pairs = stream.words(np.arange(start // 2, -(-stop // 2), dtype=np.uint64)).reshape(-1, 2)
        bits = ((pairs[:, 0] & np.uint64(0xFFFFF)) << HALF) | pairs[:, 1]
        return (bits * 2.0**-52)[start % 2 :][: stop - start]
    digits = BITS[dtype.name]
    words = stream.words(np.arange(start // GROUP, -(-stop // GROUP), dtype=np.uint64)).reshape(-1)
    words &= np.uint64((1 << digits) - 1)
    values = words[start % GROUP :][: stop - start].astype(np.float32)
    values *= np.float32(0.5**digits)  # exact, and so is the cast
    return values.astype(dtype, copy=False)


def normal(stream: Philox, start: int, stop: int) -> Array:
    """Return the values of a standard normal tensor from one flat index to another: float32, rounded for half types."""
    words = stream.words(np.arange(start // GROUP, -(-stop // GROUP), dtype=np.uint64))
    return _box_muller(words).reshape(-1)[start % GROUP :][: stop - start]


def truncated_normal(stream: Philox, start: int, stop: int) -> Array:
    """Return the values of a standard normal tensor that is truncated at -2 and 2, as ``normal`` does."""
    runs = np.arange(start // GROUP, -(-stop // GROUP), dtype=np.uint64) * np.uint64(RESERVED_GROUPS)
    values = np.empty((runs.size, GROUP), np.float32)
    filled = np.zeros(runs.size, np.intp)
    pending = np.arange(runs.size)
    for attempt in range(RESERVED_GROUPS):  # four of 1,024 candidates always fit
        candidates = _box_muller(stream.words(runs[pending] + np.uint64(attempt)))
        fits = np.abs(candidates) < 2
        places = filled[pending, None] + np.cumsum(fits, axis=1) - 1
        rows, columns = np.nonzero(fits & (places < GROUP))
        values[pending[rows], places[rows, columns]] = candidates[rows, columns]
        filled[pending] += np.count_nonzero(fits, axis=1)
        pending = pending[filled[pending] < GROUP]
        if not pending.size:
            break
    return values.reshape(-1)[start % GROUP :][: stop - start]


def _box_muller(words: Array) -> Array:
    """Return standard normal values for rows of words: two for each pair of words."""
    unit = ((words & np.uint64(0x7FFFFF)).astype(np.float32) * np.float32(2.0**-23)).reshape(-1, 2)
    radius = np.sqrt(np.float32(-2) * logf(np.maximum(unit[:, 0], EPSILON)))
    angle = (2 * pi * unit[:, 1].astype(np.float64)).astype(np.float32)
    pairs = np.stack(sin_cosf(angle), axis=1)
    pairs *= radius[:, None]
    return pairs.reshape(-1, GROUP)
