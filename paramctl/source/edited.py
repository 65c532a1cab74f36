"""A source with assignments applied to it, piece by piece, when values are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from paramctl.core.dtypes import Array, compute_dtype
from paramctl.core.indexing import Region, Selection, selected_regions
from paramctl.core.parameter import Parameter
from paramctl.errors import OutputError
from paramctl.init.rules import AssignedScheme
from paramctl.source.arithmetic import Number, compute, count_changed, to_dtype
from paramctl.source.base import Derived, Source
from paramctl.source.drawn import Drawn
from paramctl.store.contents import Piece, Recorded, RecordedSum


class Change(NamedTuple):
    """One assignment to one array.

    path: the path of the array.
    name: the parameter that the assignment names, which may be another name of the array. It has the selection.
    transpose: True if that parameter is the array's transpose.
    operator: ``=``, ``+=``, ``-=``, ``*=`` or ``/=``.
    text: the assignment as written, for errors.
    """

    path: str
    name: str
    selection: Selection
    transpose: bool
    operator: str
    value: Array | Number | AssignedScheme
    text: str


@dataclass(frozen=True, slots=True)
class Tally:
    """The number of values of an array that have changed, and the largest absolute difference.

    max_abs: NaN or infinite if a value that has changed is, before or after.
    """

    count: int = 0
    max_abs: float = 0.0

    def add(self, changed: Changed) -> Tally:
        # Python's max would let a NaN disappear
        return Tally(self.count + changed.count, float(np.maximum(self.max_abs, changed.max_abs)))


@dataclass(frozen=True, slots=True)
class Changed:
    """A piece after all changes: its values, the number that differ, and the largest absolute difference.

    before: the values of the base, the same array if no change touches the piece.
    """

    count: int
    max_abs: float
    values: Array
    before: Array


class Edited(Derived):
    """A source with changes applied in order."""

    def __init__(self, base: Source, changes: Sequence[Change], seed: int, **options: Any) -> None:
        self.by_path: dict[str, list[Change]] = {}
        for change in changes:
            self.by_path.setdefault(change.path, []).append(change)
        provenance = {path: value for path, value in base.origin.provenance.items() if path not in self.by_path}
        origin = replace(base.origin, provenance=provenance)
        super().__init__(base, base.model, origin, "assign", seed=seed, **options)
        self._drawn = self._draw_schemes(changes, seed)
        self.changes = tuple(changes)  # kept alive: their identities are the keys of _drawn

    def _draw_schemes(self, changes: Sequence[Change], seed: int) -> dict[int, Drawn]:
        """Return a source for the values of each assigned scheme, in the dtype in which they are computed."""
        schemes = [change for change in changes if isinstance(change.value, AssignedScheme)]
        if not schemes:
            return {}
        as_drawn = self.model.map_parameters(_in_compute_dtype)
        return {
            id(change): Drawn(as_drawn, {change.name: change.value}, seed)
            for change in schemes
            if isinstance(change.value, AssignedScheme)
        }

    def recorded_sums(self) -> Mapping[str, RecordedSum]:
        sums = self.base.recorded_sums() if isinstance(self.base, Recorded) else {}
        return {path: digest for path, digest in sums.items() if path not in self.by_path}

    def touched(self) -> Iterator[Piece]:
        """Yield the pieces that a change may touch."""
        for path in self.by_path:
            owner = self.model.parameters[path]
            yield from (piece for piece in self.pieces(owner) if self.touches(*piece))

    def touches(self, path: str, start: int, stop: int) -> bool:
        """Return whether a change may touch a piece."""
        low, high = self._spans[path]
        return start < high and stop > low

    @cached_property
    def _spans(self) -> dict[str, tuple[int, int]]:
        """The flat indices of each changed array from the first to behind the last value that a change selects."""
        spans = {}
        for path, changes in self.by_path.items():
            each = [_flat_span(change, self.model.parameters[path]) for change in changes]
            spans[path] = (min(span.start for span in each), max(span.stop for span in each))
        return spans

    def count_changes(self) -> dict[str, Tally]:
        """Return the changes of each array that some change touches. Reads their values."""
        counted: dict[str, Tally] = {}
        for piece in self.touched():
            counted[piece[0]] = counted.get(piece[0], Tally()).add(self.read_changed(*piece))
        return counted

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.read_changed(path, start, stop).values

    def read_changed(self, path: str, start: int, stop: int) -> Changed:
        """Read a piece, and compare it with the base."""
        before = self.base.read(path, start, stop)
        after = before
        for change in self.by_path.get(path, ()):
            after = self._apply(change, after, start)
        count, max_abs = (0, 0.0) if after is before else count_changed(before, after)
        return Changed(count, max_abs, after, before)

    def _apply(self, change: Change, values: Array, start: int) -> Array:
        """Apply a change to values that begin at a flat index of the array."""
        owner = self.model.parameters[change.path]
        try:
            # without copies of the values, which cost as much as the arithmetic
            if change.selection.everything and isinstance(change.value, Number) and change.operator != "=":
                return to_dtype(compute(change.operator, values, change.value, owner.dtype), owner.dtype)
            return self._apply_to_regions(change, owner, values, start)
        except OverflowError as error:
            raise OutputError(f"{change.text}: {error}") from error

    def _apply_to_regions(self, change: Change, owner: Parameter, values: Array, start: int) -> Array:
        """Return a copy of the values in which the selected ones are changed. Raises OverflowError."""
        ranges = change.selection.ranges[::-1] if change.transpose else change.selection.ranges
        regions = list(selected_regions(owner.shape, ranges, start, start + values.size))
        if not regions:
            return values
        operands = self._operands(change, regions)
        result = values.copy()
        # with an axis, because a sum of two objects without one is no array
        selected = [
            np.atleast_1d(result[region.begin : region.end].reshape(region.shape)[region.places]) for region in regions
        ]
        # every result is checked before the first cast: the error does not depend on how the piece is cut
        computed = [
            compute(change.operator, values, operand, owner.dtype)
            for values, operand in zip(selected, operands, strict=True)
        ]
        for target, numbers in zip(selected, computed, strict=True):
            target[...] = to_dtype(numbers, owner.dtype)
        return result

    def _operands(self, change: Change, regions: Sequence[Region]) -> Iterator[Array | Number]:
        """Yield the assigned value for each region, or its values there."""
        if isinstance(change.value, Number):
            yield from [change.value] * len(regions)
            return
        shape = self.model.parameters[change.name].shape
        if isinstance(change.value, AssignedScheme):
            yield from self._drawn_values(change, shape, regions)
            return
        whole = np.broadcast_to(change.value, change.selection.shape)
        # one axis for each of the array that has more than one value, as in a region
        index = [
            None if drop else slice(None) if size > 1 else 0
            for drop, size in zip(change.selection.dropped, shape, strict=True)
            if size > 1 or not drop
        ]
        whole = whole[(*index, ...)]
        for region in regions:
            yield (whole.T if change.transpose else whole)[region.positions]

    def _drawn_values(self, change: Change, shape: Sequence[int], regions: Sequence[Region]) -> Iterator[Array]:
        """Yield a scheme's values for each region.

        The scheme is drawn for the whole parameter, so a value does not depend on the selection.
        """
        ranges = [axis for axis, size in zip(change.selection.ranges, shape, strict=True) if size > 1]
        steps = [prod(shape[axis + 1 :]) for axis, size in enumerate(shape) if size > 1]
        grids = []  # of flat indices: the first, and the number and distance of the others along each axis
        for region in regions:
            positions = region.positions[-2::-1] if change.transpose else region.positions[:-1]
            axes = [axis[position] for axis, position in zip(ranges, positions, strict=True)]
            first = sum(axis[0] * step for axis, step in zip(axes, steps, strict=True))
            grids.append((first, [(len(axis), axis.step * step) for axis, step in zip(axes, steps, strict=True)]))
        low = min(first + sum(min(0, (size - 1) * step) for size, step in grid) for first, grid in grids)
        high = max(first + sum(max(0, (size - 1) * step) for size, step in grid) for first, grid in grids)
        values = self._drawn[id(change)].read(change.name, low, high + 1)
        for first, grid in grids:
            strides = [step * values.strides[0] for _, step in grid]
            drawn = as_strided(values[first - low :], [size for size, _ in grid], strides, writeable=False)
            yield drawn.T if change.transpose else drawn


def _in_compute_dtype(parameter: Parameter) -> Parameter:
    return replace(parameter, initializer=None, dtype=str(compute_dtype(parameter.dtype)))


def _flat_span(change: Change, owner: Parameter) -> range:
    """Return the flat indices from the first to the last value that a change selects."""
    ranges = change.selection.ranges[::-1] if change.transpose else change.selection.ranges
    if not change.selection.size:
        return range(0)
    low = high = 0
    for axis, size in zip(ranges, owner.shape, strict=True):
        low, high = low * size + min(axis[0], axis[-1]), high * size + max(axis[0], axis[-1])
    return range(low, high + 1)
