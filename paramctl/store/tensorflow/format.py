"""TensorFlow's checkpoints as a format."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from paramctl.store.format import Format
from paramctl.store.location import Location
from paramctl.store.tensorflow import BUNDLE, FIRST_VERSION, INDEX, NAME, START_BYTES, STATE_START

if TYPE_CHECKING:
    from paramctl.store.checkpoint import Checkpoint

DATA = re.compile(r"\.data-[0-9]{5}-of-[0-9]{5}$")
SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")


class TensorFlow(Format):
    """An index with its data files; the file that names the latest checkpoint; the folder of a SavedModel."""

    name = NAME
    read_suffixes = (INDEX,)

    def matches(self, location: Location) -> bool:
        start = location.read(0, START_BYTES)
        return start.startswith(STATE_START) or any(kind.match(start) for kind in (BUNDLE, FIRST_VERSION))

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.tensorflow import reading

        return reading.read(location)

    def opens_folder(self, names: Sequence[str]) -> str | None:
        if any(name in names for name in SAVED_MODEL) and "variables" in names:
            return "variables/variables.index"
        indexes = [name for name in names if name.endswith(INDEX)]
        if indexes and "checkpoint" in names:
            return "checkpoint"
        return indexes[0] if len(indexes) == 1 and any(DATA.search(name) for name in names) else None

    def opens_path(self, path: str) -> str | None:
        prefix = DATA.sub("", path)
        if (prefix == path) is os.path.lexists(path):  # a file of another kind, or a data file that is missing
            return None
        return f"{prefix}{INDEX}" if os.path.isfile(f"{prefix}{INDEX}") else None
