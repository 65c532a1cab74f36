"""Two sources side by side: the names that both have, and the names that share an array on each side."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from paramctl.core.dtypes import Array
from paramctl.model import shared_text
from paramctl.source.base import Source
from paramctl.store.contents import read_alias


class SharedArray(NamedTuple):
    """The array under a name, identified by its first common name. transposed: relative to that name."""

    first: str
    transposed: bool


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two sources.

    paths: the source's own path for each name.
    shared: the array under each common name. The first common name identifies it, so two files agree even if each
        keeps the array under another name.
    owners: the name that keeps the array under each common name; the first common name if only the other side lacks
        the one that keeps it.
    """

    source: Source
    paths: Mapping[str, str]
    shared: Mapping[str, SharedArray]
    owners: Mapping[str, str]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.source.model.parameters[self.paths[name]].shape

    def dtype(self, name: str) -> str:
        return self.source.model.owner(self.paths[name]).dtype

    def read(self, name: str, start: int, stop: int) -> Array:
        return read_alias(self.source, self.paths[name], start, stop)

    def ties(self, name: str, other: str) -> tuple[bool, bool]:
        """Return whether two common names share an array, and whether one is the transpose of the other."""
        one, two = self.shared[name], self.shared[other]
        return one.first == two.first, one.transposed != two.transposed

    def describe(self, name: str) -> str:
        """Return the shape and the dtype of a parameter, and the name that keeps its array if another does."""
        text = f"{self.shape(name)} {self.dtype(name)}"
        owner = self.owners.get(name)
        if owner is not None:
            return text if owner == name else f"{text} {shared_text(owner, self.ties(name, owner)[1])}"
        tie = self.source.model.tied.get(self.paths[name])
        if tie is None:
            return text
        kept = next(known for known, path in self.paths.items() if path == tie.kept)
        return f"{text} {shared_text(kept, tie.transpose)}"


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two sources side by side. Names are A's.

    common: the names that both have, in A's order.
    included: the names to compare; None for all.
    """

    a: Side
    b: Side
    common: tuple[str, ...]
    included: Collection[str] | None = None

    def in_a(self) -> list[str]:
        """Return the names of A to compare."""
        return [name for name in self.a.paths if self._is_included(name)]

    def only_in_b(self) -> list[str]:
        return [name for name in self.b.paths if name not in self.a.paths and self._is_included(name)]

    def compared(self) -> Iterator[str]:
        """Yield the names whose values are compared: those with equal shapes, and an array that has two names once."""
        seen = set()
        for name in filter(self._is_included, self.common):
            in_a, in_b = self.a.shared[name], self.b.shared[name]
            if self.a.shape(name) != self.b.shape(name) or (in_a == in_b and in_a.first in seen):
                continue
            # both sides share it alike, so that its other names have the same difference
            if in_a == in_b:
                seen.add(in_a.first)
            yield name

    def arrays(self) -> list[str]:
        """Return a name for each array of either side: names that share one array on both sides count once."""
        return [
            *(name for name in self.a.paths if name not in self.b.paths or not self._is_repeated(name)),
            *self.only_in_b(),
        ]

    def _is_repeated(self, name: str) -> bool:
        """Return True if both sides have the same array under an earlier common name."""
        return self.a.shared[name].first != name and self.a.shared[name] == self.b.shared[name]

    def _is_included(self, name: str) -> bool:
        return self.included is None or name in self.included

    def ties_differ(self, name: str) -> bool:
        """Return True if one side ties a name to another that keeps its array, and the other side does not.

        Two names of one array agree, whichever of them keeps it.
        """
        return any(
            owner != name and self.a.ties(name, owner) != self.b.ties(name, owner)
            for owner in (self.a.owners[name], self.b.owners[name])
        )


def pair(a: Source, b: Source, name_in_b: Callable[[str], str], included: Collection[str] | None = None) -> Pairing:
    """Return two sources side by side.

    name_in_b: maps the path of a parameter of B to its name. included: the names to compare; None for all.
    """
    paths_in_a = {path: path for path in a.model.parameters}
    paths_in_b = {name_in_b(path): path for path in b.model.parameters}
    common = tuple(path for path in paths_in_a if path in paths_in_b)
    return Pairing(_side(a, paths_in_a, common), _side(b, paths_in_b, common), common, included)


def _side(source: Source, paths: Mapping[str, str], common: Iterable[str]) -> Side:
    model = source.model
    of_path = {paths[name]: name for name in common}
    first: dict[str, tuple[str, bool]] = {}
    shared, owners = {}, {}
    for name in common:
        path = paths[name]
        tie = model.tied.get(path)
        kept = tie.kept if tie else path
        transposed = tie is not None and tie.transpose and len(model.parameters[path].axes) > 1
        leader, leader_transposed = first.setdefault(kept, (name, transposed))
        shared[name] = SharedArray(leader, transposed != leader_transposed)
        owners[name] = of_path.get(kept, leader)
    return Side(source, paths, shared, owners)
