"""The attributes of an HDF5 file, read and changed by the worker.

They are read under the limits for parsing. Variable-length values can share their bytes, so the values of all
attributes together may have only little more bytes than the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5p

from paramctl.store.hdf5.carry_over import SPARE, size_of
from paramctl.store.hdf5.element_types import holds_references
from paramctl.store.hdf5.limits import limit_parsing, size_of_data
from paramctl.store.hdf5.native import ATTRIBUTES, MAX_OBJECTS, PROVENANCE
from paramctl.store.hdf5.refusal import Refused
from paramctl.store.hdf5.window import Whole, Window

HIDDEN = {*ATTRIBUTES, "type", "dtype"} - {*PROVENANCE}
"""The attributes of groups and arrays in a native file that are not shown as metadata, but as facts of these."""


def read_attributes(whole: Whole, is_native: bool) -> dict[str, Any]:
    """Return the attributes of a file: [path, name, value] for each, or [path, name, None, kind] for other types."""
    limit_parsing(whole.data_size)
    with h5py.File(whole.path or Window(whole), "r", locking=False if whole.path else None) as file:
        left = whole.data_size + SPARE
        items: list[list[Any]] = []
        for place, item in _objects(file):
            for name, value in _attributes(item):
                # counted after the value is read: one value has at most the memory that this process may take
                left -= size_of(value) + len(name)
                if left < 0:
                    raise Refused("the values of its attributes exceed the size of the whole file")
                if not (is_native and name in HIDDEN):
                    items.append([place, name, *_as_json(value)])
    return {"items": items}


def _objects(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield the groups and datasets of a file, each once, with its first path. No link out of the file is followed."""
    root = h5o.open(file.id, b"/")
    stack, seen = [("", root)], {_address(root)}
    while stack:
        path, item = stack.pop()
        yield path, item
        inner = []
        for name in item if isinstance(item, h5g.GroupID) else ():
            # soft links have no attributes of their own, and external links are never followed
            if item.links.get_info(name).type != h5l.TYPE_HARD:
                continue
            child = h5o.open(item, name)
            child_path = f"{path}/{name.decode('utf-8', 'replace')}" if path else name.decode("utf-8", "replace")
            if isinstance(child, (h5g.GroupID, h5d.DatasetID)) and _address(child) not in seen:
                seen.add(_address(child))
                inner.append((child_path, child))
        if len(seen) > MAX_OBJECTS:
            raise Refused(f"it has more than {MAX_OBJECTS:,} objects")
        stack += reversed(inner)  # the first of them is visited next, as in a listing


def _attributes(item: Any) -> Iterator[tuple[str, Any]]:
    attributes = h5py.AttributeManager(h5py.Group(item) if isinstance(item, h5g.GroupID) else h5py.Dataset(item))
    for number in range(h5a.get_num_attrs(item)):
        attribute = h5a.open(item, index=number)
        name = attribute.name.decode("utf-8", "replace")
        yield name, None if holds_references(attribute.get_type()) else attributes[attribute.name]


def _as_json(value: Any) -> list[Any]:
    """Return a value in the types of JSON, or None and its kind in words."""
    if value is None:
        return [None, "references to objects"]
    if isinstance(value, h5py.Empty):
        return [None, "empty"]
    if isinstance(value, bytes):
        return [value.decode("utf-8", "replace")]
    if isinstance(value, str):
        return [value]
    array = np.asarray(value)
    # h5py gives texts of variable length as objects, those of fixed length as bytes
    if array.dtype.kind in "OS":
        return [_texts(array.tolist())]
    if array.dtype.kind in "biuf" and array.dtype.itemsize <= 8:
        return [array.tolist()]
    return [None, f"of the type {array.dtype}"]


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def set_attributes(request: Mapping[str, Any]) -> dict[str, Any]:
    """Change attributes of a file: [path, name, text], where None removes the attribute.

    An attribute that is a number stays one. Raises Refused for one of another type, and for one that does not exist.
    """
    limit_parsing(size_of_data(request["path"]))
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_file_locking(False, True)
    file = h5f.open(os.fsencode(request["path"]), h5f.ACC_RDWR, fapl=access)
    for place, name, text in request["changes"]:
        try:
            item = h5py.Group(h5o.open(file, b"/")) if not place else h5py.File(file)[place]
        except KeyError:
            raise Refused(f"has no group and no array {place!r}") from None
        _set(item, name, text, place or "the file")
    file.close()
    return {}


def _set(item: Any, name: str, text: str | None, place: str) -> None:
    if name not in item.attrs:
        if text is None:
            raise Refused(f"{place} has no attribute {name!r}")
        item.attrs[name] = text
        return
    if text is None:
        del item.attrs[name]
        return
    old = item.attrs[name]
    if isinstance(old, (str, bytes)):
        item.attrs[name] = text
        return
    # a list, such as Keras' weight_names, has a meaning that one text cannot keep
    if not isinstance(old, (np.bool_, np.integer, np.floating)):
        raise Refused(f"the attribute {name!r} of {place} must be a text or a number to be changed")
    item.attrs.modify(name, _number(text, old.dtype, f"the attribute {name!r} of {place}"))


def _number(text: str, dtype: Any, place: str) -> Any:
    try:
        if dtype.kind == "b":
            return np.bool_({"true": True, "false": False}[text.lower()])
        value = np.array(int(text) if dtype.kind in "iu" else float(text), dtype)
    except (KeyError, ValueError, OverflowError):
        raise Refused(f"{place} is of the type {dtype} (got {text!r})") from None
    return value


def _address(item: Any) -> int:
    return int(h5o.get_info(item).addr)
