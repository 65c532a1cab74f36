"""The state of the pickle machine: a window of the pickle's bytes, the stack, the marks, and the memo."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from paramctl.store.pickles.objects import Global

MAX_CONTAINERS = 1_000_000
"""Dicts, lists, and sets, which cost the most memory for a byte of pickle."""
MAX_BYTES = 1 << 28
"""Bytes of a pickle without its long strings."""
CHUNK = 1 << 20
SLACK = 1024
"""Bytes that an opcode and its argument have at most, long strings aside."""


class BadPickle(ValueError):
    """A pickle that is damaged, over a limit, or of a form that no pickler writes. The caller adds the file's name."""


class Unsupported(BadPickle):
    """A pickle that is not damaged, but has content that is not read."""


class Source(Protocol):
    """Bytes that are read at any offset; see Location."""

    def read(self, offset: int, size: int) -> bytes: ...


class BytesSource:
    """Bytes in memory as a source."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


PersistentLoad = Callable[[Any], Any]
Calls = Mapping[str, Callable[..., Any]]
NO_CALLS: Calls = {}


class Machine:
    """The state of one pickle.

    base: the offset in the source of the window's first byte. low: the index in it from which the window moves on.
    """

    def __init__(
        self, source: Source, start: int, stop: int, persistent_load: PersistentLoad | None, calls: Calls
    ) -> None:
        self.source, self.base, self.stop = source, start, stop
        self.persistent_load, self.calls = persistent_load, calls
        self.data, self.low, self.left = b"", -1, MAX_BYTES
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.globals: dict[str, Global] = {}
        self.containers = 0

    def slide(self, index: int, size: int = SLACK) -> int:
        """Move the window so that it begins at an index and has so many bytes, if the source does. Return 0."""
        self.base += index
        kept = self.data[index:]
        wanted = min(max(CHUNK, size), self.stop - self.base) - len(kept)
        read = self.source.read(self.base + len(kept), wanted) if wanted > 0 else b""
        self.left -= len(read)
        if self.left < 0:
            raise BadPickle(f"the pickle has more than {MAX_BYTES:,} bytes besides its arrays")
        self.data = kept + read
        # at the end the window never moves, so that a missing byte is an IndexError
        is_end = len(read) < wanted or self.base + len(self.data) >= self.stop
        self.low = sys.maxsize if is_end else len(self.data) - SLACK
        return 0

    def skip(self, index: int, size: int) -> int:
        """Move the window behind so many bytes, which are not read. Return the index in it of the byte behind them."""
        if self.base + index + size > self.stop:
            raise BadPickle(f"the pickle ends within a string of {size:,} bytes")
        if index + size <= len(self.data):
            return index + size
        self.base += index + size
        self.data, self.low = b"", -1
        return self.slide(0)

    def take(self, index: int, size: int) -> tuple[bytes, int]:
        """Return so many bytes, and the index behind them. The window may move."""
        if index + size > len(self.data):
            index = self.slide(index, size + SLACK)
        value = self.data[index : index + size]
        if len(value) < size:
            raise BadPickle("the pickle is truncated")
        return value, index + size

    def count_container(self) -> None:
        self.containers += 1
        if self.containers > MAX_CONTAINERS:
            raise BadPickle(f"the pickle has more than {MAX_CONTAINERS:,} dicts, lists, and sets")

    def pop_mark(self) -> list[Any]:
        """Remove and return the values above the last mark."""
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def global_of(self, name: str) -> Global:
        return self.globals.setdefault(name, Global(name))
