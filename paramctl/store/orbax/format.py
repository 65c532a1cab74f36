"""Orbax as a format: a folder, opened by the file that has the names of its arrays. It is only read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from paramctl.errors import OutputError
from paramctl.store.format import Format
from paramctl.store.location import Location
from paramctl.store.orbax import MAIN_ITEMS, MANIFEST, NAME, NUMBERED, OTHERS, STEP, TREE

if TYPE_CHECKING:
    from paramctl.store.checkpoint import Checkpoint
    from paramctl.store.contents import Contents
    from paramctl.store.io.write_values import WriteOptions, Written

TREE_START = re.compile(rb'\s*\{\s*"tree_metadata"\s*:')
MANIFEST_START = b"\x0c\xdb\x3a\x2a"


class Orbax(Format):
    """A file of JSON that names the arrays, and TensorStore's files beside it."""

    name = NAME
    suffixes = ()
    writable = False

    def matches(self, location: Location) -> bool:
        return TREE_START.match(location.read(0, 64)) is not None or location.read(0, 4) == MANIFEST_START

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.orbax import files

        return files.read(location)

    def write(self, path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
        raise OutputError(f"{path}: {NAME} is only read")

    def opens_folder(self, names: Sequence[str]) -> str | None:
        """Return the file with the names, or the folder with it: an item of a step, or the latest step of several."""
        for file in (TREE, MANIFEST):
            if file in names:
                return file
        # a step has a folder for each item, such as default, or state and metrics
        items = [name for name in names if name not in OTHERS]
        # older versions write no file beside the only item
        if STEP in names or set(items) == {MAIN_ITEMS[0]}:
            main = [name for name in MAIN_ITEMS if name in items] or (items if len(items) == 1 else [])
            return main[0] if main else None
        steps = [match for match in map(NUMBERED.fullmatch, names) if match]
        if not steps or len({match["prefix"] for match in steps}) > 1 or not _only_steps(names):
            return None
        # by number: 10 comes after 9
        return max(steps, key=lambda match: int(match["step"]))[0]


def _only_steps(names: Sequence[str]) -> bool:
    """Return whether a folder has nothing but steps, finished or not, and files whose names begin with a dot or _."""
    return all(
        NUMBERED.fullmatch(name) or ".orbax-checkpoint-tmp" in name or name.startswith((".", "_")) or name == "metadata"
        for name in names
    )
