"""Limits on the objects and paths of a file, for both readers of its metadata."""

from __future__ import annotations

from paramctl.store.hdf5.native import MAX_OBJECTS, MAX_PATH
from paramctl.store.hdf5.refusal import Refused

MIN_OBJECTS = 1_000
BYTES_PER_OBJECT = 16
MAX_CHARACTERS = 4_000_000
"""Characters of all paths together, in addition to one for each byte of data."""


class Budget:
    """Limits on the objects and paths of a file, by the bytes of data in it.

    Objects are counted once for each path: 40 groups, each with two links to the next, make 2^40 paths.
    """

    def __init__(self, data_size: int) -> None:
        self.max_objects = min(MAX_OBJECTS, MIN_OBJECTS + data_size // BYTES_PER_OBJECT)
        self.max_characters = MAX_CHARACTERS + data_size
        self.objects = self.characters = 0

    def path_of(self, name: bytes, prefix: str) -> str:
        """Return the path of a link, after a check of its name. Raises Refused, also beyond the limits."""
        try:
            text = name.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Refused(f"a name in {prefix or '/'} is not text in UTF-8") from error
        # the library would take the link "out/w" for a path, and open another object than the one listed
        if b"/" in name or not name or name == b".":
            raise Refused(f"{prefix or '/'} holds the name {text!r}, which HDF5 does not allow")
        path = f"{prefix}{text}"
        self.objects += 1
        self.characters += len(path)
        if self.objects > self.max_objects:
            raise Refused(f"links lead to more than {self.max_objects:,} objects, counted once for each path")
        if len(path) > MAX_PATH or self.characters > self.max_characters:
            rule = f"{MAX_PATH:,} characters, and all paths together {self.max_characters:,}"
            raise Refused(f"a path may have at most {rule}")
        return path
