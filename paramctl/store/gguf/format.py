"""GGUF as a format: a file, or a set of files that its first one opens. It is only read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from paramctl.store.format import Format
from paramctl.store.gguf import MAGIC, NAME, SUFFIX
from paramctl.store.location import Location

if TYPE_CHECKING:
    from paramctl.store.checkpoint import Checkpoint

LATER_FILE = re.compile(r"-(?!00001-)[0-9]{5}-of-[0-9]{5}\.gguf$")


class Gguf(Format):
    """A header, then the values."""

    name = NAME
    read_suffixes = (SUFFIX,)

    def matches(self, location: Location) -> bool:
        return location.read(0, len(MAGIC)) == MAGIC

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.gguf import files

        return files.read(location)

    def opens_folder(self, names: Sequence[str]) -> str | None:
        """Return the only file, or the first of the only set."""
        # w-00002-of-00003.gguf is part of the set that w-00001-of-00003.gguf opens
        first = [name for name in names if name.lower().endswith(SUFFIX) and not LATER_FILE.search(name)]
        return first[0] if len(first) == 1 else None
