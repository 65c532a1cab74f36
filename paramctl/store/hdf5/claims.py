"""Checks of the sizes that datasets claim. A file of 2 KB can claim an array of 8 PiB."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from paramctl.store.hdf5.element import ElementType
from paramctl.store.hdf5.refusal import Refused

MAX_CHUNK = 64 << 20
"""Bytes of a chunk. The library inflates a whole chunk, even to read one value."""
MAX_RATIO = 1_100
"""Bytes that one stored byte may expand to. Deflate makes at most 1,032 of it."""
MAX_UNWRITTEN = 64 << 20
"""Bytes of fill values, in all datasets together: values that were never written, and so take no space."""


class Storage(NamedTuple):
    """The storage of a dataset.

    offset: where its values begin, in bytes; None if they are in chunks, in the object header, or not stored.
    size: its bytes in the file.
    chunk: the shape of a chunk, None without chunks.
    """

    offset: int | None
    size: int
    chunk: Sequence[int] | None = None


class _Claim(NamedTuple):
    """Stored bytes that belong to a dataset. offset: -1 if they are in chunks."""

    offset: int
    size: int
    path: str


class Claims:
    """The bytes that the datasets of a file claim."""

    def __init__(self, file_size: int) -> None:
        self.file_size = file_size
        self.claims: list[_Claim] = []
        self.unwritten = 0

    def add(self, storage: Storage, shape: Sequence[int], element: ElementType, path: str) -> int | None:
        """Check a dataset's claim. Return the offset of its values, None if only the library can read them.

        Raises Refused for a size that the file cannot hold.
        """
        offset, stored, chunk = storage
        size, ratio = prod(shape) * element.size, 1 if chunk is None else MAX_RATIO
        if size > ratio * self.file_size + MAX_UNWRITTEN or (offset is not None and offset + size > self.file_size):
            raise Refused(f"{path} claims {size:,} bytes in a file of {self.file_size:,}")
        # NumPy multiplies the other sizes even where an axis is empty: (0, 2**62) overflows
        if not size and prod(length for length in shape if length) * element.size >= 2**63:
            raise Refused(f"{path} is empty, but its shape {tuple(shape)} is too large for NumPy")
        # HDF5 2.0.0 allocates without end for a chunk of another rank than the dataset
        if chunk is not None and (len(chunk) != len(shape) or prod(chunk) * element.size > MAX_CHUNK):
            rule = f"a chunk must have rank {len(shape)} and at most {MAX_CHUNK:,} bytes"
            raise Refused(f"{path}: {rule} (got {chunk})")
        # the library returns the fill value where nothing was written
        self.unwritten += max(0, size - ratio * stored)
        if self.unwritten > MAX_UNWRITTEN:
            raise Refused(f"{path} claims {size:,} bytes, too many for the {stored:,} bytes stored")
        self.claims.append(_Claim(-1 if offset is None else offset, stored, path))
        return offset if element.as_stored else None

    def check_together(self) -> None:
        """Raise Refused if two datasets claim the same bytes, or all together more than the file has.

        Otherwise many small claims, each possible alone, would add up to any amount of work.
        """
        end, before = 0, ""
        for offset, size, path in sorted(self.claims):  # by offset, so that only neighbors can overlap
            if 0 <= offset < end and size:
                raise Refused(f"{before} and {path} claim the same bytes")
            if offset >= 0 and size:
                end, before = offset + size, path
        total = sum(claim.size for claim in self.claims)
        if total > self.file_size:
            raise Refused(f"arrays claim {total:,} bytes together in a file of {self.file_size:,}")
