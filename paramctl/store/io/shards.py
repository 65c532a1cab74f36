"""How a set of files is cut: which arrays each gets, and how they are called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from paramctl.core.parameter import Parameter


def plan(parameters: Iterable[Parameter], most: int) -> list[list[Parameter]]:
    """Which arrays each file gets: filled in order, an array over the limit alone in its own."""
    shards: list[list[Parameter]] = [[]]
    filled = 0
    for parameter in parameters:
        if shards[-1] and filled + parameter.bytes > most:
            shards.append([])
            filled = 0
        shards[-1].append(parameter)
        filled += parameter.bytes
    return shards


class ShardNames(NamedTuple):
    """What the files of a set are called: by the set's stem, each one's number, and their count.

    ending: a pattern of what follows the stem. start: the first number.
    """

    template: str
    ending: str
    start: int

    def of(self, stem: str, count: int, generation: int) -> list[str]:
        """The names of so many files. Later generations begin with 1, and leave another stem the name of its first."""
        start = self.start if generation == 1 else 1
        whole = stem if generation == 1 else f"{stem}-{generation}"
        return [self.template.format(stem=whole, number=start + k, count=count) for k in range(count)]

    def has(self, stem: str, name: str) -> bool:
        """Whether a file of a set with this stem, of any generation, is called so."""
        return re.fullmatch(rf"{re.escape(stem)}(-[0-9]+)?{self.ending}", name) is not None
