"""Sharding: the assignment of arrays to the files of a set, and the names of the files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from paramctl.core.parameter import Parameter


def plan_shards(parameters: Iterable[Parameter], max_size: int) -> list[list[Parameter]]:
    """Assign arrays to files of at most ``max_size`` bytes, in order. A larger array gets a file to itself."""
    shards: list[list[Parameter]] = [[]]
    size = 0
    for parameter in parameters:
        if shards[-1] and size + parameter.bytes > max_size:
            shards.append([])
            size = 0
        shards[-1].append(parameter)
        size += parameter.bytes
    return shards


class ShardNames(NamedTuple):
    """The naming scheme of the files of a set: the set's stem, the file's number, and the number of files.

    ending: a regular expression for the part after the stem. start: the number of the first file.
    A *generation* is one writing of the set. A set that replaces another needs names that the old one does not have:
    w-00001-of-00002, then w-2-00001-of-00002.
    """

    template: str
    ending: str
    start: int

    def of(self, stem: str, count: int, generation: int) -> list[str]:
        """Return the names of a generation of ``count`` files.

        Later generations count from 1, so that they leave the name of the first file to the first generation.
        """
        start = self.start if generation == 1 else 1
        prefix = stem if generation == 1 else f"{stem}-{generation}"
        return [self.template.format(stem=prefix, number=start + k, count=count) for k in range(count)]

    def matches(self, stem: str, name: str) -> bool:
        """Return whether a file of a set with this stem, of any generation, can have this name."""
        return re.fullmatch(rf"{re.escape(stem)}(-[0-9]+)?{self.ending}", name) is not None
