"""Arrays described as rearrangements of other arrays: reshaped, sliced, transposed, concatenated, summed.

A View describes one array: reshape it, take a range of each axis, permute the axes. An Arrangement concatenates views
along an axis, or sums them. `inverse` solves a set of arrangements for the arrays that they rearrange.

Nothing here reads values; see source/arranged.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple


class View(NamedTuple):
    """An array, reshaped to `shape`, with a range of each axis, and the axes permuted as in numpy.transpose."""

    path: str
    shape: tuple[int, ...]
    ranges: tuple[range, ...]
    axes: tuple[int, ...]

    @property
    def result_shape(self) -> tuple[int, ...]:
        return tuple(len(self.ranges[axis]) for axis in self.axes)

    @property
    def is_identity(self) -> bool:
        """True if it has all values of the array, in the array's own order."""
        axes = tuple(axis for axis in self.axes if self.shape[axis] != 1)  # axes of size 1 may move freely
        return axes == tuple(sorted(axes)) and all(map(_is_whole, self.ranges, self.shape))


def view(path: str, shape: Sequence[int], axes: Sequence[int] | None = None, **ranges: range) -> View:
    """Return a view of a whole array, except for axes whose range is given: ``axis0=range(2, 4)``.

    axes: the permutation; None keeps the order.
    """
    all_ranges = tuple(ranges.get(f"axis{axis}", range(size)) for axis, size in enumerate(shape))
    return View(path, tuple(shape), all_ranges, tuple(range(len(shape)) if axes is None else axes))


def of_owner(view: View, path: str, shape: Sequence[int]) -> View | None:
    """Return a view of an array's transpose as a view of the array itself; None if no single view can express it.

    view: a view of the transpose. path: the array. shape: the transpose's shape.
    """
    groups = [[axis] for axis in range(len(shape))] if view.shape == tuple(shape) else axis_groups(view.shape, shape)
    if not groups:
        return None
    # Transposing reverses the axes of `shape`, but keeps the order within the axes that one of them was split into.
    axes = [axis for group in reversed(groups) for axis in group]
    ranges = tuple(view.ranges[axis] for axis in axes)
    return View(path, tuple(view.shape[axis] for axis in axes), ranges, tuple(map(axes.index, view.axes)))


def axis_groups(fine: Sequence[int], coarse: Sequence[int]) -> list[list[int]]:
    """Return, for each axis of a coarse shape, the axes of a finer shape that it was split into; [] if it was not.

    (4, 3, 2) refines (12, 2): [[0, 1], [2]].
    """
    groups: list[list[int]] = []
    axis = 0
    for size in coarse:
        start = axis
        while axis < len(fine) and prod(fine[start:axis]) < size:
            axis += 1
        groups.append(list(range(start, axis)))
        if prod(fine[start:axis]) != size:
            return []
    if groups and prod(fine[axis:]) == 1:
        groups[-1] += range(axis, len(fine))
        return groups
    return []


def _is_whole(indices: range, size: int) -> bool:
    return indices == range(size)


@dataclass(frozen=True)
class Arrangement:
    """An array of this shape: views concatenated along `axis`, or summed, then reshaped; without views, all `fill`."""

    shape: tuple[int, ...]
    views: tuple[View, ...] = ()
    axis: int = 0
    summed: bool = False
    fill: float = 0.0

    @cached_property
    def joined_shape(self) -> tuple[int, ...]:
        """The shape before the final reshape."""
        first = self.views[0].result_shape
        if self.summed:
            return first
        size = sum(view.result_shape[self.axis] for view in self.views)
        return (*first[: self.axis], size, *first[self.axis + 1 :])

    @property
    def is_identity(self) -> bool:
        """True if it has the values of one array, in the array's own order."""
        return len(self.views) == 1 and self.views[0].is_identity

    @property
    def paths(self) -> tuple[str, ...]:
        """The arrays that it rearranges, each once."""
        return tuple(dict.fromkeys(view.path for view in self.views))


def inverse(arrangements: Mapping[str, Arrangement], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Arrangement]:
    """Return the arrangements that rebuild the original arrays from the rearranged ones, by the original's path.

    Each value of an original must be in exactly one rearranged array, in views that slice at most one of its axes.
    A view may also reverse whole axes.

    arrangements: the rearranged arrays by name. shapes: the shapes of the originals by path.
    """
    pairs: dict[str, list[tuple[View, View]]] = {}  # a view of an original, and the same values in a rearranged array
    for name, arrangement in arrangements.items():
        start = 0
        for part in arrangement.views:
            axis, size = arrangement.axis, part.result_shape[arrangement.axis]
            ranges = {f"axis{axis}": range(start, start + size)}
            for place, old in enumerate(part.axes):  # a mirror image is its own inverse
                if part.ranges[old].step < 0:
                    ranges[f"axis{place}"] = ranges.get(f"axis{place}", range(part.result_shape[place]))[::-1]
            axes = tuple(map(part.axes.index, range(len(part.axes))))  # the inverse permutation
            pairs.setdefault(part.path, []).append((part, view(name, arrangement.joined_shape, axes, **ranges)))
            start += size
    return {path: _joined(parts, shapes[path]) for path, parts in pairs.items()}


def _joined(pairs: Sequence[tuple[View, View]], shape: tuple[int, ...]) -> Arrangement:
    """Return the arrangement that joins the second views in the order in which the first ones slice the array."""
    first = pairs[0][0]
    sliced = [axis for axis, indices in enumerate(first.ranges) if len(indices) < first.shape[axis]]
    axis = sliced[0] if sliced else 0
    in_order = sorted(pairs, key=lambda pair: pair[0].ranges[axis].start if pair[0].ranges else 0)
    return Arrangement(shape, tuple(other for _, other in in_order), axis)
