"""JAX's random bits: keys, and the Threefry hash of a key and a counter.

A key is a pair of 32-bit words. The bits of an array are the hashes of its key with the index of each value, so any
part of an array can be drawn alone.

Source: Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3". tests/interop compares with jax.random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from paramctl.core.dtypes import Array

Key: TypeAlias = tuple[int, int]

PARITY = 0x1BD11BDA
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
GROUPS = 5
"""The number of groups of four rounds, after each of which a part of the key is added."""
WORD = 0xFFFFFFFF
STRIDE = 1 << 13
"""The number of values to hash at once, so that all steps find them in the processor's cache."""


def key(seed: int) -> Key:
    """Return the key of a seed, as jax.random.key without 64-bit types: only the low 32 bits count."""
    return 0, seed & WORD


def fold_in(parent: Key, data: int) -> Key:
    """Return the key that jax.random.fold_in gives for 32 bits of data."""
    return _hash_one(parent, (0, data & WORD))


def split(parent: Key, count: int = 2) -> list[Key]:
    """Return the keys that jax.random.split gives."""
    return [_hash_one(parent, (0, number)) for number in range(count)]


@dataclass(frozen=True, slots=True)
class RandomBits:
    """The random bits of an array.

    size: the number of values of the array if ``jax_threefry_partitionable`` is False, as by default before JAX 0.5,
        where each value also depends on that number. None if it is True.
    """

    key: Key
    size: int | None = None

    def draw(self, start: int, stop: int, width: int = 32) -> Array:
        """Return the bits of the values from one index to another, as uint32. width: 8, 16 or 32 bits a value."""
        if self.size is None:
            return self._partitionable(start, stop) & np.uint32((1 << width) - 1)
        per_word = 32 // width  # the lowest bits of a word are for the first of its values
        words = self._original(start // per_word, -(-stop // per_word), -(-self.size // per_word))
        values = words.astype("<u4").view(f"<u{width // 8}").astype(np.uint32)
        return values[start % per_word :][: stop - start]

    def _partitionable(self, start: int, stop: int) -> Array:
        """Return the words from one index to another, each from a counter of its own."""
        words = np.empty(stop - start, np.uint32)
        for begin in range(0, words.size, STRIDE):
            part = words[begin : begin + STRIDE]
            index = np.arange(start + begin, start + begin + part.size, dtype=np.uint64)
            first, second = _hash(self.key, (index >> np.uint64(32)).astype(np.uint32), index.astype(np.uint32))
            np.bitwise_xor(first, second, out=part)
        return words

    def _original(self, start: int, stop: int, size: int) -> Array:
        """Return the words from one index to another of so many: word i and word i + half have a counter in common."""
        half = -(-size // 2)
        words = np.empty(stop - start, np.uint32)
        for begin in range(0, words.size, STRIDE):
            part = words[begin : begin + STRIDE]
            index = np.arange(start + begin, start + begin + part.size, dtype=np.int64)
            low = np.where(index < half, index, index - half)
            high = low + half
            high[high == size] = 0  # the padding of an odd size
            first, second = _hash(self.key, low.astype(np.uint32), high.astype(np.uint32))
            part[:] = np.where(index < half, first, second)
        return words


def _hash_one(parent: Key, counter: Key) -> Key:
    first, second = _hash(parent, *(np.array([word], np.uint32) for word in counter))
    return int(first[0]), int(second[0])


def _hash(parent: Key, x: Array, y: Array) -> tuple[Array, Array]:
    """Return the two words of the hash of each counter, in the arrays of the counters, which are uint32."""
    keys = [np.uint32(word) for word in (*parent, parent[0] ^ parent[1] ^ PARITY)]
    left = np.empty_like(y)
    x += keys[0]
    y += keys[1]
    for group in range(GROUPS):
        for rotation in ROTATIONS[group % 2]:
            x += y
            np.left_shift(y, np.uint32(rotation), out=left)
            np.right_shift(y, np.uint32(32 - rotation), out=y)
            y |= left
            y ^= x
        x += keys[(group + 1) % 3]
        y += keys[(group + 2) % 3]
        y += np.uint32(group + 1)
    return x, y
