"""Partitioned variables: put together from slices, each a box of the variable with values of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.core.indexing import boxes
from paramctl.store.contents import Reader
from paramctl.store.tensorflow.bundle import DTYPES, Entry, Slice

MAX_CUT_AXES = 8
Box = tuple[range, ...]


class Part(NamedTuple):
    """A slice: the key of its values, and its box in the variable."""

    key: str
    box: Box


class Partition(NamedTuple):
    """A partitioned variable. Its parts together are the whole of it."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    parts: tuple[Part, ...]


class PartitionReader:
    """A reader that puts partitioned variables together, and reads other arrays by themselves."""

    def __init__(self, reader: Reader, partitions: Mapping[str, Partition]) -> None:
        self.reader, self.partitions = reader, partitions

    def read(self, path: str, start: int, stop: int) -> Array:
        partition = self.partitions.get(path)
        if partition is None:
            return self.reader.read(path, start, stop)
        values, place = np.empty(stop - start, partition.dtype), 0
        for box in boxes(partition.shape, start, stop) if start < stop else ():
            sizes = [len(axis) for axis in box]
            region = values[place : place + prod(sizes)].reshape(sizes)
            for part in partition.parts:
                self._fill(region, box, part)
            place += region.size
        return values

    def _fill(self, region: Array, box: Box, part: Part) -> None:
        """Fill the region of a box with the values that a part has of it.

        The box is one of a range in C order: single indices, a range, and whole axes. So it is one run of the part too.
        """
        common = [range(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, part.box, strict=True)]
        if not all(common):
            return
        first = 0
        for axis, whole in zip(common, part.box, strict=True):
            first = first * len(whole) + axis.start - whole.start
        read = self.reader.read(part.key, first, first + prod(map(len, common)))
        target = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(common, box, strict=True))
        region[target] = read.reshape([len(axis) for axis in common])


def join_slices(name: str, entry: Entry, slices: Sequence[tuple[str, Slice, Entry]]) -> Partition:
    """Return a partitioned variable. Raises ValueError unless each value of it is in one slice.

    slices: the key of the values of each, its bounds, and its entry.
    """
    parts = tuple(Part(key, _box(name, bounds, entry.shape, part)) for key, bounds, part in slices)
    cut = [axis for axis, size in enumerate(entry.shape) if any(part.box[axis] != range(size) for part in parts)]
    if len(cut) > MAX_CUT_AXES:
        raise ValueError(f"{name} must be partitioned along at most {MAX_CUT_AXES} axes (got {len(cut)})")
    corners: Counter[tuple[int, ...]] = Counter()
    # Boxes fill a box exactly if their corners do, those with an odd number of ends counted negative: the count of
    # boxes over a place is the sum of the corners before it.
    whole = tuple(map(range, entry.shape))
    for box, weight in [*((part.box, 1) for part in parts), (whole, -1)]:
        for ends in product((False, True), repeat=len(cut)):
            corner = tuple(box[axis].stop if end else box[axis].start for axis, end in zip(cut, ends, strict=True))
            corners[corner] += -weight if sum(ends) % 2 else weight
    if any(corners.values()):
        raise ValueError(f"the slices of {name} leave a gap, or overlap")
    return Partition(entry.shape, numpy_dtype(DTYPES[entry.dtype]), parts)


def _box(name: str, bounds: Slice, shape: Sequence[int], part: Entry) -> Box:
    """Return the box of a slice. Raises ValueError unless its sizes are those of its entry's shape."""
    if len(bounds) != len(shape):
        raise ValueError(f"a slice of {name} must have {len(shape)} axes (got {len(bounds)})")
    sizes = tuple(size if length < 0 else length for (_, length), size in zip(bounds, shape, strict=True))
    if any(start < 0 for start, _ in bounds) or sizes != part.shape:
        raise ValueError(f"a slice of {name} must have its entry's shape {part.shape} (got {sizes})")
    return tuple(range(start, start + size) for (start, _), size in zip(bounds, sizes, strict=True))
