"""Extents: where in a file the values of each array lie, read and written in parallel at those places.

A checkpoint whose arrays are contiguous is a header plus extents, whatever its format; this is the
one piece of code that moves values between such a file and memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.errors import InputError
from paramctl.store.location import Location


class Extent(NamedTuple):
    """The place of an array's first byte, and the dtype of its values, which lie in C order."""

    offset: int
    dtype: np.dtype[Any]


class ExtentReader:
    """Reads values from the extents of one file."""

    def __init__(self, file: Location, extents: Mapping[str, Extent]) -> None:
        self.file, self.extents = file, extents

    def read(self, path: str, start: int, stop: int) -> Array:
        """The values from one place to another in C order, in the machine's byte order."""
        extent = self.extents[path]
        values = np.empty(stop - start, extent.dtype)
        buffer = values.view(np.uint8).data
        if self.file.read_into(extent.offset + start * extent.dtype.itemsize, buffer) < len(buffer):
            raise InputError(f"{self.file.name}: it ends within {path}")
        return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def as_bytes(values: Array) -> memoryview:
    """The bytes of an array in C order, little-endian, without a copy where it has them so."""
    if not values.dtype.isnative or (values.dtype.byteorder == ">"):
        values = values.astype(values.dtype.newbyteorder("<"))
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
