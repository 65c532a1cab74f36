"""Arrays in parts: each part is a box of the array, and has its values in C order.

The parts may be anywhere, such as in the files of several processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.core.indexing import boxes

MAX_CUT_AXES = 8
Box = Sequence[range]
"""A range for each axis of an array."""


class BoxPart(NamedTuple):
    """A part of an array. read: returns its values from one index to another, flat, in C order."""

    box: Box
    read: Callable[[int, int], Array]


def check_filled(name: str, shape: Sequence[int], parts: Sequence[Box]) -> None:
    """Raise ValueError unless each value of an array is in exactly one of these boxes, and nothing outside is."""
    filled = [box for box in parts if all(box)]
    if not filled and 0 in shape:  # an array without values needs no parts
        return
    cut = [axis for axis, size in enumerate(shape) if any(box[axis] != range(size) for box in filled)]
    if len(cut) > MAX_CUT_AXES:
        raise ValueError(f"{name} must be in parts along at most {MAX_CUT_AXES} axes (got {len(cut)})")
    corners: Counter[tuple[int, ...]] = Counter()
    # Boxes fill a box exactly if their corners do, those with an odd number of ends counted negative: the count of
    # boxes over a place is the sum of the corners before it.
    for box, weight in [*((box, 1) for box in filled), (tuple(map(range, shape)), -1)]:
        for ends in product((False, True), repeat=len(cut)):
            corner = tuple(box[axis].stop if end else box[axis].start for axis, end in zip(cut, ends, strict=True))
            corners[corner] += -weight if sum(ends) % 2 else weight
    if any(corners.values()):
        raise ValueError(f"the parts of {name} leave a gap, or overlap")


def read_boxes(shape: Sequence[int], dtype: str, parts: Sequence[BoxPart], start: int, stop: int) -> Array:
    """Return the values of an array from one index to another. The parts fill the array, see check_filled."""
    values: Array = np.empty(stop - start, numpy_dtype(dtype))
    place = 0
    for box in boxes(shape, start, stop) if start < stop else ():
        sizes = [len(axis) for axis in box]
        region = values[place : place + prod(sizes)].reshape(sizes)
        for part in parts:
            _fill(region, box, part)
        place += region.size
    return values


def _fill(region: Array, box: Box, part: BoxPart) -> None:
    """Fill the region of a box with the values that a part has of it.

    The box is one of a range in C order: single indices, a range, and whole axes. So it is one run of the part too.
    """
    common = [range(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, part.box, strict=True)]
    if not all(common):
        return
    first = 0
    for axis, whole in zip(common, part.box, strict=True):
        first = first * len(whole) + axis.start - whole.start
    values = part.read(first, first + prod(map(len, common)))
    target = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(common, box, strict=True))
    region[target] = values.reshape([len(axis) for axis in common])
