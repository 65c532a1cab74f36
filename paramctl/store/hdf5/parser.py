"""The parser of HDF5 files: the offset of every array, and the values of those that have none.

It runs in the worker under limits, because the library may crash or hang before any check here. External links,
external storage, and virtual datasets lead out of the file: they are refused and never opened. A dataset that claims
more bytes than the file can hold is refused too.

https://support.hdfgroup.org/documentation/hdf5/latest/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
from h5py import h5o

from paramctl.store.hdf5.budget import Budget
from paramctl.store.hdf5.claims import MAX_CHUNK, Claims
from paramctl.store.hdf5.element_types import ElementTypes, plain_value
from paramctl.store.hdf5.native import METADATA_GROUP, NUMBERS, TEXTS
from paramctl.store.hdf5.refusal import Refused
from paramctl.store.hdf5.storage import check_inside, storage_of
from paramctl.store.hdf5.values import ValueReader
from paramctl.store.hdf5.walk import Walk
from paramctl.store.hdf5.window import Whole, Window


class Parser:
    """An open file.

    Args:
        whole: the file, or the file that contains it.
        begin, size: the part of the file that is HDF5, in bytes. A size of None is all that follows.
        data_size: the bytes of data, without holes, by which the number of objects is limited.
    """

    def __init__(self, whole: Whole, begin: int, size: int | None, data_size: int) -> None:
        by_name = whole.path is not None and not begin and size is None
        # the chunk cache holds one chunk of any size allowed, so that reading row by row inflates each chunk once
        self.file = h5py.File(
            whole.path if by_name else Window(whole, begin, size),
            "r",
            locking=False if by_name else None,
            rdcc_nbytes=MAX_CHUNK,
        )
        self.types = ElementTypes()
        self.claims = Claims(whole.size if size is None else size)
        self.budget = Budget(data_size)
        self.walk: Walk | None = None
        self.values = ValueReader(self.file)

    @property
    def path(self) -> str:
        """The path in the file at which the library works, or "" between walks."""
        return self.walk.path if self.walk else ""

    def list(self, texts: Sequence[str], lists: Sequence[str]) -> dict[str, Any]:
        """Return the contents of the file, as list_file describes them. Raises Refused."""
        metadata = self._metadata()
        root = h5o.open(self.file.id, b"/")
        self.walk = walk = Walk(self.claims, self.types, self.budget, metadata is not None, texts, lists)
        walk.visit_root(root)
        self.walk = None
        self.claims.check_together()
        return {
            "arrays": walk.arrays,
            "links": walk.links,
            "skipped": walk.skipped,
            "lost": walk.lost,
            "attributes": walk.attributes,
            "metadata": metadata,
            "groups": walk.groups,
        }

    def close(self) -> None:
        self.file.close()

    def _metadata(self) -> dict[str, Any] | None:
        """Return the contents of paramctl's metadata group, None without one."""
        # ask for the link, not for the object: an external link would be followed to another file
        if not isinstance(self.file.get(METADATA_GROUP, getlink=True, default=None), h5py.HardLink):
            return None
        group = self.file[METADATA_GROUP]
        metadata: dict[str, Any] = {}
        for name in TEXTS:
            if isinstance(group.get(name, getlink=True, default=None), h5py.HardLink):
                item = group[name]
                # fixed-length text only: variable-length text can claim any number of bytes
                if isinstance(item, h5py.Dataset) and item.shape == () and item.dtype.kind == "S":
                    metadata[name] = self._text(item, f"{METADATA_GROUP}/{name}")
        for name in NUMBERS:
            if name in group.attrs and isinstance(number := plain_value(group.attrs[name]), int):
                metadata[name] = number
        return metadata

    def _text(self, item: Any, path: str) -> str:
        """Return a scalar text, checked like any other dataset before it is read."""
        properties = item.id.get_create_plist()
        check_inside(properties, path)
        if not item.id.get_storage_size():  # such as external storage, which the library denies for a scalar
            raise Refused(f"{path} was never written")
        self.claims.add(storage_of(item.id, properties), (), self.types.of(item.id.get_type()), path)
        return bytes(item[()]).decode("utf-8", "replace")
