"""A cache of what was read from the headers of open files, so that no command parses a header twice."""

from __future__ import annotations

from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from paramctl.store.location import Location

Value = TypeVar("Value")


class HeaderCache(Generic[Value]):
    """A value for each open file. A file that has changed since has none. No value may refer to its file."""

    def __init__(self) -> None:
        self.values: WeakKeyDictionary[Location, tuple[list[Any], Value]] = WeakKeyDictionary()

    def get(self, file: Location, *part: int | None) -> Value | None:
        """Return the value of a file, None without one. part: the offset and the size, if it is of a part."""
        facts, value = self.values.get(file, (None, None))
        return value if facts == [*file.fingerprint(), *part] else None

    def put(self, file: Location, value: Value, *part: int | None) -> None:
        """Keep a value until the file is closed, or the next value is put."""
        self.values[file] = [*file.fingerprint(), *part], value
