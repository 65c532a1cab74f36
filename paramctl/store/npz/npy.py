"""npy: what an array of NumPy's begins with. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

Nothing is unpickled. What NumPy has no dtype for is written as NumPy writes it with ml_dtypes, by the number of its
bytes, and somebody else must tell which it is.
"""

from __future__ import annotations

import io
import tokenize
import warnings
from functools import cache, lru_cache
from math import prod
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.store.io.zips import Damaged

MOST_HEADER = 10_000
MOST_AXES = 64

READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
"""By the version of the format."""

UNREADABLE = (
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(SyntaxError, tokenize.TokenError, MemoryError, RecursionError),
)
"""What NumPy raises for a header that is none."""

FOREIGN = tuple(dtype for dtype in DTYPE_BYTES if dtype == "bfloat16" or dtype.startswith("float8"))
"""The dtypes that NumPy has not."""


class Header(NamedTuple):
    """What an npy file begins with. fortran: whether its order is not C's. begin: where the values do."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    begin: int

    @property
    def size(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes], name: str, told: object) -> Header:
    """What the header of a member says. told: the dtype by its comment, should NumPy have none. Raises Damaged."""
    data = stream.read(MOST_HEADER + 128)
    if data[:6] != npy.MAGIC_PREFIX or len(data) < 12:
        raise Damaged(f"{name!r} is no npy file")
    version = data[6], data[7]
    if version not in READERS:
        raise Damaged(f"{name!r} is npy of the version {version}, which is not supported")
    begin = 10 + 2 * (data[6] - 1)
    begin += int.from_bytes(data[8:begin], "little")
    try:
        shape, fortran, dtype = _parsed(data[:begin])
    except UNREADABLE as error:
        if b"'<f1'" in data[:begin]:
            raise Damaged(f"{name!r} has the dtype <f1, as which NumPy writes float8_e5m2 and reads nothing") from error
        raise Damaged(f"the header of {name!r} is damaged") from error
    dtype = _told(dtype, name, told)
    if len(shape) > MOST_AXES or any(type(size) is not int or size < 0 for size in shape):
        raise Damaged(f"{name!r} has the shape {shape}")
    if prod(filter(None, shape)) * dtype.itemsize >= 2**63:  # which NumPy cannot have, even where an axis is empty
        raise Damaged(f"{name!r} has a shape of more bytes than there can be")
    return Header(dtype, shape, fortran and sum(size != 1 for size in shape) > 1, begin)


@lru_cache(1_000)
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran's order, and dtype; kept, for a model has many arrays with the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote
        found = READERS[header[6], header[7]](io.BytesIO(header[8:]), max_header_size=MOST_HEADER)
    shape, fortran, dtype = found
    return shape, fortran, dtype


@cache
def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name


def _told(dtype: np.dtype[Any], name: str, told: object) -> np.dtype[Any]:
    """The dtype of a header: where that only says how many bytes a value has, the one that its comment tells."""
    if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None:
        raise Damaged(f"{name!r} has the dtype {dtype.str}, which is no number that is supported")
    if dtype.str in ("|V1", "|V2"):
        if told not in FOREIGN:
            written = "bfloat16" if dtype.itemsize == 2 else "a float8"
            raise Damaged(f"{name!r} has the dtype {dtype.str}: the real one is not told (so NumPy writes {written})")
        found = numpy_dtype(str(told)).newbyteorder("<")
    else:
        found = dtype
    if (known := _name(found)) not in DTYPE_BYTES:
        raise Damaged(f"{name!r} has the dtype {dtype.str}, which is no number that is supported")
    if found.itemsize != dtype.itemsize or told not in (None, known):
        raise Damaged(f"{name!r} has the dtype {dtype.str} by its header, and by its comment {told!r}")
    return found


def npy_header(dtype: str, shape: tuple[int, ...], exact: bool = False) -> bytes:
    """What an npy file begins with. exact: for the bytes of a dtype that NumPy has not; else these are float32."""
    kind = numpy_dtype(dtype)
    if exact and dtype in FOREIGN:
        descr = f"<V{kind.itemsize}"  # as NumPy has it, but for float8_e5m2, for which it writes what it cannot read
    else:
        descr = (np.dtype(np.float32) if dtype in FOREIGN else kind.newbyteorder("<")).str
    head = io.BytesIO()
    npy.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": shape})
    return head.getvalue()
