"""Checks of the sizes that datasets claim. A file of 2 KB can claim an array of 8 PiB."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from h5py import h5d

from paramctl.store.hdf5.element_types import ElementType
from paramctl.store.hdf5.refusal import Refused

MAX_CHUNK = 64 << 20
"""Bytes of a chunk. The library inflates a whole chunk, even to read one value."""
MAX_RATIO = 1_100
"""Bytes that one stored byte may expand to. Deflate makes at most 1,032 of it."""


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

    def add(self, dataset: Any, properties: Any, shape: Sequence[int], element: ElementType, path: str) -> int | None:
        """Check a dataset's claim. Return the offset of its values, None if only the library can read them.

        Raises Refused for a size that the file cannot hold.
        """
        layout, size, stored = properties.get_layout(), prod(shape) * element.size, dataset.get_storage_size()
        chunked = layout == h5d.CHUNKED
        # a compact dataset is inside its object header, so only a contiguous one has an offset
        offset = dataset.get_offset() if layout == h5d.CONTIGUOUS else None
        most = (MAX_RATIO if chunked else 1) * self.file_size
        if size > most or (offset is not None and offset + size > self.file_size):
            raise Refused(f"{path} claims {size:,} bytes in a file of {self.file_size:,}")
        if size and not stored:  # HDF5 would return its fill value, as if it had been written
            raise Refused(f"{path} was never written")
        # NumPy multiplies the other sizes even where an axis is empty: (0, 2**62) overflows
        if not size and prod(length for length in shape if length) * element.size >= 2**63:
            raise Refused(f"{path} is empty, but its shape {tuple(shape)} is too large for NumPy")
        if chunked:
            chunk = properties.get_chunk()
            # HDF5 2.0.0 allocates without end for a chunk of another rank than the dataset
            if len(chunk) != len(shape) or prod(chunk) * element.size > MAX_CHUNK:
                rule = f"a chunk must have rank {len(shape)} and at most {MAX_CHUNK:,} bytes"
                raise Refused(f"{path}: {rule} (got {chunk})")
            if size > MAX_RATIO * stored:
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


def check_inside(properties: Any, path: str) -> None:
    """Raise Refused for a dataset whose values are in another file, given its creation properties.

    External storage lets a checkpoint read any file of its user, such as /etc/passwd (CVE-2026-1669).
    """
    if properties.get_external_count():
        raise Refused(f"{path} has external storage, which paramctl never reads")
    if properties.get_layout() == h5d.VIRTUAL:
        raise Refused(f"{path} is a virtual dataset, which paramctl never reads")
