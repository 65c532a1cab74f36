"""Datasets and the types of their elements, as both readers of a file's metadata describe them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypedDict

Order = Literal["<", ">"]
OPAQUE = "opaque"
"""The name of the type of bytes whose dtype an attribute names."""


class ArrayEntry(TypedDict):
    """A numeric dataset.

    order: the byte order of the values.
    offset: where its values begin, None if only the HDF5 library can read them (chunked, or not a NumPy type).
    unwritten: True if the file has no bytes for the values, which are the fill value.
    attributes: those of the native layout, where the file has its metadata group.
    """

    path: str
    shape: Sequence[int]
    dtype: str
    order: Order
    offset: int | None
    unwritten: bool
    attributes: dict[str, Any]


class ElementType(NamedTuple):
    """The type of a dataset's elements.

    name: the dtype's name, OPAQUE for bytes whose dtype an attribute names, None if the elements are not numbers.
    words: the type for errors.
    size: the bytes of an element.
    order: "<" or ">".
    as_stored: whether the bytes in the file are NumPy's. If not, such as for an integer of 12 bits, only the library
        can read the values.
    """

    name: str | None
    words: str
    size: int
    order: Order
    as_stored: bool


def is_opaque(dtype: object) -> bool:
    """Return whether HDF5 lacks a dtype, which is then stored as opaque bytes with an attribute dtype."""
    return isinstance(dtype, str) and (dtype == "bfloat16" or dtype.startswith("float8_"))


def named_by(attribute: object, size: int) -> str | None:
    """Return the dtype that the value of an attribute gives opaque elements of a size, None if it gives none."""
    return str(attribute) if is_opaque(attribute) and size == (2 if attribute == "bfloat16" else 1) else None
