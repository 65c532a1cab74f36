"""A part of a file as a file, such as a stored member of a zip."""

from __future__ import annotations

import io
import os
from typing import Any


class Window(io.RawIOBase):
    """A part of a file, read as a file.

    Args:
        path: the whole file.
        begin: the offset of the part, in bytes.
        size: its size in bytes, None for all that follows.
    """

    def __init__(self, path: str, begin: int, size: int | None) -> None:
        self.whole = open(path, "rb", buffering=0)  # noqa: SIM115  open as long as the window
        self.begin = begin
        self.size = os.fstat(self.whole.fileno()).st_size - begin if size is None else size
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
        done = os.preadv(self.whole.fileno(), [view], self.begin + self.position)
        self.position += done
        return done
