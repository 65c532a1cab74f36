"""Partitioned variables: put together from slices, each a box of the variable with values of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from paramctl.core.dtypes import Array
from paramctl.store.contents import Reader
from paramctl.store.io.boxes import BoxPart, check_filled, read_boxes
from paramctl.store.tensorflow.bundle import DTYPES, Entry, Slice

Box = tuple[range, ...]


class Part(NamedTuple):
    """A slice: the key of its values, and its box in the variable."""

    key: str
    box: Box


class Partition(NamedTuple):
    """A partitioned variable. Its parts together are the whole of it."""

    shape: tuple[int, ...]
    dtype: str
    parts: tuple[Part, ...]


class PartitionReader:
    """A reader that puts partitioned variables together, and reads other arrays by themselves."""

    def __init__(self, reader: Reader, partitions: Mapping[str, Partition]) -> None:
        self.reader, self.partitions = reader, partitions

    def read(self, path: str, start: int, stop: int) -> Array:
        partition = self.partitions.get(path)
        if partition is None:
            return self.reader.read(path, start, stop)
        parts = [BoxPart(part.box, partial(self.reader.read, part.key)) for part in partition.parts]
        return read_boxes(partition.shape, partition.dtype, parts, start, stop)


def join_slices(name: str, entry: Entry, slices: Sequence[tuple[str, Slice, Entry]]) -> Partition:
    """Return a partitioned variable. Raises ValueError unless each value of it is in one slice.

    slices: the key of the values of each, its bounds, and its entry.
    """
    parts = tuple(Part(key, _box(name, bounds, entry.shape, part)) for key, bounds, part in slices)
    check_filled(name, entry.shape, [part.box for part in parts])
    return Partition(entry.shape, DTYPES[entry.dtype], parts)


def _box(name: str, bounds: Slice, shape: Sequence[int], part: Entry) -> Box:
    """Return the box of a slice. Raises ValueError unless its sizes are those of its entry's shape."""
    if len(bounds) != len(shape):
        raise ValueError(f"a slice of {name} must have {len(shape)} axes (got {len(bounds)})")
    sizes = tuple(size if length < 0 else length for (_, length), size in zip(bounds, shape, strict=True))
    if any(start < 0 for start, _ in bounds) or sizes != part.shape:
        raise ValueError(f"a slice of {name} must have its entry's shape {part.shape} (got {sizes})")
    return tuple(range(start, start + size) for (start, _), size in zip(bounds, sizes, strict=True))
