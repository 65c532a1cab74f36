"""Storages: the runs of bytes to which tensors refer, and where they are in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from paramctl.core.parameter import DTYPE_BYTES
from paramctl.store.location import Location
from paramctl.store.pickles.objects import Global
from paramctl.store.pickles.state import BadPickle

STORAGE_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "",
    "_UntypedStorage": "",
}
"""torch's name of each dtype, by the name of the class of a storage. The empty text is that of bytes without one."""
ITEM_BYTES = DTYPE_BYTES | {"": 1, "qint8": 1, "quint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1, "complex32": 4}
MAX_SIZE = 1 << 62


@dataclass(slots=True, eq=False)
class Storage:
    """A run of bytes.

    key: its name in the file.
    dtype: torch's name; empty if only the tensor knows it.
    size: in bytes.
    begin: the offset of its first byte in the file, or in the stream that ``inflate`` opens.
    inflate: opens the bytes of a compressed storage.
    encoded: the size in the file, if the file has each byte as a character of UTF-8.
    data: the bytes, if they are short and in the pickle.
    on_meta: True if it has no values.
    file: the file that has it; None for the one that has the pickle.
    """

    key: str
    dtype: str
    size: int
    begin: int = 0
    inflate: Callable[[], IO[bytes]] | None = None
    encoded: int = 0
    data: bytes | None = None
    on_meta: bool = False
    file: Location | None = None


def is_count(value: Any) -> bool:
    """Return whether a value of a pickle can be a size, a stride, or an offset."""
    return type(value) is int and 0 <= value < MAX_SIZE


def storage_of(pid: Any) -> Storage:
    """Return the storage that a persistent id describes, without its place. Raises BadPickle.

    pid: ("storage", class, key, device, number of values), in older files with a view as the sixth part.
    """
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
        raise BadPickle("a reference to data outside the pickle must be to a storage")
    _, class_, key, device, count = pid[:5]
    if not isinstance(class_, Global) or not isinstance(key, str) or not is_count(count):
        raise BadPickle("a reference to a storage must have a class, a key, a device, and a size")
    dtype = STORAGE_DTYPES.get(class_.name.rpartition(".")[2])
    if dtype is None or class_.name.partition(".")[0] != "torch":
        raise BadPickle(f"unknown class of a storage {class_.name!r}")
    return Storage(key, dtype, count * ITEM_BYTES[dtype], on_meta=device == "meta")
