"""New HDF5 files, laid out without values: the offset of every array is fixed, and the parent writes the values there.

It runs in the worker, because the library may crash when a disk is full.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5o, h5p, h5s, h5t

from paramctl.store.hdf5.carry_over import carry_over
from paramctl.store.hdf5.element import is_opaque
from paramctl.store.hdf5.native import METADATA_GROUP, PROVENANCE
from paramctl.store.hdf5.window import Whole
from paramctl.store.sums import KEY as SUMS

ALIGNED_FROM, ALIGNMENT = 1 << 16, 1 << 12
"""Arrays of at least 64 KiB begin on a page."""
TEXT = h5py.string_dtype()


class Layout:
    """A new file, created with properties that make it reproducible to the byte and safe on a full disk."""

    def __init__(self, path: str) -> None:
        created = h5p.create(h5p.FILE_CREATE)
        created.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        created.set_obj_track_times(False)  # otherwise the same content gives other bytes a second later
        access = _access()
        access.set_alignment(ALIGNED_FROM, ALIGNMENT)
        self.file = h5f.create(os.fsencode(path), h5f.ACC_TRUNC, fcpl=created, fapl=access)
        self.group_properties = h5p.create(h5p.GROUP_CREATE)
        self.group_properties.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        self.group_properties.set_obj_track_times(False)
        # contiguous and allocated at once, so that each dataset has an offset; never filled, for the parent writes it
        self.dataset_properties = h5p.create(h5p.DATASET_CREATE)
        self.dataset_properties.set_layout(h5d.CONTIGUOUS)
        self.dataset_properties.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        self.dataset_properties.set_fill_time(h5d.FILL_TIME_NEVER)
        self.dataset_properties.set_obj_track_times(False)

    def add_group(self, path: str, attributes: dict[str, Any]) -> None:
        _set_attributes(h5g.create(self.file, path.encode(), gcpl=self.group_properties), attributes)

    def add_array(self, path: str, shape: list[int], dtype: str, attributes: dict[str, Any]) -> int | None:
        """Add a dataset. Return the offset of its values in bytes, None if it is empty."""
        space = h5s.create_simple(tuple(shape)) if shape else h5s.create(h5s.SCALAR)
        dataset = h5d.create(self.file, path.encode(), _number_type(dtype), space, dcpl=self.dataset_properties)
        _set_attributes(dataset, attributes | ({"dtype": dtype} if is_opaque(dtype) else {}))
        offset: int | None = dataset.get_offset()
        return offset

    def add_text(self, path: str, text: str) -> None:
        """Add a scalar text of fixed length."""
        data = np.array(text.encode("utf-8") or b"\0")  # HDF5 has no text of length 0
        type_ = _fixed_text(data.dtype.itemsize)
        dataset = h5d.create(self.file, path.encode(), type_, h5s.create(h5s.SCALAR), dcpl=self.dataset_properties)
        dataset.write(h5s.ALL, h5s.ALL, data, mtype=type_)

    def add_record(self, text: str) -> None:
        """Add the record of hashes: an attribute of variable length, whose text is one run of bytes of any size."""
        _set_attributes(h5o.open(self.file, b"/"), {SUMS: text})

    def add_link(self, path: str, other: str) -> None:
        """Add another path to an array, as a hard link."""
        self.file.links.create_hard(other.encode(), self.file, path.encode())

    def close(self) -> None:
        self.file.close()


def lay_out(request: dict[str, Any], like: Whole | None) -> dict[str, Any]:
    """Lay out a new file. Return the offsets of the arrays, in the order of the request.

    like: the file whose attributes and non-numeric data are carried over.
    """
    layout = Layout(request["path"])
    for path, attributes in request["groups"]:
        layout.add_group(path, attributes)
    offsets = [layout.add_array(*array) for array in request["arrays"]]
    for path, other in request["links"]:
        layout.add_link(path, other)
    if like is not None:
        carry_over(like, layout.file)
    if request["metadata"] is not None:
        layout.add_group(METADATA_GROUP, request["metadata"])
    for name, text in request["texts"].items():
        layout.add_text(f"{METADATA_GROUP}/{name}", text)
    layout.add_record(request["sums"])
    layout.close()
    return {"offsets": offsets}


def clear_provenance(request: dict[str, Any]) -> dict[str, Any]:
    """Delete the recorded provenance of arrays, because their values are about to change."""
    file = h5f.open(os.fsencode(request["path"]), h5f.ACC_RDWR, fapl=_access())
    for path in request["arrays"]:
        dataset = h5o.open(file, path.encode())
        for name in map(str.encode, PROVENANCE):
            if h5a.exists(dataset, name):
                h5a.delete(dataset, name)
    file.close()
    return {}


def _access() -> Any:
    """Return access properties for writing."""
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_sieve_buf_size(0)  # otherwise the library crashes on a full disk, as late as in close()
    access.set_file_locking(False, True)
    return access


def _set_attributes(item: Any, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        data = np.array(value, TEXT) if isinstance(value, str) else np.array(value)
        type_ = _variable_text() if isinstance(value, str) else _number_type(data.dtype.name)
        h5a.create(item, name.encode(), type_, h5s.create(h5s.SCALAR)).write(data)


@cache
def _fixed_text(size: int) -> Any:
    type_ = h5t.C_S1.copy()
    type_.set_size(size)
    type_.set_cset(h5t.CSET_UTF8)
    type_.set_strpad(h5t.STR_NULLPAD)
    return type_


@cache
def _variable_text() -> Any:
    return h5t.py_create(TEXT, logical=True)


@cache
def _number_type(dtype: str) -> Any:
    if is_opaque(dtype):
        return h5t.py_create(np.dtype(f"V{2 if dtype == 'bfloat16' else 1}"), logical=True)
    return h5t.py_create(np.dtype(dtype).newbyteorder("<"), logical=True)
