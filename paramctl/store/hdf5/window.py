"""The files that the worker reads, and a part of one as a file, such as a stored member of a zip."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, Protocol

from paramctl.store.hdf5.limits import size_of_data
from paramctl.store.hdf5.refusal import Refused


class Whole(Protocol):
    """A file. path: by which the HDF5 library opens it, None if it must read through a Python file.

    size: in bytes. data_size: without its holes.
    """

    size: int
    data_size: int

    @property
    def path(self) -> str | None: ...

    def read_into(self, offset: int, view: memoryview) -> int: ...


def open_whole(file: dict[str, Any], ask: Callable[[int, int], bytes]) -> Whole:
    """Open the file of a request; see SharedFile in listing.py. ask: returns bytes of a file that has no path."""
    return ParentFile(file["bytes"], ask) if file["path"] is None else NamedFile(file["path"], file["by_name"])


class NamedFile:
    """A file of this machine. by_name: False for the spool of a pipe."""

    def __init__(self, path: str, by_name: bool) -> None:
        self.path: str | None = path if by_name else None
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115  open as long as this object
        self.size = os.fstat(self.file.fileno()).st_size
        self.data_size = size_of_data(path)

    def read_into(self, offset: int, view: memoryview) -> int:
        return os.preadv(self.file.fileno(), [view], offset)


class ParentFile:
    """A file behind a URL, for whose bytes the worker asks its parent."""

    path: str | None = None

    def __init__(self, size: int, ask: Callable[[int, int], bytes]) -> None:
        self.size = self.data_size = size
        self.ask = ask

    def read_into(self, offset: int, view: memoryview) -> int:
        data = self.ask(offset, len(view)) if view else b""
        if view and not data:  # the parent has the reason
            raise Refused("cannot be read")
        view[: len(data)] = data
        return len(data)


class Window(io.RawIOBase):
    """A part of a file, read as a file.

    Args:
        whole: the whole file.
        begin: the offset of the part, in bytes.
        size: its size in bytes, None for all that follows.
    """

    def __init__(self, whole: Whole, begin: int = 0, size: int | None = None) -> None:
        self.whole, self.begin = whole, begin
        self.size = whole.size - begin if size is None else size
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        view = view[: max(0, self.size - self.position)]  # never the bytes of the next member
        done = self.whole.read_into(self.begin + self.position, view)
        self.position += done
        return done
