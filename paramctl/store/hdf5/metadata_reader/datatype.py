"""Datatype messages: numbers as NumPy has them, and texts. Any other type is left to the library."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from struct import pack
from typing import NamedTuple

from paramctl.store.hdf5.element import OPAQUE, ElementType, Order
from paramctl.store.hdf5.metadata_reader.unknown import Unknown

FIXED, FLOATING, STRING, OPAQUE_CLASS, COMPOUND, ENUMERATION, VARIABLE = 0, 1, 3, 5, 6, 8, 9
SPACE_PADDED = 2
VERSIONS = (1, 3, 4, 5)
"""Versions of compound and enumeration types. Version 2 is that of the library's releases 1.6."""
CACHED = 256
"""A file has few types."""
FLOATS = {2: (15, 10, 5, 10, 15), 4: (31, 23, 8, 23, 127), 8: (63, 52, 11, 52, 1023)}
"""By size: sign location, exponent location and size, mantissa size, exponent bias of IEEE 754."""


class Text(Enum):
    """The form of a text: so many bytes, or a reference into the global heap."""

    FIXED = 1
    VARIABLE = 2


class Datatype(NamedTuple):
    """The type of a dataset's or an attribute's elements.

    padding: of a text of fixed length, as the specification numbers it.
    """

    element: ElementType
    text: Text | None = None
    padding: int = 0


@lru_cache(CACHED)
def read_datatype(data: bytes) -> Datatype:
    """Return a datatype. data: the message, or the beginning of more. Raises Unknown."""
    for length in NUMBER_LENGTHS:
        number = NUMBERS.get(data[:length])
        if number is not None:
            return number
    size = int.from_bytes(data[4:8], "little")
    if data[0] == 0x10 | STRING and data[1] & 0x0F <= SPACE_PADDED and data[1] >> 4 <= 1 and size:
        return Datatype(ElementType(None, "text", size, "<", False), Text.FIXED, data[1] & 0x0F)
    # the padding of a text of variable length has no meaning
    if data[0] == 0x10 | VARIABLE and data[1] == 1 and data[2] <= 1 and size == 16 and data[8:20] == BYTE:
        return Datatype(ElementType(None, "text", size, "<", False), Text.VARIABLE)
    if data[:4] == bytes([0x10 | OPAQUE_CLASS, 0, 0, 0]) and size in (1, 2):
        return Datatype(ElementType(OPAQUE, "an opaque type", size, "<", True))
    raise Unknown("a datatype")


def _integer(size: int, is_signed: bool, is_big: bool) -> bytes:
    return pack("<BBHIHH", 0x10 | FIXED, is_big | is_signed << 3, 0, size, 0, 8 * size)


def _float(size: int, is_big: bool) -> bytes:
    sign, exponent, exponent_size, mantissa_size, bias = FLOATS[size]
    head = pack("<BBBBI", 0x10 | FLOATING, 0x20 | is_big, sign, 0, size)  # 0x20: the first bit of 1.x is not stored
    return head + pack("<HHBBBBI", 0, 8 * size, exponent, exponent_size, 0, mantissa_size, bias)


def _boolean(version: int) -> bytes:
    """Return h5py's type of booleans: an enumeration of FALSE and TRUE."""
    names = b"FALSE\0TRUE\0" if version >= 3 else b"FALSE\0\0\0TRUE\0\0\0\0"
    return pack("<BBHI", version << 4 | ENUMERATION, 2, 0, 1) + _integer(1, True, False) + names + b"\0\1"


def _complex(version: int, size: int, is_big: bool) -> bytes:
    """Return h5py's type of complex numbers: a compound of r and i."""
    part = _float(size // 2, is_big)
    places = (b"r", 0), (b"i", size // 2)
    if version >= 3:
        members = [name + b"\0" + bytes([place]) + part for name, place in places]
    else:  # each has room for the axes of an array
        members = [name.ljust(8, b"\0") + pack("<I28x", place) + part for name, place in places]
    return pack("<BBHI", version << 4 | COMPOUND, 2, 0, size) + b"".join(members)


def _numbers() -> dict[bytes, Datatype]:
    """Return the types of numbers that NumPy has, by the bytes of their messages."""
    encoded: list[tuple[bytes, str, int, Order]] = []
    orders: list[tuple[Order, bool]] = [("<", False), (">", True)]
    for order, is_big in orders:
        for size in (1, 2, 4, 8):
            if size > 1 or not is_big:  # the library takes another order of one byte for another type
                encoded.append((_integer(size, True, is_big), f"int{8 * size}", size, order))
                encoded.append((_integer(size, False, is_big), f"uint{8 * size}", size, order))
        encoded += [(_float(size, is_big), f"float{8 * size}", size, order) for size in FLOATS]
        for size in (8, 16):
            encoded += [(_complex(version, size, is_big), f"complex{8 * size}", size, order) for version in VERSIONS]
    encoded += [(_boolean(version), "bool", 1, "<") for version in VERSIONS]
    return {
        data: Datatype(ElementType(name, f"a type of {size} bytes", size, order, True))
        for data, name, size, order in encoded
    }


BYTE = _integer(1, False, False)
NUMBERS = _numbers()
NUMBER_LENGTHS = sorted({len(data) for data in NUMBERS})
