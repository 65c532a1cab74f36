"""The content hash of an array: the same in every format, and computed from pieces by any number of threads.

Leaf k is the SHA-256 of the bytes of the values [k 2^18, (k + 1) 2^18), little-endian and in C order. The hash is the
SHA-256 of a line of text with the version, the dtype and the shape, followed by the leaves:

    paramctl array 1 float32 [4, 4]

An array without values has no leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from paramctl.core.parameter import bytes_of
from paramctl.store.parts import BLOCK_SIZE

VERSION = 1


class ArraySum(NamedTuple):
    """The leaves of consecutive bytes of an array, which may begin and end within a leaf.

    begin: the offset of the first byte.
    leaf: the bytes of a whole leaf.
    head: the bytes before the first whole leaf; all of them if they do not reach the end of their leaf.
    leaves: the hashes of the whole leaves.
    tail: the bytes after the last whole leaf.
    """

    begin: int
    leaf: int
    head: bytes
    leaves: bytes
    tail: bytes

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.head) + len(self.leaves) // sha256().digest_size * self.leaf + len(self.tail)

    def join(self, later: ArraySum) -> ArraySum:
        """Return the sum of both together; ``later`` begins where this one ends."""
        if self.begin % self.leaf and (self.begin + len(self.head)) % self.leaf:  # still within its first leaf
            return ArraySum(self.begin, self.leaf, self.head + later.head, later.leaves, later.tail)
        middle = self.tail + later.head
        if middle and len(middle) == self.leaf:
            return self._replace(leaves=self.leaves + sha256(middle).digest() + later.leaves, tail=later.tail)
        # without a middle, ``later`` begins with a leaf
        return self._replace(leaves=self.leaves + later.leaves, tail=middle + later.tail)

    def finish(self, dtype: str, shape: Sequence[int]) -> str:
        """Return the hash of a whole array, as 64 hexadecimal digits."""
        last = sha256(self.tail).digest() if self.tail else b""
        return sha256(_line(dtype, shape) + self.leaves + last).hexdigest()


def sum_of(data: memoryview | bytes, begin: int, leaf: int) -> ArraySum:
    """Return the sum of some bytes of an array. begin: the offset of the first. leaf: see leaf_bytes."""
    view = memoryview(data)
    first = min(-begin % leaf, len(view))
    last = first + (len(view) - first) // leaf * leaf
    leaves = b"".join(sha256(view[at : at + leaf]).digest() for at in range(first, last, leaf))
    return ArraySum(begin, leaf, bytes(view[:first]), leaves, bytes(view[last:]))


def leaf_bytes(dtype: str) -> int:
    """Return the bytes of the values of a leaf."""
    return bytes_of(dtype, BLOCK_SIZE)


def empty_sum(dtype: str, shape: Sequence[int]) -> str:
    """Return the hash of an array without values."""
    return sha256(_line(dtype, shape)).hexdigest()


def _line(dtype: str, shape: Sequence[int]) -> bytes:
    return f"paramctl array {VERSION} {dtype} {list(shape)}\n".encode()
