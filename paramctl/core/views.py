"""Arrays described as rearrangements of other arrays: reshaped, sliced, transposed, joined, added.

A View reshapes an array, takes a range of each axis, and permutes the axes. An Arrangement joins views along an axis,
or adds them. `inverse` solves a set of arrangements for the arrays that they are made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple


class View(NamedTuple):
    """An array seen under a shape: of each axis a range, and the axes in an order."""

    path: str
    shape: tuple[int, ...]
    ranges: tuple[range, ...]
    order: tuple[int, ...]

    @property
    def gives(self) -> tuple[int, ...]:
        """The shape of what is seen."""
        return tuple(len(self.ranges[axis]) for axis in self.order)

    @property
    def straight(self) -> bool:
        """Whether it is all of the array, in its own order."""
        axes = tuple(axis for axis in self.order if self.shape[axis] != 1)
        return axes == tuple(sorted(axes)) and all(map(_is_all, self.ranges, self.shape))


def view(path: str, shape: Sequence[int], order: Sequence[int] | None = None, **ranges: range) -> View:
    """A view of all of an array, but for the ranges of axes given as ``axis0=range(...)``."""
    every = tuple(ranges.get(f"axis{axis}", range(size)) for axis, size in enumerate(shape))
    return View(path, tuple(shape), every, tuple(range(len(shape)) if order is None else order))


def of_owner(seen: View, path: str, shape: Sequence[int]) -> View | None:
    """What is seen of an array of this shape, in the array of which that is the transpose; None if no view tells it."""
    groups = [[place] for place in range(len(shape))] if seen.shape == tuple(shape) else _groups(seen.shape, shape)
    if not groups:
        return None
    places = [each for group in reversed(groups) for each in group]
    ranges = tuple(seen.ranges[each] for each in places)
    return View(path, tuple(seen.shape[each] for each in places), ranges, tuple(map(places.index, seen.order)))


def _groups(fine: Sequence[int], shape: Sequence[int]) -> list[list[int]]:
    """Which axes of a finer shape are each of a shape's; none if it is not finer."""
    groups: list[list[int]] = []
    axis = 0
    for size in shape:
        begin = axis
        while axis < len(fine) and prod(fine[begin:axis]) < size:
            axis += 1
        groups.append(list(range(begin, axis)))
        if prod(fine[begin:axis]) != size:
            return []
    if groups and prod(fine[axis:]) == 1:
        groups[-1] += range(axis, len(fine))
        return groups
    return []


def _is_all(of: range, size: int) -> bool:
    return of == range(size)


@dataclass(frozen=True)
class Arrangement:
    """An array: views joined along an axis, or added, then seen under its own shape; ``fill`` where there are none."""

    shape: tuple[int, ...]
    views: tuple[View, ...] = ()
    axis: int = 0
    added: bool = False
    fill: float = 0.0

    @cached_property
    def joined(self) -> tuple[int, ...]:
        """The shape before it is seen under its own."""
        first = self.views[0].gives
        if self.added:
            return first
        size = sum(each.gives[self.axis] for each in self.views)
        return (*first[: self.axis], size, *first[self.axis + 1 :])

    @property
    def straight(self) -> bool:
        """Whether it has the values of one array in its own order."""
        return len(self.views) == 1 and self.views[0].straight

    @property
    def paths(self) -> tuple[str, ...]:
        """What it is made of."""
        return tuple(dict.fromkeys(each.path for each in self.views))


def inverse(made: Mapping[str, Arrangement], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Arrangement]:
    """What each of the arrays of these shapes is in terms of those that are made of them.

    Each value of it must stand in one of those once, in views that cut at most one of its axes.
    """
    found: dict[str, list[tuple[View, View]]] = {}  # a view of the array, and of the other one where that stands
    for name, arrangement in made.items():
        place = 0
        for each in arrangement.views:
            axis, count = arrangement.axis, each.gives[arrangement.axis]
            ranges = {f"axis{axis}": range(place, place + count)}
            back = tuple(map(each.order.index, range(len(each.order))))
            found.setdefault(each.path, []).append((each, view(name, arrangement.joined, back, **ranges)))
            place += count
    return {path: _put_together(pairs, shapes[path]) for path, pairs in found.items()}


def _put_together(pairs: Sequence[tuple[View, View]], shape: tuple[int, ...]) -> Arrangement:
    first = pairs[0][0]
    cut = [axis for axis, of in enumerate(first.ranges) if not _is_all(of, first.shape[axis])]
    axis = cut[0] if cut else 0
    ordered = sorted(pairs, key=lambda pair: pair[0].ranges[axis].start if pair[0].ranges else 0)
    return Arrangement(shape, tuple(other for _, other in ordered), axis)
