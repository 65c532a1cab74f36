"""A cursor over the header of a GGUF file, which is read forward, a window at a time."""

from __future__ import annotations

from struct import Struct
from typing import Any

from paramctl.store.location import Location

WINDOW = 1 << 20
"""The bytes to read at once."""
LENGTH = Struct("<Q")
LENGTH_32 = Struct("<I")


class Cursor:
    """A position in a file. Every method that moves it raises ValueError where the file ends before."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.start = self.offset = 0
        """The offset of the window in the file, and that of the cursor in the window."""
        self.window = b""

    @property
    def position(self) -> int:
        return self.start + self.offset

    def fill(self, size: int) -> None:
        """Let the window have this many bytes from the cursor on."""
        if self.offset + size <= len(self.window):
            return
        # a skip may have left the window, so the rest of it is not kept
        self.start, self.offset = self.position, 0
        self.window = self.location.read(self.start, max(size, WINDOW))
        if len(self.window) < size:
            raise ValueError(f"truncated within the header: it has more than {self.start + len(self.window):,} bytes")

    def number(self, struct: Struct) -> Any:
        self.fill(struct.size)
        (value,) = struct.unpack_from(self.window, self.offset)
        self.offset += struct.size
        return value

    def length(self) -> int:
        return int(self.number(LENGTH))

    def code(self) -> int:
        return int(self.number(LENGTH_32))

    def take(self, size: int) -> bytes:
        self.fill(size)
        self.offset += size
        return self.window[self.offset - size : self.offset]

    def skip(self, size: int) -> None:
        self.offset += size

    def skip_strings(self, count: int) -> None:
        """Skip strings. A vocabulary has hundreds of thousands, so this loop does the least that it can."""
        unpack = LENGTH.unpack_from
        while count:
            self.fill(LENGTH.size)
            window, offset, last = self.window, self.offset, len(self.window) - LENGTH.size
            while count and offset <= last:
                offset += LENGTH.size + unpack(window, offset)[0]
                count -= 1
            # the last string may end beyond the window, and the next fill begins there
            self.offset = offset

    def check_within_file(self) -> None:
        """Raise ValueError if bytes before the cursor are not in the file: skipped bytes are not read."""
        if self.position and not self.location.read(self.position - 1, 1):
            raise ValueError(f"truncated within the header: it has {self.position:,} bytes or more")
