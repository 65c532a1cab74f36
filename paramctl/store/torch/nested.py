"""Plain pickles of tensors: pickle.dump stores each storage as bytes, which are a file of torch.save themselves."""

from __future__ import annotations

from typing import Any

from paramctl.store.location import Location
from paramctl.store.pickles.machine import unpickle_from
from paramctl.store.pickles.objects import Record, Span
from paramctl.store.pickles.state import BadPickle, BytesSource, Source, Unsupported
from paramctl.store.torch.legacy import MAGIC, Legacy
from paramctl.store.torch.storages import Storage

LOAD = "torch.storage._load_from_bytes"
"""torch's function that loads such bytes."""


class Nested:
    """A reader of the storages of one plain pickle. The long ones stay in its file."""

    def __init__(self, file: Location) -> None:
        self.file = file

    def load(self, data: Any = None, *rest: Any) -> Storage:
        """Return the storage in the bytes that torch's function would load. Raises BadPickle."""
        if isinstance(data, Span) and not data.is_text:
            return _storage(self.file, data.offset, data.offset + data.size)
        if isinstance(data, Record) and data.name == "_codecs.encode" and data.args:  # protocol 2
            data = data.args[0].encode("latin-1") if isinstance(data.args[0], str) else data.args[0]
        if isinstance(data, Span):
            raise Unsupported("tensors in a plain pickle must have protocol 3 or later. Save them with torch.save")
        if not isinstance(data, bytes):
            raise BadPickle("the bytes of a storage are missing")
        storage = _storage(BytesSource(data), 0, len(data))
        storage.data = data[storage.begin : storage.begin + storage.size]
        return storage


def _storage(source: Source, start: int, stop: int) -> Storage:
    magic, offset = unpickle_from(source, start, stop)
    storage = Legacy(source, offset, stop).root()[0] if magic == MAGIC else None
    if not isinstance(storage, Storage):
        raise BadPickle("the bytes of a storage must be those of torch.save")
    return storage
