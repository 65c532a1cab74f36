"""torch's distributed checkpoints as a format that is only read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paramctl.store.dcp import INDEX, NAME
from paramctl.store.format import Format
from paramctl.store.location import Location

if TYPE_CHECKING:
    from paramctl.store.checkpoint import Checkpoint

MODULE = b"torch.distributed.checkpoint.metadata"
START = 256
"""Bytes in which the pickle names the class of its only object."""


class Distributed(Format):
    """A folder with files of many processes. Its index is a pickle, which names the parts of each tensor."""

    name = NAME
    read_suffixes = (INDEX,)

    def matches(self, location: Location) -> bool:
        return location.read(0, 1) == b"\x80" and MODULE in location.read(0, START)

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.dcp.read import read

        return read(location)

    def opens_folder(self, names: Sequence[str]) -> str | None:
        return INDEX if INDEX in names else None
