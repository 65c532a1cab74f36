"""The random bits of one parameter, by seed, path and block."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

RECIPE = 1
"""The version of the values that a seed gives; see native.py."""

BLOCK_SIZE = 1 << 18
"""The number of values in a block."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The random numbers of one parameter. ``branch`` selects those of a part of its distribution."""

    seed: int
    path: str
    branch: tuple[int, ...] = ()

    def generator(self, block: int) -> np.random.Generator:
        """Return a new generator at the start of a block."""
        # hashed, so that similar seeds and paths give unrelated streams; no two (seed, path) have the same text
        digest = blake2b(f"{RECIPE}\0{self.seed}\0{self.path}".encode("utf-8", "surrogatepass"), digest_size=16)
        sequence = np.random.SeedSequence(int.from_bytes(digest.digest(), "little"), spawn_key=(block, *self.branch))
        return np.random.Generator(np.random.SFC64(sequence))

    def part(self, number: int) -> Stream:
        """Return the stream of a part of the distribution, which is independent of this one."""
        return Stream(self.seed, self.path, (*self.branch, number))
