"""The values of a GGUF file's keys, read within a budget: numbers, texts and lists of these."""

from __future__ import annotations

from struct import Struct
from typing import Any

from paramctl.store.contents import Omitted
from paramctl.store.gguf.cursor import Cursor

MAX_KEY = (1 << 16) - 1
"""The bytes of a key, by the specification."""
MAX_KEYS = 1 << 16
MAX_LISTED = 1_000
"""The items of an array that is read. A vocabulary has more; it is skipped."""
MAX_TEXT = 1 << 20
"""The bytes of a text that is read."""
MAX_TEXTS = 16 << 20
"""The bytes of all texts that are read."""
MAX_STRINGS = 4_000_000
"""The strings of all arrays. The largest vocabularies have a million, with their merges."""
MAX_DEPTH = 8

STRING, ARRAY, BOOL = 8, 9, 7
NUMBERS = {
    code: Struct(f"<{letter}")
    for code, letter in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "B",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
"""The numbers by the code of their type."""


class ValueReader:
    """A reader of the values of keys, one after another."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.texts, self.strings = MAX_TEXTS, MAX_STRINGS
        """The bytes and the strings that may still be read."""

    def key(self) -> str:
        """Return the next key, or the name of a tensor."""
        size = self.cursor.length()
        if size > MAX_KEY:
            raise ValueError(f"a name may have at most {MAX_KEY:,} bytes (got {size:,})")
        try:
            name = self.cursor.take(size).decode()
        except UnicodeDecodeError as error:
            raise ValueError("a name must be text in UTF-8") from error
        if not name or "\0" in name:
            raise ValueError(f"a name must be neither empty nor have a NUL (got {name[:60]!r})")
        return name

    def value(self, depth: int = 0) -> Any:
        """Return the next value; an Omitted for one that is too large to keep, or no text in UTF-8."""
        return self.of_type(self.cursor.code(), depth)

    def of_type(self, code: int, depth: int) -> Any:
        if code == STRING:
            return self.text()
        if code == ARRAY:
            return self.array(depth)
        # without its size, an unknown type hides where the next key begins
        if code not in NUMBERS:
            raise ValueError(f"unknown type {code} of a value")
        number = self.cursor.number(NUMBERS[code])
        return bool(number) if code == BOOL else number

    def text(self) -> str | Omitted:
        size = self.cursor.length()
        # a template of a chat has some 10,000 bytes
        if size > min(MAX_TEXT, self.texts):
            self.cursor.skip(size)
            return Omitted(f"a text of {size:,} bytes")
        self.texts -= size
        try:
            return self.cursor.take(size).decode()
        except UnicodeDecodeError:
            return Omitted(f"{size:,} bytes that are not UTF-8")

    def array(self, depth: int) -> list[Any] | Omitted:
        if depth >= MAX_DEPTH:
            raise ValueError(f"arrays are nested deeper than {MAX_DEPTH} levels")
        code, count = self.cursor.code(), self.cursor.length()
        if code in (STRING, ARRAY):
            # each takes eight bytes of the file, and some time to skip
            self.strings -= count
            if self.strings < 0:
                raise ValueError(f"arrays may have at most {MAX_STRINGS:,} texts and arrays")
        elif code not in NUMBERS:
            raise ValueError(f"unknown type {code} of the items of an array")
        if code == ARRAY:
            return self.nested(count, depth)
        words = f"{count:,} {'texts' if code == STRING else 'numbers'}"
        if count <= MAX_LISTED:
            items = [self.of_type(code, depth) for _ in range(count)]
            return Omitted(words) if any(isinstance(item, Omitted) for item in items) else items
        if code == STRING:
            self.cursor.skip_strings(count)
        else:
            self.cursor.skip(count * NUMBERS[code].size)
        return Omitted(words)

    def nested(self, count: int, depth: int) -> list[Any] | Omitted:
        """Return an array of arrays."""
        items: list[Any] = []
        complete = True
        for _ in range(count):
            item = self.array(depth + 1)
            # items are read to the last, because the next value begins after them
            complete = complete and len(items) < MAX_LISTED and not isinstance(item, Omitted)
            if complete:
                items.append(item)
        return items if complete else Omitted(f"{count:,} arrays")
