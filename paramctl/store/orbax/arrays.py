"""The arrays of an Orbax checkpoint, by TensorStore, which is an extra: ``paramctl[orbax]``.

TensorStore gets a description of where an array is. It is made here, from the checkpoint's folder and the array's name
alone, and it never comes from a file.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.core.indexing import boxes
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.errors import InputError
from paramctl.store.orbax import MANIFEST

MAX_CHUNK = 4 << 30
"""The bytes of a chunk, which is decompressed as a whole."""
MIN_CACHE = 64 << 20
MAX_MESSAGE = 300
MAX_ARRAYS = 100_000


class StoredArray(NamedTuple):
    """An array in a checkpoint. chunk: the bytes that are read at once, at least."""

    shape: tuple[int, ...]
    dtype: str
    chunk: int


def tensorstore(place: str) -> Any:
    """Return the library. Raises InputError without it."""
    try:
        import tensorstore as library
    except ImportError as error:
        rule = "reading Orbax checkpoints requires tensorstore: pip install 'paramctl[orbax]'"
        raise InputError(f"{place}: {rule}") from error
    return library


@contextmanager
def _errors_at(place: str) -> Iterator[None]:
    """Turn the errors of TensorStore into InputError, with the first line of its message."""
    try:
        yield
    except (ValueError, KeyError, IndexError, TypeError, RuntimeError, OSError, MemoryError) as error:
        # the message goes on with the description of the store and with places in TensorStore's sources
        text = " ".join(re.split(r"[\[{]", str(error))[0].split())[:MAX_MESSAGE].rstrip(" :")
        raise InputError(f"{place}: damaged ({text or type(error).__name__})") from error


class Arrays:
    """The arrays of a folder, by their stored names. Safe to share between threads.

    place: the name of the opened file, for errors.
    is_complete: True if every value is stored, so that a missing chunk is an error.
    """

    def __init__(self, place: str, folder: str, zarr3: bool, is_complete: bool) -> None:
        self.library, self.place, self.folder = tensorstore(place), place, folder
        self.zarr3, self.is_complete = zarr3, is_complete
        self.context = self.library.Context()
        self.stores: dict[str, Any] = {}
        self.lock = threading.Lock()

    def names(self) -> list[str]:
        """Return the names of all arrays in the database."""
        with _errors_at(self.place):
            keys = self.library.KvStore.open(self._place(), context=self.context).result().list().result()
        # each array has a file of metadata and its chunks: w/.zarray, w/0.0
        texts = [key.decode("utf-8", "replace") for key in keys]
        ending = self._metadata_file()
        return [text.removesuffix(ending) for text in texts if text.endswith(ending)]

    def uses_zarr3(self) -> bool:
        with _errors_at(self.place):
            keys = self.library.KvStore.open(self._place(), context=self.context).result().list().result()
        return any(key.endswith(b"/zarr.json") for key in keys)

    def inspect(self, names: Sequence[str]) -> dict[str, StoredArray]:
        """Return the shapes, dtypes and chunks of arrays, without reading values. Raises InputError."""
        if len(names) > MAX_ARRAYS:
            raise InputError(f"{self.place}: may have at most {MAX_ARRAYS:,} arrays (got {len(names):,})")
        # opened together: each waits for a read of the disk
        with _errors_at(self.place):
            pending = {name: self.library.open(self._spec(name), **self._options()) for name in names}
        arrays = {}
        for name, future in pending.items():
            with _errors_at(f"{self.place}: {name}"):
                store = future.result()
                dtype, shape = str(store.dtype.name), tuple(map(int, store.shape))
                chunk = prod(store.chunk_layout.read_chunk.shape or ()) * DTYPE_BYTES.get(dtype, 1)
            if chunk > MAX_CHUNK:
                raise InputError(
                    f"{self.folder}: {name} has chunks of {chunk:,} bytes; at most {MAX_CHUNK:,} are allowed"
                )
            arrays[name] = StoredArray(shape, dtype, chunk)
        # a chunk stays in memory while the pieces of the array in it are read one after another
        limit = max(MIN_CACHE, 2 * max((array.chunk for array in arrays.values()), default=0))
        self.context = self.library.Context({"cache_pool": {"total_bytes_limit": limit}})
        return arrays

    def read(self, name: str, selection: tuple[slice, ...]) -> Array:
        with _errors_at(f"{self.place}: {name}"):
            # opened once, by the first of the threads that want it
            with self.lock:
                if name not in self.stores:
                    self.stores[name] = self.library.open(self._spec(name), **self._options()).result()
            return np.asarray(self.stores[name][selection].read().result())

    def _options(self) -> dict[str, Any]:
        return {"open": True, "read": True, "context": self.context}

    def _metadata_file(self) -> str:
        return "/zarr.json" if self.zarr3 else "/.zarray"

    def _place(self, name: str = "") -> dict[str, Any]:
        folder = os.path.abspath(self.folder)
        if os.path.exists(os.path.join(folder, MANIFEST)):
            base = {"driver": "file", "path": f"{folder}/"}
            return {"driver": "ocdbt", "base": base, "path": name and f"{name}/"}
        return {"driver": "file", "path": f"{folder}/{name}/"}

    def _spec(self, name: str) -> dict[str, Any]:
        return {
            "driver": "zarr3" if self.zarr3 else "zarr",
            "kvstore": self._place(name),
            # by default a lost chunk is read as zeros
            "fill_missing_data_reads": not self.is_complete,
        }


class ArrayReader:
    """A reader of arrays by their paths. names: the stored name of each. stored: its shape and dtype."""

    def __init__(self, arrays: Arrays, names: Mapping[str, str], stored: Mapping[str, StoredArray]) -> None:
        self.arrays, self.names, self.stored = arrays, names, stored

    def read(self, path: str, start: int, stop: int) -> Array:
        stored = self.stored[path]
        if start == stop:
            return np.empty(0, numpy_dtype(stored.dtype))
        pieces = [
            self.arrays.read(self.names[path], tuple(slice(axis.start, axis.stop) for axis in box)).reshape(-1)
            for box in boxes(stored.shape, start, stop)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
