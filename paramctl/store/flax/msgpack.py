"""msgpack, read item by item within a budget. https://github.com/msgpack/msgpack/blob/master/spec.md

Every error is a ValueError that completes "damaged (...)".
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from paramctl.store.location import Location

WINDOW = 1 << 16
"""Bytes that are read at once, so that small items share a read."""
MAX_ITEMS = 500_000
MAX_TEXT = 1 << 20
"""Bytes of a text."""

TEXT, BYTES, EXTENSION, LIST, MAP, VALUE = "text", "bytes", "an extension", "a list", "a map", "a value"

NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
SIZED = {
    0xD9: (TEXT, 1),
    0xDA: (TEXT, 2),
    0xDB: (TEXT, 4),
    0xC4: (BYTES, 1),
    0xC5: (BYTES, 2),
    0xC6: (BYTES, 4),
    0xDC: (LIST, 2),
    0xDD: (LIST, 4),
    0xDE: (MAP, 2),
    0xDF: (MAP, 4),
    0xC7: (EXTENSION, 1),
    0xC8: (EXTENSION, 2),
    0xC9: (EXTENSION, 4),
}
"""The kind of an item whose size follows, and the bytes of that number."""
FIXED_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}


class Item(NamedTuple):
    """The head of an item.

    kind: one of the constants above. size: its bytes, or its number of items. code: of an extension.
    value: of a VALUE: a number, a truth value, or None.
    """

    kind: str
    size: int = 0
    value: float | None = None
    code: int = 0


class Cursor:
    """A position in a file, from which items are read in order."""

    def __init__(self, location: Location) -> None:
        self.location, self.end = location, location.size()
        self.position, self.items = 0, 0
        self.buffer, self.base = b"", 0

    def take(self, size: int) -> bytes:
        """Return the bytes from the position on, and move behind them. Raises ValueError at the end of the file."""
        start = self.position - self.base
        if not 0 <= start <= start + size <= len(self.buffer):
            self.buffer, self.base, start = self.location.read(self.position, max(size, WINDOW)), self.position, 0
            if size > len(self.buffer):
                raise ValueError("truncated")
        self.position += size
        return self.buffer[start : start + size]

    def skip(self, size: int) -> int:
        """Move behind bytes that are not read, and return their offset. Raises ValueError beyond the file's end."""
        begin = self.position
        if size > self.end - begin:
            raise ValueError(f"truncated: {size:,} bytes at {begin:,} end beyond {self.end:,} bytes")
        self.position += size
        return begin

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def head(self) -> Item:
        """Read the head of an item. What follows it is left to the caller. Raises ValueError."""
        self.items += 1
        if self.items > MAX_ITEMS:
            raise ValueError(f"a file must have at most {MAX_ITEMS:,} items")
        first = self.take(1)[0]
        if first < 0x80:
            return Item(VALUE, value=first)
        if first >= 0xE0:
            return Item(VALUE, value=first - 0x100)
        if first < 0xC0:  # small sizes are in the byte itself
            return Item(
                MAP if first < 0x90 else LIST if first < 0xA0 else TEXT, first & (0x1F if first >= 0xA0 else 0xF)
            )
        if first in CONSTANTS:
            return Item(VALUE, value=CONSTANTS[first])
        if first in NUMBERS:
            layout = NUMBERS[first]
            return Item(VALUE, value=struct.unpack(layout, self.take(struct.calcsize(layout)))[0])
        if first in FIXED_EXTENSIONS:
            return Item(EXTENSION, FIXED_EXTENSIONS[first], code=self.number(1))
        if first not in SIZED:
            raise ValueError(f"an item begins with the byte {first:#x}, which begins none")
        kind, width = SIZED[first]
        size = self.number(width)
        return Item(kind, size, code=self.number(1) if kind == EXTENSION else 0)

    def text(self, size: int) -> str:
        """Read a text. Raises ValueError if it is too long, or not UTF-8."""
        if size > MAX_TEXT:
            raise ValueError(f"a text must have at most {MAX_TEXT:,} bytes (got {size:,})")
        try:
            return self.take(size).decode()
        except UnicodeDecodeError as error:
            raise ValueError("a text must be UTF-8") from error
