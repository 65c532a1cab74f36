"""Extents: the place of each array's values in a file.

A checkpoint whose arrays are contiguous is a header plus extents, whatever its format. Only this module reads values
from such a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.errors import InputError
from paramctl.store.location import Location


class Extent(NamedTuple):
    """The offset of an array's first byte, and the dtype of its values, which follow in C order.

    bits: of a value, if the dtype is packed; the dtype is then that of a byte.
    """

    offset: int
    dtype: np.dtype[Any]
    bits: int | None = None

    def bytes_before(self, index: int) -> int:
        """Return the bytes of the values before an index. Pieces of packed values begin with a byte."""
        return index * self.dtype.itemsize if self.bits is None else index * self.bits // 8


class ExtentReader:
    """A reader of the values at the extents of one file. Safe to share between threads."""

    def __init__(self, location: Location, extents: Mapping[str, Extent]) -> None:
        self.location, self.extents = location, extents

    def read(self, path: str, start: int, stop: int) -> Array:
        """Return the values from index start to stop in C order, in the machine's byte order; packed ones as bytes."""
        extent = self.extents[path]
        begin = extent.bytes_before(start)
        values = np.empty((extent.bytes_before(stop) - begin) // extent.dtype.itemsize, extent.dtype)
        buffer = values.view(np.uint8).data
        # a short read would leave uninitialized memory in the rest of the array
        if self.location.read_into(extent.offset + begin, buffer) < len(buffer):
            raise InputError(f"{self.location.name}: truncated within {path}")
        return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def as_bytes(values: Array) -> memoryview:
    """Return the bytes of an array in C order, little-endian, without a copy if the array is stored that way."""
    if not values.dtype.isnative or (values.dtype.byteorder == ">"):
        values = values.astype(values.dtype.newbyteorder("<"))
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
