"""The values of a checkpoint's tensors: in shards, and, for a partitioned variable, in slices along one axis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.store.contents import Reader
from paramctl.store.io.extents import Extent, ExtentReader
from paramctl.store.io.verified import Checked, VerifiedReader
from paramctl.store.location import Location
from paramctl.store.tensorflow.bundle import DTYPES, Bundle, Entry, Slice


class Part(NamedTuple):
    """A slice: the key of its entry, and the columns that it has of the partitioned variable's rows."""

    key: str
    start: int
    stop: int


class Partition(NamedTuple):
    """A partitioned variable, seen as rows of all axes before the partitioned one. Each slice has some columns."""

    width: int
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
        width, values = partition.width, np.empty(stop - start, partition.dtype)
        first, last = (-(-start // width), stop // width) if width else (0, 0)
        if first > last:  # all within one row
            ranges = [(start, stop)]
        else:
            # whole rows are filled together; a part of a row at either end has other columns
            ranges = [(start, first * width), (first * width, last * width), (last * width, stop)]
        for begin, end in ranges:
            if begin < end:
                rows = values[begin - start : end - start].reshape(max(1, (end - begin) // width), -1)
                self._fill(rows, partition, begin)
        return values

    def _fill(self, rows: Array, partition: Partition, begin: int) -> None:
        """Fill whole rows, or a part of one, of which the first value has a flat index."""
        row, column = divmod(begin, partition.width)
        end = column + rows.shape[1]
        for part in partition.parts:
            low, high = max(column, part.start), min(end, part.stop)
            if low < high:
                offset, size = row * (part.stop - part.start), high - low
                first = offset + low - part.start
                read = self.reader.read(part.key, first, first + len(rows) * size)
                rows[:, low - column : high - column] = read.reshape(len(rows), size)


def open_tensors(bundle: Bundle, names: Mapping[str, str], location: Location, prefix: str) -> PartitionReader:
    """Return the reader of tensors, by their keys. Raises ValueError or InputError for a damaged file.

    names: for errors, by the key of each tensor.
    prefix: the name of the index without its suffix, with which the names of its shards begin.
    """
    stored: dict[str, Entry] = {}
    partitions: dict[str, Partition] = {}
    for name in names:
        entry = bundle.entries[name]
        if entry.slices:
            parts = bundle.slice_entries(name)
            partitions[name] = _partition(name, entry, parts)
            stored |= {_part_key(name, number): part for number, (_, part) in enumerate(parts)}
        else:
            stored[name] = entry
    shards = open_shards(bundle, stored, location, prefix)
    extents: dict[int, dict[str, Extent]] = defaultdict(dict)
    for name, entry in stored.items():
        dtype = numpy_dtype(DTYPES[entry.dtype]).newbyteorder(">" if bundle.big_endian else "<")
        extents[entry.shard][name] = Extent(entry.offset, dtype)
    readers = {shard: ExtentReader(shards[shard], found) for shard, found in extents.items()}
    checked = {
        name: Checked(
            readers[entry.shard], entry.size, entry.checksum, f"{shards[entry.shard].name}: {_shown(name, names)}"
        )
        for name, entry in stored.items()
    }
    return PartitionReader(VerifiedReader(checked), partitions)


def open_shards(bundle: Bundle, entries: Mapping[str, Entry], location: Location, prefix: str) -> dict[int, Location]:
    """Open the shards of entries, by number. Raises ValueError for an entry outside its shard, or over another."""
    shards: dict[int, Location] = {}
    by_shard: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    for name, entry in entries.items():
        if entry.shard >= bundle.shards:
            raise ValueError(f"{_shown(name)} is in shard {entry.shard:,} of {bundle.shards:,}")
        size = DTYPE_BYTES[DTYPES[entry.dtype]] if entry.dtype in DTYPES else 0
        if size and entry.size != (expected := prod(entry.shape) * size):
            raise ValueError(f"{_shown(name)} must have {expected:,} bytes (got {entry.size:,})")
        by_shard[entry.shard].append((entry.offset, entry.offset + entry.size, name))
    for number, places in by_shard.items():
        shards[number] = location.sibling(f"{prefix}.data-{number:05}-of-{bundle.shards:05}")
        _check_places(sorted(place for place in places if place[0] < place[1]), shards[number])
    return shards


def _check_places(places: Sequence[tuple[int, int, str]], shard: Location) -> None:
    for (_, stop, name), (start, _, other) in pairwise(places):
        if start < stop:
            raise ValueError(f"{_shown(name)} and {_shown(other)} overlap")
    if places and (end := places[-1][1]) > (size := shard.size()):
        raise ValueError(
            f"{shard.name} is truncated: {size:,} of at least {end:,} bytes, within {_shown(places[-1][2])}"
        )


def _part_key(name: str, number: int) -> str:
    return f"{name}\0{number}"  # no name has a NUL


def _shown(key: str, names: Mapping[str, str] | None = None) -> str:
    name, _, number = key.partition("\0")
    name = names[name] if names else name
    return f"slice {number} of {name}" if number else name


def _partition(name: str, entry: Entry, parts: Sequence[tuple[Slice, Entry]]) -> Partition:
    """Return a partitioned variable. Raises ValueError unless its slices cut one axis, and have all of it."""
    shape = entry.shape
    boxes = [_whole_box(name, box, shape, part) for box, part in parts]
    # TensorFlow partitions a variable along one axis only; the format could record any boxes
    cut = [axis for axis, size in enumerate(shape) if any(box[axis] != (0, size) for box in boxes)]
    if len(cut) > 1:
        raise ValueError(f"{name} is partitioned along {len(cut)} axes, and only one is supported")
    axis = cut[0] if cut else 0
    inner = prod(shape[axis + 1 :])
    bounds = [box[axis] if shape else (0, 1) for box in boxes]
    columns = [
        Part(_part_key(name, number), start * inner, (start + length) * inner)
        for number, (start, length) in enumerate(bounds)
    ]
    # a file may list slices in any order
    columns.sort(key=lambda part: part.start)
    width = prod(shape[axis:])
    edges = [0, *(edge for part in columns for edge in (part.start, part.stop)), width]
    if any(edges[place] != edges[place + 1] for place in range(0, len(edges), 2)):
        raise ValueError(f"the slices of {name} leave a gap, or overlap")
    return Partition(width, numpy_dtype(DTYPES[entry.dtype]), tuple(columns))


def _whole_box(name: str, box: Slice, shape: Sequence[int], part: Entry) -> Slice:
    """Return the bounds of a slice on each axis. Raises ValueError unless they are those of its entry's shape."""
    if len(box) != len(shape):
        raise ValueError(f"a slice of {name} must have {len(shape)} axes (got {len(box)})")
    bounds = tuple((start, size if length < 0 else length) for (start, length), size in zip(box, shape, strict=True))
    if any(start < 0 for start, _ in bounds) or tuple(length for _, length in bounds) != part.shape:
        raise ValueError(f"a slice of {name} must have its entry's shape {part.shape}")
    return bounds
