"""The values of a checkpoint's tensors in its shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod

from paramctl.core.parameter import DTYPE_BYTES
from paramctl.store.io.extents import Extent, ExtentReader
from paramctl.store.io.verified import Checked, VerifiedReader
from paramctl.store.location import Location
from paramctl.store.tensorflow.bundle import DTYPES, Bundle, Entry
from paramctl.store.tensorflow.partitions import Partition, PartitionReader, join_slices


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
            keys = [f"{name}\0{number}" for number in range(len(parts))]  # no name has a NUL
            partitions[name] = join_slices(name, entry, [(key, *part) for key, part in zip(keys, parts, strict=True)])
            stored |= {key: part for key, (_, part) in zip(keys, parts, strict=True)}
        else:
            stored[name] = entry
    shards = open_shards(bundle, stored, location, prefix)
    extents: dict[int, dict[str, Extent]] = defaultdict(dict)
    for name, entry in stored.items():
        extents[entry.shard][name] = Extent(entry.offset, DTYPES[entry.dtype], ">" if bundle.big_endian else "<")
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


def _shown(key: str, names: Mapping[str, str] | None = None) -> str:
    name, _, number = key.partition("\0")
    name = names[name] if names else name
    return f"slice {number} of {name}" if number else name
