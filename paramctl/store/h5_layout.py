"""New HDF5 files: every array's place is laid out, and no values; and what is said in a file changed.

Run in a child process, see h5_child: the library may crash when a disk is full.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5p, h5s, h5t

from paramctl.store.h5_parse import ATTRIBUTES, OWN, is_number, is_opaque

ALIGNED_FROM, ALIGNMENT = 1 << 16, 1 << 12
TEXT = h5py.string_dtype()


class Layout:
    """A new file, with every array's place and no values."""

    def __init__(self, path: str) -> None:
        access = h5p.create(h5p.FILE_ACCESS)
        access.set_sieve_buf_size(0)  # else the library crashes in close() on a full disk
        access.set_alignment(ALIGNED_FROM, ALIGNMENT)
        access.set_file_locking(False, True)
        created = h5p.create(h5p.FILE_CREATE)
        created.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        created.set_obj_track_times(False)  # else the same content gives other bytes a second later
        self.file = h5f.create(os.fsencode(path), h5f.ACC_TRUNC, fcpl=created, fapl=access)
        self.group_list = h5p.create(h5p.GROUP_CREATE)
        self.group_list.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        self.group_list.set_obj_track_times(False)
        self.array_list = h5p.create(h5p.DATASET_CREATE)
        self.array_list.set_layout(h5d.CONTIGUOUS)
        self.array_list.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        self.array_list.set_fill_time(h5d.FILL_TIME_NEVER)
        self.array_list.set_obj_track_times(False)

    def group(self, path: str, says: dict[str, Any]) -> None:
        self.tell(h5g.create(self.file, path.encode(), gcpl=self.group_list), says)

    def array(self, path: str, shape: list[int], dtype: str, says: dict[str, Any]) -> int | None:
        """Its place in the file; None if it has no values."""
        space = h5s.create_simple(tuple(shape)) if shape else h5s.create(h5s.SCALAR)
        made = h5d.create(self.file, path.encode(), _type(dtype), space, dcpl=self.array_list)
        self.tell(made, says | ({"dtype": dtype} if is_opaque(dtype) else {}))
        offset: int | None = made.get_offset()
        return offset

    def text(self, path: str, text: str) -> None:
        data = np.array(text.encode("utf-8") or b"\0")
        made = h5d.create(
            self.file, path.encode(), _string(data.dtype.itemsize), h5s.create(h5s.SCALAR), dcpl=self.array_list
        )
        made.write(h5s.ALL, h5s.ALL, data, mtype=_string(data.dtype.itemsize))

    def tell(self, item: Any, says: dict[str, Any]) -> None:
        for name, value in says.items():
            data = np.array(value, TEXT) if isinstance(value, str) else np.array(value)
            kind = _text() if isinstance(value, str) else _type(data.dtype.name)
            attribute = h5a.create(item, name.encode(), kind, h5s.create(h5s.SCALAR))
            attribute.write(data)

    def take_along(self, path: str, named: bool) -> None:
        """Copy from another file what is said of groups and arrays that this one has too, and what is no number."""
        with h5py.File(path if named else open(path, "rb"), "r", locking=False if named else None) as old:
            new = h5py.File(self.file)
            self.copy_attributes(old, new)
            stack = [(old, new)]
            while stack:
                source, target = stack.pop()
                for name in source:
                    link = source.get(name, getlink=True)
                    if not isinstance(link, h5py.HardLink):
                        if name not in target:
                            target[name] = link
                        continue
                    if source[name].name == f"/{OWN}":
                        continue
                    item = source[name]
                    if name in target and isinstance(item, h5py.Group) == isinstance(target[name], h5py.Group):
                        self.copy_attributes(item, target[name])
                        if isinstance(item, h5py.Group):
                            stack.append((item, target[name]))
                    elif isinstance(item, h5py.Dataset) and not is_number(item.id):
                        old.copy(item, target, name)
                    elif isinstance(item, h5py.Group) and not len(item):
                        self.copy_attributes(item, target.create_group(name))

    def copy_attributes(self, old: Any, new: Any) -> None:
        for name, value in old.attrs.items():
            if name not in new.attrs and name not in ATTRIBUTES:
                new.attrs[name] = value

    def close(self) -> None:
        self.file.close()


@cache
def _string(size: int) -> Any:
    kind = h5t.C_S1.copy()
    kind.set_size(size)
    kind.set_cset(h5t.CSET_UTF8)
    kind.set_strpad(h5t.STR_NULLPAD)
    return kind


@cache
def _text() -> Any:
    return h5t.py_create(TEXT, logical=True)


@cache
def _type(dtype: str) -> Any:
    if is_opaque(dtype):
        return h5t.py_create(np.dtype(f"V{2 if dtype == 'bfloat16' else 1}"), logical=True)
    return h5t.py_create(np.dtype(dtype).newbyteorder("<"), logical=True)


def create(request: dict[str, Any]) -> dict[str, Any]:
    """Lay out a new file; where each array lies, in the order of the request."""
    layout = Layout(request["path"])
    for path, says in request["groups"]:
        layout.group(path, says)
    offsets = [layout.array(*each) for each in request["arrays"]]
    for kept, tied in request["links"]:
        layout.file.links.create_hard(tied.encode(), layout.file, kept.encode())
    if request["like"]:
        layout.take_along(*request["like"])
    if request["own"] is not None:
        layout.group(OWN, request["own"])
    for name, text in request["texts"].items():
        layout.text(f"{OWN}/{name}", text)
    layout.close()
    return {"offsets": offsets}


def unmark(request: dict[str, Any]) -> dict[str, Any]:
    """Take from arrays what is said of how they came by their values, for they have others now."""
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_sieve_buf_size(0)
    access.set_file_locking(False, True)
    file = h5f.open(os.fsencode(request["path"]), h5f.ACC_RDWR, fapl=access)
    for path in request["arrays"]:
        item = h5py.h5o.open(file, path.encode())
        for name in (b"scheme", b"seed"):
            if h5a.exists(item, name):
                h5a.delete(item, name)
    file.close()
    return {}
