"""A part of a file as a file of its own, such as a member of a zip that is stored as it is."""

from __future__ import annotations

import io
import os
from typing import Any


class Window(io.RawIOBase):
    """A part of a file as a file."""

    def __init__(self, path: str, begin: int, size: int | None) -> None:
        self.whole = open(path, "rb", buffering=0)  # noqa: SIM115  read as long as this is
        self.begin = begin
        self.size = os.fstat(self.whole.fileno()).st_size - begin if size is None else size
        self.place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence]
        return self.place

    def tell(self) -> int:
        return self.place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        view = view[: max(0, self.size - self.place)]
        done = os.preadv(self.whole.fileno(), [view], self.begin + self.place)
        self.place += done
        return done
