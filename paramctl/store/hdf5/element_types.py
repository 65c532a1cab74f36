"""Element types: HDF5's types as NumPy dtypes, as far as a parameter may have them."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5t

from paramctl.store.hdf5.element import OPAQUE, ElementType, named_by

CLASSES = {
    h5t.STRING: "text",
    h5t.COMPOUND: "a compound type",
    h5t.REFERENCE: "a reference type",
    h5t.ENUM: "an enumeration type",
    h5t.VLEN: "a variable-length type",
    h5t.ARRAY: "an array type",
    h5t.OPAQUE: "an opaque type",
}
"""The classes of types that are not numbers, in words."""

CACHED_TYPES = 8


class ElementTypes:
    """The element types of a file, with a small cache: a file has few, and comparing types is faster than decoding."""

    def __init__(self) -> None:
        self.recent: list[tuple[Any, ElementType]] = []

    def of(self, type_id: Any) -> ElementType:
        for known, element in self.recent:
            if known.equal(type_id):
                return element
        self.recent = [(type_id, element_type(type_id)), *self.recent[: CACHED_TYPES - 1]]
        return self.recent[0][1]


def element_type(type_id: Any) -> ElementType:
    """Return the element type of an HDF5 type."""
    size = type_id.get_size()
    words = CLASSES.get(type_id.get_class(), f"a type of {size} bytes")
    other = ElementType(None, words, size, "<", False)
    try:
        dtype = type_id.dtype
    except TypeError:  # NumPy has no such type: 3-byte integers, for example
        return other
    if dtype.kind == "V" and dtype.fields is None and dtype.subdtype is None and dtype.itemsize <= 2:
        return ElementType(OPAQUE, words, size, "<", True)
    # float128 is this machine's long double, so its bytes mean nothing on another machine
    number = dtype.kind in "fiubc" and dtype.itemsize <= 16 and dtype.name != "float128"
    # h5py stores booleans as an enumeration of FALSE and TRUE; no other enumeration is a number
    if not number or (h5py.check_dtype(enum=dtype) and dtype.kind != "b"):
        return other
    as_stored = type_id.equal(h5t.py_create(dtype, logical=True))
    return ElementType(str(dtype.name), words, size, ">" if dtype.byteorder == ">" else "<", as_stored)


def holds_references(type_id: Any) -> bool:
    """Return whether a type has references, which mean nothing in another file: addresses of objects in this one."""
    kind = type_id.get_class()
    if kind in (h5t.VLEN, h5t.ARRAY):
        return holds_references(type_id.get_super())
    if kind == h5t.COMPOUND:
        return any(holds_references(type_id.get_member_type(number)) for number in range(type_id.get_nmembers()))
    return bool(kind == h5t.REFERENCE)


def named_dtype(dataset: Any) -> str | bool | int | None:
    """Return the attribute dtype of a dataset, None without one."""
    return plain_value(h5py.Dataset(dataset).attrs["dtype"]) if h5a.exists(dataset, b"dtype") else None


def is_numeric(dataset: Any) -> bool:
    """Return whether a dataset is an array of numbers."""
    element = element_type(dataset.get_type())
    name = named_by(named_dtype(dataset), element.size) if element.name == OPAQUE else element.name
    return dataset.shape is not None and name is not None


def plain_value(value: Any) -> str | bool | int | None:
    """Return an attribute's value as JSON has it, None for a type that paramctl does not use."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (str, np.bool_, np.integer)):
        return value if isinstance(value, str) else value.item()
    return None
