"""Flax's msgpack as a format that is only read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from paramctl.store.flax import INDEX, NAME, SHARDS_NAME
from paramctl.store.format import Format
from paramctl.store.location import Location
from paramctl.store.safetensors import TOTAL

if TYPE_CHECKING:
    from paramctl.store.checkpoint import Checkpoint

START = 512
FIRST_KEY = re.compile(
    rb"(?:[\x81-\x8f]|\xde(?!\0\0)..|\xdf(?!\0{4}).{4})"  # a map that is not empty
    rb"(?:([\xa1-\xbf])|\xd9(.)|\xda(..))",  # the length of a text
    re.DOTALL,
)
HUGGING_FACE = "flax_model.msgpack"
INDEX_START = 1 << 20
INDEX_OF_FLAX = re.compile(rb'"weight_map"\s*:\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*"[^"]*\.msgpack"')


class FlaxMsgpack(Format):
    """A map of names to arrays and to further maps."""

    name = NAME
    read_suffixes = (".msgpack",)

    def matches(self, location: Location) -> bool:
        start = location.read(0, START)
        head = FIRST_KEY.match(start)
        if head is None:
            return False
        # the first key is checked too: the first byte alone begins many other files
        short, *longer = head.groups()
        size = short[0] & 0x1F if short else int.from_bytes(longer[0] or longer[1], "big")
        key = start[head.end() : head.end() + size]
        try:
            return len(key) == size and key.decode().isprintable()
        except UnicodeDecodeError:
            return False

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.flax.read import read

        return read(location)

    def opens_folder(self, names: Sequence[str]) -> str | None:
        return HUGGING_FACE if HUGGING_FACE in names else None


class FlaxShards(Format):
    """A set of files, and ``flax_model.msgpack.index.json``, which names the file of each array."""

    name = SHARDS_NAME
    read_suffixes = (INDEX,)
    file_keys = frozenset({TOTAL})

    def matches(self, location: Location) -> bool:
        return location.read(0, 1) == b"{" and INDEX_OF_FLAX.search(location.read(0, INDEX_START)) is not None

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.flax.shards import read

        return read(location)

    def opens_folder(self, names: Sequence[str]) -> str | None:
        indexes = [name for name in names if name.endswith(INDEX)]
        return indexes[0] if len(indexes) == 1 else None
