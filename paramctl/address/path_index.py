"""An index of paths: a name finds its path, and everything below it, without a search through all paths."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property


class PathIndex:
    """The paths of parameters or blocks, in order. Names are joined by ``/``, whatever the paths are joined by."""

    def __init__(self, paths: Iterable[str], separator: str) -> None:
        self.order = {path: position for position, path in enumerate(paths)}
        self.separator = separator

    def exact(self, name: str) -> list[str]:
        """Return the path of this name, as a list of none or one."""
        path = name.replace("/", self.separator)
        return [path] if path in self.order else []

    def below(self, name: str) -> list[str]:
        """Return the paths below this name, in order."""
        names, paths = self._sorted
        start = bisect_left(names, f"{name}/")
        end = bisect_left(names, f"{name}0", start)  # 0 is the character after the slash
        return self.ordered(paths[start:end])

    def ordered(self, paths: Iterable[str]) -> list[str]:
        """Return those of the paths that the index has, in its order."""
        return sorted((path for path in paths if path in self.order), key=self.order.__getitem__)

    @cached_property
    def _sorted(self) -> tuple[list[str], list[str]]:
        """The names of all paths, sorted, and their paths."""
        pairs = sorted((path.replace(self.separator, "/"), path) for path in self.order)
        return [name for name, _ in pairs], [path for _, path in pairs]
