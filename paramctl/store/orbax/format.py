"""Orbax as a format: a folder, opened by the file that has the names of its arrays. It is only read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from paramctl.store.format import Format
from paramctl.store.location import Location
from paramctl.store.orbax import (
    AGGREGATE,
    MAIN_ITEMS,
    MANIFEST,
    MANIFEST_START,
    NAME,
    NUMBERED,
    OTHERS,
    PLACEHOLDER,
    PLACEHOLDER_WITHIN,
    STEP,
    TREE,
)

if TYPE_CHECKING:
    from paramctl.store.checkpoint import Checkpoint

TREE_START = re.compile(rb'\s*\{[^{}]{0,200}"tree_metadata"\s*:')
START = 512
OF_TENSORFLOW = re.compile(r"\.(index|meta|data-[0-9]{5}-of-[0-9]{5})$")


class Orbax(Format):
    """A file of JSON that names the arrays, and TensorStore's files beside it."""

    name = NAME

    def matches(self, location: Location) -> bool:
        start = location.read(0, START)
        if start.startswith(MANIFEST_START) or TREE_START.match(start):
            return True
        # a map of msgpack begins with such a byte
        return start[:1] >= b"\x80" and PLACEHOLDER.encode() in location.read(0, PLACEHOLDER_WITHIN)

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.orbax import files

        return files.read(location)

    def opens_folder(self, names: Sequence[str]) -> str | None:
        """Return the file with the names, or the folder with it: an item of a step, or the latest step of several."""
        if TREE in names:
            return TREE
        others = [name for name in names if name != AGGREGATE and not name.startswith((".", "_"))]
        # TensorFlow has a file of this name too, beside nothing but checkpoints
        if AGGREGATE in names and others and not any(map(OF_TENSORFLOW.search, others)):
            return AGGREGATE
        if MANIFEST in names:
            return MANIFEST
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
