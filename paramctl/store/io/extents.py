"""Extents: the place of each array's values in a file.

A checkpoint whose arrays are contiguous is a header plus extents, whatever its format. Only this module reads values
from such a file. NumPy is imported for values alone: headers are read without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from paramctl.core.parameter import bytes_of
from paramctl.errors import InputError
from paramctl.store.location import Location

if TYPE_CHECKING:
    import numpy as np

    from paramctl.core.dtypes import Array


class Extent(NamedTuple):
    """The offset of an array's first byte, and the dtype and byte order of its values, which follow in C order."""

    offset: int
    dtype: str
    order: Literal["<", ">"] = "<"

    def bytes_before(self, index: int) -> int:
        """Return the bytes of the values before an index. Pieces of packed values begin with a byte."""
        return bytes_of(self.dtype, index)

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """NumPy's dtype for the values as the file has them; single bytes for packed ones."""
        from paramctl.core.dtypes import numpy_dtype

        return numpy_dtype(self.dtype).newbyteorder(self.order)


class ExtentReader:
    """A reader of the values at the extents of one file. Safe to share between threads."""

    def __init__(self, location: Location, extents: Mapping[str, Extent]) -> None:
        self.location, self.extents = location, extents

    def read(self, path: str, start: int, stop: int) -> Array:
        """Return the values from index start to stop in C order, in the machine's byte order; packed ones as bytes."""
        import numpy as np

        extent = self.extents[path]
        begin, dtype = extent.bytes_before(start), extent.numpy_dtype
        values = np.empty((extent.bytes_before(stop) - begin) // dtype.itemsize, dtype)
        buffer = values.view(np.uint8).data
        # a short read would leave uninitialized memory in the rest of the array
        if self.location.read_into(extent.offset + begin, buffer) < len(buffer):
            raise InputError(f"{self.location.name}: truncated within {path}")
        return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def as_bytes(values: Array) -> memoryview:
    """Return the bytes of an array in C order, little-endian, without a copy if the array is stored that way."""
    import numpy as np

    if not values.dtype.isnative or (values.dtype.byteorder == ">"):
        values = values.astype(values.dtype.newbyteorder("<"))
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
