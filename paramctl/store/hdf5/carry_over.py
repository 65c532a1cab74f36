"""The carry-over of attributes and non-numeric data into a new file, from the file that its values come from.

The old file is read under the limits for parsing, and only little more bytes than it has can be carried over:
variable-length values can share their bytes, so a file of 4 KB can hold a thousand times a megabyte.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5o, h5t

from paramctl.core.indexing import boxes
from paramctl.store.hdf5.element import is_opaque
from paramctl.store.hdf5.element_types import holds_references, is_numeric, plain_value
from paramctl.store.hdf5.limits import limit_parsing
from paramctl.store.hdf5.native import ATTRIBUTES, METADATA_GROUP
from paramctl.store.hdf5.refusal import Refused, library_error
from paramctl.store.hdf5.window import Whole, Window
from paramctl.store.sums import KEY as SUMS

SPARE = 1 << 20
"""Bytes that may be carried over beyond the size of the old file."""
TIME_FACTOR = 4
"""The limit on time, as a multiple of the limit for listing the old file."""
AT_ONCE = 1_024
"""Variable-length values to read at once."""
HEADER, REFERENCE = 256, 16
"""Bytes counted for a dataset's object header, and for the reference to a variable-length value."""


def carry_over(whole: Whole, new: Any) -> None:
    """Copy into a new file the attributes of groups and arrays that both files have, and data that is not numeric.

    Args:
        whole: the old file.
        new: the identifier of the new file.

    Raises Refused if the total exceeds the size of the old file.
    """
    limit_parsing(whole.data_size, TIME_FACTOR)
    with h5py.File(whole.path or Window(whole), "r", locking=False if whole.path else None) as old:
        _Copy(whole.data_size + SPARE).copy_all(old, h5py.File(new))


class _Copy:
    """A copy in progress, with the number of bytes that it may still copy."""

    def __init__(self, left: int) -> None:
        self.left = left

    def copy_all(self, old: Any, new: Any) -> None:
        self._copy_attributes("", old, new)
        stack = [("", old, {_address(old)})]
        while stack:
            prefix, source, above = stack.pop()
            for name in source:
                path = f"{prefix}{name}"
                link = source.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):  # copied as a link, never followed
                    if path not in new:
                        new[path] = link
                elif path != METADATA_GROUP and self._copy_item(path, item := source[name], new):
                    address = _address(item)
                    if address not in above:  # a hard link may lead back to a group that contains it
                        stack.append((f"{path}/", item, above | {address}))

    def _copy_item(self, path: str, item: Any, new: Any) -> bool:
        """Copy one object, and a group's attributes. Return whether it is a group whose content must be copied too."""
        is_group = isinstance(item, h5py.Group)
        if path in new:
            if is_group != isinstance(counterpart := new[path], h5py.Group):
                return False
            self._copy_attributes(path, item, counterpart)
        elif is_group and not len(item):  # a group with content is created with the first of it that is copied
            self._copy_attributes(path, item, new.create_group(path))
        elif isinstance(item, h5py.Dataset) and not is_numeric(item.id) and not holds_references(item.id.get_type()):
            with _naming(path):
                self._spend(item.id.get_storage_size() + HEADER)
                for value in _variable_values(item):
                    self._spend(size_of(value))
                item.file.copy(item, new, path)
        return is_group

    def _copy_attributes(self, path: str, old: Any, new: Any) -> None:
        lost = lost_attributes(old.id)
        for name in old.attrs if h5a.get_num_attrs(old.id) else ():
            if name not in new.attrs and name not in lost and name not in (*ATTRIBUTES, SUMS):
                with _naming(f"{path or '/'}: its attribute {name[:100]}"):
                    value = old.attrs[name]
                    if name == "dtype" and is_opaque(plain_value(value)):
                        continue  # of the old values; the new file has its own
                    self._spend(size_of(value))
                    new.attrs[name] = value

    def _spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise Refused("the total exceeds the size of the whole file")


def lost_attributes(item: Any) -> list[str]:
    """Return the names of the attributes of an object that cannot be carried over.

    References mean nothing in another file, and paramctl's own attributes have a meaning in a native file.
    """
    return [name for name, is_lost in attributes_of(item) if is_lost]


def attributes_of(item: Any) -> Iterator[tuple[str, bool]]:
    """Yield the name of each attribute of an object, and whether it cannot be carried over."""
    for number in range(h5a.get_num_attrs(item)):
        attribute = h5a.open(item, index=number)
        name = attribute.name.decode("utf-8", "replace")
        if name == SUMS:  # of the old file; the new one has its own
            continue
        yield name, name in ATTRIBUTES or holds_references(attribute.get_type())


def _address(item: Any) -> int:
    return int(h5o.get_info(item.id).addr)


@contextmanager
def _naming(subject: str) -> Iterator[None]:
    """Raise any error as one that says which subject cannot be carried over."""
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, Refused) else library_error(error)
        raise Refused(f"{subject} cannot be carried over: {reason}") from error


def _variable_values(dataset: Any) -> Iterator[Any]:
    """Yield the values of a dataset in pieces if they have variable length, and nothing otherwise."""
    try:
        variable = dataset.dtype.hasobject
    except TypeError:  # NumPy has no such type
        variable = dataset.id.get_type().detect_class(h5t.VLEN)
    for start in range(0, dataset.size or 0, AT_ONCE) if variable else ():
        for box in boxes(dataset.shape, start, min(start + AT_ONCE, dataset.size)):
            yield dataset[tuple(slice(axis.start, axis.stop) for axis in box)]


def size_of(value: Any) -> int:
    """Estimate the bytes of a value in a file."""
    if isinstance(value, (str, bytes)):
        return len(value) + REFERENCE
    if not isinstance(value, (np.ndarray, np.generic)):
        return REFERENCE
    if value.dtype.names:
        return sum(size_of(np.asarray(value)[name]) for name in value.dtype.names)
    return sum(map(size_of, value.flat)) if value.dtype.hasobject else value.nbytes
