"""Arrays made of others by moving values: turned, cut, packed together; and a source of them.

A view sees an array under some shape, picks a range along each axis, and puts the axes in another order. An
arrangement joins views along an axis, or adds them. Both can be turned round: what an array is in terms of the others
follows from what the others are in terms of it. Values are made a slab at a time, so that memory is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array, cast, numpy_dtype
from paramctl.core.indexing import Selection, boxes
from paramctl.core.parameter import Parameter
from paramctl.errors import OutputError
from paramctl.init.engines.native import BLOCK_SIZE
from paramctl.model import Model
from paramctl.parallel import workers
from paramctl.source.base import BlockCache, Source
from paramctl.store.checkpoint import Provenance

SLABS_BYTES = 64 << 20
"""About how many bytes of arrays that are turned are made at once, by all threads together."""
LEAST_SLAB = 4 << 20
"""How many each makes at least: for every slab the array it is made of is passed over once."""
SLABS = 2
"""How many of those are kept for those who ask for parts of them."""


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
            back = tuple(int(at) for at in np.argsort(each.order))
            found.setdefault(each.path, []).append((each, view(name, arrangement.joined, back, **ranges)))
            place += count
    return {path: _put_together(pairs, shapes[path]) for path, pairs in found.items()}


def _put_together(pairs: Sequence[tuple[View, View]], shape: tuple[int, ...]) -> Arrangement:
    first = pairs[0][0]
    cut = [axis for axis, of in enumerate(first.ranges) if not _is_all(of, first.shape[axis])]
    axis = cut[0] if cut else 0
    ordered = sorted(pairs, key=lambda pair: pair[0].ranges[axis].start if pair[0].ranges else 0)
    return Arrangement(shape, tuple(other for _, other in ordered), axis)


class ArrangedSource(Source):
    """A source whose arrays are made of another's."""

    def __init__(self, base: Source, model: Model, made: Mapping[str, Arrangement]) -> None:
        super().__init__(model, seed=base.seed, checkpoint=base.checkpoint)
        self.base, self.made = base, made
        self._slabs = BlockCache(SLABS)

    @property
    def notes(self) -> dict[str, Provenance]:
        """How each array came by its values, where it has those of one other."""
        notes = self.base.notes
        known = {path: of.paths[0] for path, of in self.made.items() if len(of.paths) == 1 and not of.added}
        owners = {path: self.base.model.owner(old).path for path, old in known.items()}
        return {path: notes[old] for path, old in owners.items() if old in notes}

    def pieces(self, parameter: Parameter) -> Iterator[tuple[str, int, int]]:
        step = self._slab(parameter.path)
        for start in range(0, parameter.size, step):
            yield parameter.path, start, min(start + step, parameter.size)

    def _slab(self, path: str) -> int:
        """How many values of an array are best made at once: each time all of what it is made of is passed over."""
        of = self.made[path]
        if of.straight or not of.views:
            return BLOCK_SIZE
        most = max(SLABS_BYTES // workers(), LEAST_SLAB) // numpy_dtype(self.model.parameters[path].dtype).itemsize
        tail = next(size for axis in range(len(of.joined) + 1) if (size := prod(of.joined[axis:])) <= most)
        return most // max(tail, 1) * max(tail, 1)

    def read(self, path: str, start: int, stop: int) -> Array:
        of, dtype = self.made[path], self.model.parameters[path].dtype
        if start >= stop:
            return np.empty(0, numpy_dtype(dtype))
        try:
            if not of.views:
                return cast(np.full(stop - start, of.fill), dtype)
            if of.straight:
                return cast(self.base.read_alias(of.views[0].path, start, stop), dtype)
            return cast(self._from_slabs(path, start, stop), dtype)
        except OverflowError as error:
            raise OutputError(f"{path}: {error}") from error

    def _from_slabs(self, path: str, start: int, stop: int) -> Array:
        """Values that are moved; of a part of a slab all is made, and kept, for the rest is asked for next."""
        of, size = self.made[path], self._slab(path)
        whole = self.model.parameters[path].size
        if start % size == 0 and stop == min(start + size, whole):
            return self._moved(of, start, stop)
        parts = []
        for number in range(start // size, (stop - 1) // size + 1):
            begin = number * size
            make = partial(self._moved, of, begin, min(begin + size, whole))
            parts.append(self._slabs.get((path, number), make)[max(start - begin, 0) : stop - begin])
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _moved(self, of: Arrangement, start: int, stop: int) -> Array:
        """Values of an arrangement from one place to another in C order."""
        parts = [self._box(of, box).reshape(-1) for box in boxes(of.joined, start, stop)]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _box(self, of: Arrangement, box: Sequence[range]) -> Array:
        """A part of an arrangement, as far as possible without a copy."""
        if of.added:
            first, *others = (self._seen(each, box) for each in of.views)
            wide = np.result_type(first.dtype, np.float32) if first.dtype.kind in "fV" else first.dtype
            total: Array = sum((each.astype(wide) for each in others), first.astype(wide))
            return total
        parts, place = [], 0
        for each in of.views:
            count = each.gives[of.axis] if each.order else 1
            here = box[of.axis] if box else range(1)
            begin, end = max(here.start - place, 0), min(here.stop - place, count)
            if begin < end:
                parts.append(self._seen(each, (*box[: of.axis], range(begin, end), *box[of.axis + 1 :]) if box else ()))
            place += count
        return np.concatenate(parts, of.axis) if len(parts) > 1 else parts[0]

    def _seen(self, of: View, box: Sequence[range]) -> Array:
        """A part of what a view sees."""
        ranges = list(of.ranges)
        for axis, part in zip(of.order, box, strict=True):
            ranges[axis] = ranges[axis][part.start : part.stop]
        parameter, tie = self.base.model.parameters[of.path], self.base.model.tied.get(of.path)
        if tie is not None and tie.transpose and of.shape != parameter.shape:
            turned = of_owner(of._replace(ranges=tuple(ranges)), tie.kept, parameter.shape)
            if turned is None:
                whole = self.base.read_alias(of.path, 0, parameter.size).reshape(of.shape)
                return whole[np.ix_(*ranges)].transpose(of.order)
            of, ranges = turned, list(turned.ranges)
        sizes = tuple(map(len, ranges))
        found = np.empty(prod(sizes), numpy_dtype(self.base.model.owner(of.path).dtype))
        place = 0
        for piece in self.base.seen(of.path, of.shape, Selection(tuple(ranges), (False,) * len(ranges))):
            found[place : place + piece.size] = piece
            place += piece.size
        return found.reshape(sizes).transpose(of.order)
