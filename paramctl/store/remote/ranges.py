"""The protocol of a file that is read by ranges."""

from __future__ import annotations

from typing import Any, Protocol


class Ranges(Protocol):
    """A remote file of one version.

    name: for errors, without credentials.
    size: in bytes, None until the first answer has told it.
    """

    name: str
    size: int | None

    def fetch(self, start: int, stop: int) -> bytes | bytearray:
        """Return the bytes from one offset to another, fewer only at the end of the file.

        Raises InputError, and MissingFile if the file does not exist.
        """

    def address(self) -> str | None:
        """Return the URL that opens the file again, None if it has credentials."""

    def version(self) -> list[Any]:
        """Return facts of which one changes whenever the file does, such as its ETag."""

    def sibling(self, name: str) -> Ranges:
        """Return another file of the same folder, without a request."""
