"""New HDF5 files: every array's place is laid out, and no values; and what is said in a file changed.

Run in a child process, see h5_child: the library may crash when a disk is full. What goes along from another file is
read here too, under the limits under which that is parsed, and can be little more than it has itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5p, h5s, h5t

from paramctl.core.indexing import boxes
from paramctl.store.hdf5.limits import limit_parsing, size_of_data
from paramctl.store.hdf5.parser import ATTRIBUTES, OWN, Refused, is_number, is_opaque, words_of

ALIGNED_FROM, ALIGNMENT = 1 << 16, 1 << 12
SPARE = 1 << 20
"""How many bytes what goes along may have more than the file that it comes from."""
TIMES = 4
"""How much more time it may take than to parse that file."""
AT_ONCE = 1_024
"""Values of which each is of a size of its own."""
HEADER, REFERENCE = 256, 16
"""How many bytes the library keeps of a dataset at least, and of such a value beside it."""
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
        """Copy from another file what is said of groups and arrays that this one has too, and what is no number.

        Raises Refused for what is too much.
        """
        size = size_of_data(path)
        limit_parsing(size, TIMES)
        with h5py.File(path if named else open(path, "rb"), "r", locking=False if named else None) as old:
            _Along(size + SPARE).all_of(old, h5py.File(self.file))

    def close(self) -> None:
        self.file.close()


class _Along:
    """What goes along into a new file. left: how many bytes it may still have."""

    def __init__(self, left: int) -> None:
        self.left = left

    def all_of(self, old: Any, new: Any) -> None:
        """What is said in a file of what the new one has too, and what else it has that is no number."""
        self.attributes("", old, new)
        stack = [("", old, new)]
        while stack:
            prefix, source, target = stack.pop()
            for name in source:
                path = f"{prefix}{name}"
                link = source.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    if name not in target:
                        target[name] = link
                elif path != OWN:
                    stack += self.item(path, source[name], target, name)

    def item(self, path: str, item: Any, target: Any, name: str) -> list[tuple[str, Any, Any]]:
        """One thing that a group holds; it and its counterpart, if more is in them."""
        if name in target and isinstance(item, h5py.Group) == isinstance(there := target[name], h5py.Group):
            self.attributes(path, item, there)
            if isinstance(item, h5py.Group):
                return [(f"{path}/", item, there)]
        elif isinstance(item, h5py.Dataset) and not is_number(item.id):
            with self.naming(path):
                self.spend(item.id.get_storage_size() + HEADER)
                for value in _variable(item):
                    self.spend(_size(value))
                item.file.copy(item, target, name)
        elif isinstance(item, h5py.Group) and not len(item):
            self.attributes(path, item, target.create_group(name))
        return []

    def attributes(self, path: str, old: Any, new: Any) -> None:
        for name in old.attrs if h5a.get_num_attrs(old.id) else ():
            if name not in new.attrs and name not in ATTRIBUTES:
                with self.naming(f"{path or '/'}: its attribute {name[:100]}"):
                    value = old.attrs[name]
                    self.spend(_size(value))
                    new.attrs[name] = value

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise Refused("with it that is more than the whole file has")

    @contextmanager
    def naming(self, what: str) -> Iterator[None]:
        """Say of what it is that an error tells."""
        try:
            yield
        except Exception as error:
            why = str(error) if isinstance(error, Refused) else words_of(error)
            raise Refused(f"{what} cannot be taken along: {why}") from error


def _variable(item: Any) -> Iterator[Any]:
    """The values of a dataset, piece by piece, if each is of a size of its own, which may lie in one place for all."""
    try:
        variable = item.dtype.hasobject
    except TypeError:  # NumPy has none like it
        variable = item.id.get_type().detect_class(h5t.VLEN)
    for start in range(0, item.size or 0, AT_ONCE) if variable else ():
        for box in boxes(item.shape, start, min(start + AT_ONCE, item.size)):
            yield item[tuple(slice(of.start, of.stop) for of in box)]


def _size(value: Any) -> int:
    """How many bytes a value has in a file, about."""
    if isinstance(value, (str, bytes)):
        return len(value) + REFERENCE
    if not isinstance(value, (np.ndarray, np.generic)):
        return REFERENCE
    if value.dtype.names:
        return sum(_size(np.asarray(value)[name]) for name in value.dtype.names)
    return sum(map(_size, value.flat)) if value.dtype.hasobject else value.nbytes


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
