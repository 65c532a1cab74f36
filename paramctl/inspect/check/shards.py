"""Checks of a set of files against its index: each array in the file that the index names, and in no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from paramctl.core.parameter import Parameter
from paramctl.core.text import abbreviate
from paramctl.errors import InputError
from paramctl.inspect.check.registry import Observation, check
from paramctl.inspect.check.subject import Subject
from paramctl.store import registry
from paramctl.store.io.shard_index import ShardIndex, read_index
from paramctl.store.location import Location, MissingFile

INDEX_SUFFIX = ".index.json"
KERAS_INDEX = ".weights.json"
TOTAL_SIZE = "total_size"


class _Shards(NamedTuple):
    """The arrays of each file of a set that can be read, and why the others cannot be.

    stored_bytes: of all arrays, with shared ones counted once.
    """

    arrays: Mapping[str, Mapping[str, Parameter]]
    faults: Mapping[str, str]
    stored_bytes: int


@check("error")
def shards(subject: Subject) -> Iterator[Observation]:
    """Find differences between the index of a set of files and the files."""
    location = subject.source.origin.location
    if location is not None:
        yield from shard_faults(location)


def shard_faults(location: Location) -> Iterator[Observation]:
    """Yield the differences between an index, if the location is one, and its files. Raises InputError."""
    # Keras' index names groups, which its reader compares
    if not location.name.endswith(INDEX_SUFFIX):
        return
    index = read_index(location)
    files = _read_shards(location, index)
    sound = not files.faults
    yield from _faults(index, files, "arrays")
    for name, arrays in files.arrays.items():
        lacking = [path for path, file in index.weight_map.items() if file == name and path not in arrays]
        elsewhere = [path for path in arrays if index.weight_map.get(path) != name]
        sound = sound and not lacking and not elsewhere
        if lacking:
            yield Observation(name, f"lacks {abbreviate(lacking)}, which the index lists there", tuple(lacking))
        if elsewhere:
            text = f"has {abbreviate(elsewhere)}, which the index does not list there"
            yield Observation(name, text, tuple(elsewhere))
    if sound:  # else the total differs for a reason that is found already
        yield from _wrong_total(location, index, files)
    if not files.faults:
        yield from _mixed_dtypes(files)


def file_faults(location: Location) -> Iterator[Observation]:
    """Yield the files of an index that do not exist or cannot be read. Raises InputError for a damaged index."""
    index = read_index(location)
    yield from _faults(index, _read_shards(location, index), "groups")


def _faults(index: ShardIndex, files: _Shards, things: str) -> Iterator[Observation]:
    for name, reason in files.faults.items():
        listed = [
            path for path, file in index.weight_map.items() if name in ([file] if isinstance(file, str) else file)
        ]
        yield Observation(name, f"{reason}, with {len(listed):,} of the {things} in the index", tuple(listed))


def _read_shards(location: Location, index: ShardIndex) -> _Shards:
    arrays: dict[str, Mapping[str, Parameter]] = {}
    faults: dict[str, str] = {}
    stored_bytes = 0
    for name in index.files:
        try:
            shard = location.sibling(name)
            shard.read(0, 1)
        except MissingFile:
            faults[name] = "does not exist"
            continue
        try:
            format_ = registry.detect(shard) or registry.by_suffix(name)
            if format_ is None:
                raise InputError(f"{shard.name}: not a checkpoint")
            read = registry.read(shard, format_)
            # an alias is one of the names that the index lists
            arrays[name] = read.model.parameters
            stored_bytes += sum(array.stored_bytes for array in read.model.owners())
        except InputError as error:
            faults[name] = f"cannot be read: {str(error).removeprefix(f'{shard.name}: ')}"
        finally:
            shard.close()
    return _Shards(arrays, faults, stored_bytes)


def _wrong_total(location: Location, index: ShardIndex, files: _Shards) -> Iterator[Observation]:
    """Yield the difference between the recorded bytes of all values and those of the files."""
    recorded = index.metadata.get(TOTAL_SIZE)
    # torch's shared arrays are counted once, or by each of their names
    by_name = sum(array.stored_bytes for arrays in files.arrays.values() for array in arrays.values())
    if isinstance(recorded, int | float) and recorded not in (by_name, files.stored_bytes):
        place = location.name.replace("\\", "/").rpartition("/")[2]
        yield Observation(
            place, f"{TOTAL_SIZE} is {recorded:,}, but the files hold {files.stored_bytes:,} bytes", (), "warning"
        )


def _mixed_dtypes(files: _Shards) -> Iterator[Observation]:
    """Yield the files whose floating-point arrays all have another dtype than those of most files."""
    dtypes = {}
    for name, arrays in files.arrays.items():
        floats = {array.dtype for array in arrays.values() if "float" in array.dtype}
        if len(floats) == 1:
            dtypes[name] = floats.pop()
    (usual, _), *others = Counter(dtypes.values()).most_common() or [("", 0)]
    for name, dtype in dtypes.items() if others else ():
        if dtype != usual:
            text = f"its floating-point arrays are {dtype}, those of most files {usual}"
            yield Observation(name, text, (), "note")
