"""The content hash of an array: the same in every format, and computed from pieces by any number of threads.

Leaf k is the SHA-256 of the bytes of the values [k 2^18, (k + 1) 2^18), little-endian and in C order. The hash is the
SHA-256 of a line of text with the version, the dtype and the shape, followed by the leaves:

    paramctl array 1 float32 [4, 4]

An array without values has no leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from paramctl.core.parameter import bytes_of
from paramctl.store.parts import BLOCK_SIZE

VERSION = 1


class Begun(NamedTuple):
    """The hash of the first bytes of a leaf, and their number."""

    hash: Any
    size: int


class ArraySum(NamedTuple):
    """The leaves of consecutive bytes of an array, which may begin and end within a leaf.

    begin: the offset of the first byte.
    leaf: the bytes of a whole leaf.
    head: the bytes before the first whole leaf; all of them if they do not reach the end of their leaf.
    leaves: the hashes of the whole leaves.
    tail: the leaf that is begun after the last whole one. Its bytes are not kept: small arrays are all tail.
    """

    begin: int
    leaf: int
    head: bytes
    leaves: bytes
    tail: Begun | None

    @property
    def size(self) -> int:
        """The number of bytes."""
        tail = self.tail.size if self.tail is not None else 0
        return len(self.head) + len(self.leaves) // sha256().digest_size * self.leaf + tail

    def join(self, later: ArraySum) -> ArraySum:
        """Return the sum of both together; ``later`` begins where this one ends."""
        if self.begin % self.leaf and (self.begin + len(self.head)) % self.leaf:  # still within its first leaf
            return ArraySum(self.begin, self.leaf, self.head + later.head, later.leaves, later.tail)
        if self.tail is None:  # ``later`` begins with a leaf
            return self._replace(leaves=self.leaves + later.leaves, tail=later.tail)
        hashed, size = self.tail.hash.copy(), self.tail.size + len(later.head)
        hashed.update(later.head)
        if size < self.leaf:
            return self._replace(tail=Begun(hashed, size))
        return self._replace(leaves=self.leaves + hashed.digest() + later.leaves, tail=later.tail)

    def finish(self, dtype: str, shape: Sequence[int]) -> str:
        """Return the hash of a whole array, as 64 hexadecimal digits."""
        last = self.tail.hash.digest() if self.tail is not None else b""
        return sha256(_line(dtype, shape) + self.leaves + last).hexdigest()


def sum_of(data: memoryview | bytes, begin: int, leaf: int) -> ArraySum:
    """Return the sum of some bytes of an array. begin: the offset of the first. leaf: see leaf_bytes."""
    view = memoryview(data)
    first = min(-begin % leaf, len(view))
    last = first + (len(view) - first) // leaf * leaf
    leaves = b"".join(sha256(view[at : at + leaf]).digest() for at in range(first, last, leaf))
    tail = Begun(sha256(view[last:]), len(view) - last) if last < len(view) else None
    return ArraySum(begin, leaf, bytes(view[:first]), leaves, tail)


def leaf_bytes(dtype: str) -> int:
    """Return the bytes of the values of a leaf."""
    return bytes_of(dtype, BLOCK_SIZE)


def empty_sum(dtype: str, shape: Sequence[int]) -> str:
    """Return the hash of an array without values."""
    return sha256(_line(dtype, shape)).hexdigest()


def _line(dtype: str, shape: Sequence[int]) -> bytes:
    return f"paramctl array {VERSION} {dtype} {list(shape)}\n".encode()
