"""The files that torch.save wrote before torch 1.6: five pickles, then the bytes of each storage after their number.

The pickles are a magic number, the version, facts of the machine, the object, and the keys of the storages in order.
"""

from __future__ import annotations

from typing import Any

from paramctl.store.pickles.machine import unpickle_from
from paramctl.store.pickles.state import BadPickle, Source, Unsupported
from paramctl.store.torch.storages import ITEM_BYTES, Storage, is_count, storage_of

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
COUNT_BYTES = 8


class Legacy:
    """An open file. storages: those that the pickle names, by key. views: parts of storages, by root and place."""

    def __init__(self, file: Source, start: int, stop: int) -> None:
        self.file, self.start, self.stop = file, start, stop
        self.storages: dict[str, Storage] = {}
        self.views: dict[tuple[str, int, int], tuple[Storage, Storage, int]] = {}

    def root(self) -> tuple[Any, int]:
        """Return the object of the file, whose storages have their places, and the offset behind them.

        start is the offset behind the magic number, in the file or in a part of it. Raises BadPickle.
        """
        version, offset = unpickle_from(self.file, self.start, self.stop)
        machine, offset = unpickle_from(self.file, offset, self.stop)
        if version != VERSION or not isinstance(machine, dict):
            raise Unsupported(f"unsupported version of torch.save {version!r}")
        if machine.get("little_endian") is False:
            raise Unsupported("unsupported byte order big")
        root, offset = unpickle_from(self.file, offset, self.stop, self.load)
        keys, offset = unpickle_from(self.file, offset, self.stop)
        return root, self.place(keys, offset)

    def load(self, pid: Any) -> Any:
        """Return the storage of a persistent id, or the class in a record of a module's source code."""
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid[1]
        storage = storage_of(pid)
        root = self.storages.setdefault(storage.key, storage)
        if root.dtype != storage.dtype or root.size != storage.size:
            raise BadPickle(f"the storage {storage.key!r} has two sizes or dtypes")
        view = pid[5] if len(pid) > 5 else None
        if view is None:
            return root
        if not isinstance(view, tuple) or len(view) != 3 or not is_count(view[1]) or not is_count(view[2]):
            raise BadPickle("a view of a storage must have a key, an offset, and a size")
        itemsize = ITEM_BYTES[root.dtype]
        first, size = view[1] * itemsize, view[2] * itemsize
        if first + size > root.size:
            raise BadPickle("a view ends behind its storage")
        # the place of the root is known only after the pickle
        part = Storage(root.key, root.dtype, size)
        return self.views.setdefault((root.key, first, size), (part, root, first))[0]

    def place(self, keys: Any, offset: int) -> int:
        """Give each storage its place, and return the offset behind the last. Raises BadPickle.

        The bytes of each follow the number of its values.
        """
        listed = keys if isinstance(keys, list) and all(isinstance(key, str) for key in keys) else []
        if set(listed) != self.storages.keys() or len(listed) != len(self.storages):
            raise BadPickle("the keys of the storages are not those of the tensors")
        for key in listed:
            storage = self.storages[key]
            count = int.from_bytes(self.file.read(offset, COUNT_BYTES), "little")
            storage.begin = offset + COUNT_BYTES
            offset = storage.begin + storage.size
            if count * ITEM_BYTES[storage.dtype] != storage.size:
                raise BadPickle(f"the storage {key!r} has {count:,} values, but its tensors need others")
            if offset > self.stop:
                raise BadPickle(f"truncated within the storage {key!r}")
        for part, root, first in self.views.values():
            part.begin = root.begin + first
        return offset
