"""The place of an array's values in a file, as a format lists it for the file's seal."""

from __future__ import annotations

from typing import NamedTuple


class StoredArray(NamedTuple):
    """An array whose values are consecutive bytes of a file.

    path: as the file has it.
    begin, end: the offsets of the first byte of its values, and of the byte after them.
    digest: its recorded hash, if the format keeps the hash beside the array; "" for one that lacks it. None if the
        record has the hashes, in the order of the offsets.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int
    digest: str | None = None
