"""Headers of npy files. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

Pickles are never loaded. A dtype that NumPy lacks is written as bytes of its size ("<V2" for bfloat16), as NumPy itself
writes the types of ml_dtypes, so the real dtype must be recorded elsewhere.
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
from paramctl.store.io.zips import DamagedZip

MAX_HEADER = 10_000
"""Bytes of a header, NumPy's own limit: NumPy parses it as a Python literal."""
PREAMBLE = 128
"""Bytes to read for the magic string, the version and the length, which come before the header."""
MAX_AXES = 64

READERS = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
    (3, 0): npy.read_array_header_2_0,  # in UTF-8, not Latin-1, which is the same for ASCII
}
"""NumPy's parsers of headers, by version."""

HEADER_ERRORS = (
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(SyntaxError, tokenize.TokenError, MemoryError, RecursionError),
)
"""The exceptions that NumPy's parsers raise for a damaged header."""

FOREIGN = tuple(dtype for dtype in DTYPE_BYTES if dtype == "bfloat16" or dtype.startswith("float8"))
"""The dtypes that NumPy lacks."""


KINDS = {"U": "text", "S": "text", "M": "a date", "m": "a time difference", "V": "bytes without a type"}
"""NumPy's kinds of dtypes that are not numbers, in words."""


class NotNumbers(Exception):
    """An array that does not hold numbers which paramctl knows. The message is its kind: "text"."""


class Header(NamedTuple):
    """The header of an npy file.

    fortran: whether the order of the values differs from C order.
    begin: the offset of the values in the file.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    begin: int

    @property
    def size(self) -> int:
        """The bytes of the values."""
        return prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes], name: str, recorded: object) -> Header:
    """Read the header of a member.

    Args:
        stream: the npy file, at its beginning.
        name: the array's name, for errors.
        recorded: the dtype that the member's comment records, None if it records none.

    Raises DamagedZip if the header is damaged, and NotNumbers if the array does not hold numbers.
    """
    # a header may claim 4 GiB, so only as much is read as may be parsed
    data = stream.read(MAX_HEADER + PREAMBLE)
    if data[:6] != npy.MAGIC_PREFIX or len(data) < 12:
        raise DamagedZip(f"{name!r} is not an npy file")
    version = data[6], data[7]
    if version not in READERS:
        raise DamagedZip(f"{name!r}: unsupported npy version {data[6]}.{data[7]}")
    begin = 10 if version == (1, 0) else 12  # a length of two bytes, or of four
    begin += int.from_bytes(data[8:begin], "little")
    if version == (3, 0) and not data[:begin].removeprefix(npy.MAGIC_PREFIX).isascii():
        raise NotNumbers("a structured type")  # only the names of its fields need more than ASCII
    try:
        shape, fortran, dtype = _parse_header(data[:begin])
    except HEADER_ERRORS as error:
        if b"'<f1'" in data[:begin]:
            raise NotNumbers("the dtype <f1, which NumPy writes for float8_e5m2 but cannot read") from error
        raise DamagedZip(f"the header of {name!r} is damaged") from error
    dtype = _real_dtype(dtype, name, recorded)
    if len(shape) > MAX_AXES or any(type(size) is not int or size < 0 for size in shape):
        raise DamagedZip(f"{name!r}: a shape has at most {MAX_AXES} axes of non-negative integer sizes (got {shape})")
    # NumPy multiplies the other sizes even where an axis is empty: (0, 2**62) overflows
    if prod(filter(None, shape)) * dtype.itemsize >= 2**63:
        raise DamagedZip(f"{name!r}: an array has at most 2^63 bytes (got the shape {shape})")
    # with at most one axis longer than 1, both orders are the same
    return Header(dtype, shape, fortran and sum(size != 1 for size in shape) > 1, begin)


@lru_cache(1_000)
def _parse_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, Fortran order and dtype. Cached, because many arrays of a model have the same header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns of headers that Python 2 wrote, with sizes such as 3L
        shape, fortran, dtype = READERS[header[6], header[7]](io.BytesIO(header[8:]), max_header_size=MAX_HEADER)
    return shape, fortran, dtype


@cache
def _dtype_name(dtype: np.dtype[Any]) -> str:
    return dtype.name


def _real_dtype(dtype: np.dtype[Any], name: str, recorded: object) -> np.dtype[Any]:
    """Return the dtype of the values: the header's, or the recorded one where the header only gives a size in bytes.

    Raises NotNumbers for any other dtype.
    """
    if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None:
        raise NotNumbers("pickled objects" if dtype.hasobject else "a structured type")
    if dtype.str in ("|V1", "|V2"):
        if recorded not in FOREIGN:
            written = "bfloat16" if dtype.itemsize == 2 else "any float8"
            raise NotNumbers(f"the dtype {dtype.str} without a comment with the real one; NumPy writes {written} so")
        real = numpy_dtype(str(recorded)).newbyteorder("<")
    else:
        real = dtype
    if (known := _dtype_name(real)) not in DTYPE_BYTES:
        raise NotNumbers(KINDS.get(dtype.kind, f"the unsupported dtype {dtype.str}"))
    if real.itemsize != dtype.itemsize or recorded not in (None, known):
        raise DamagedZip(f"{name!r} has the dtype {dtype.str} in its header but {recorded!r} in its comment")
    return real


def npy_header(dtype: str, shape: tuple[int, ...], exact: bool = False) -> bytes:
    """Return the header of an npy file, version 1.0, in C order and little-endian.

    Args:
        dtype: the dtype's name.
        shape: the size of each axis.
        exact: declare the bytes of a dtype that NumPy lacks; otherwise declare float32 for it.
    """
    known = numpy_dtype(dtype)
    if exact and dtype in FOREIGN:
        descr = f"<V{known.itemsize}"  # as NumPy writes all but float8_e5m2, whose "<f1" it cannot read back
    else:
        descr = (np.dtype(np.float32) if dtype in FOREIGN else known.newbyteorder("<")).str
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    return header.getvalue()
