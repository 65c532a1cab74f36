"""A range of a file as a file of its own."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from paramctl.errors import InputError
from paramctl.store.location import Location, PositionedFile


class Window:
    """A range of a location. A read beyond its end returns fewer bytes than requested."""

    def __init__(self, whole: Location, offset: int, size: int) -> None:
        self.whole, self.offset, self.bytes = whole, offset, size
        self.name, self.connections = whole.name, whole.connections
        self.others: Sequence[str] = ()

    def read(self, offset: int, size: int) -> bytes:
        return self.whole.read(self.offset + offset, max(0, min(size, self.bytes - offset)))

    def read_into(self, offset: int, buffer: memoryview) -> int:
        return self.whole.read_into(self.offset + offset, buffer[: max(0, self.bytes - offset)])

    def size(self) -> int:
        return self.bytes

    def descriptor(self) -> int:
        raise InputError(f"{self.name}: a part of the file has no descriptor")

    def as_file(self) -> io.RawIOBase:
        return PositionedFile(self)

    def address(self) -> str | None:
        return None

    def fingerprint(self) -> list[Any]:
        return self.whole.fingerprint()

    def sibling(self, name: str) -> Location:
        return self.whole.sibling(name)

    def close(self) -> None:
        """Do nothing: the whole file stays open for its other parts."""
