"""The index of a set of files, read within limits. It is JSON, whose weight_map names the files.

Hugging Face's index maps arrays to files. Keras' maps groups of variables to a file or a list of files.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from paramctl.errors import InputError
from paramctl.store.io.index_files import MAX_INDEX_BYTES, is_file_name
from paramctl.store.io.json_limits import parse_json
from paramctl.store.io.rebuild_hint import misfit
from paramctl.store.location import Location, MissingFile, open_location

MAX_FILES = 10_000
MISSING = "Get this file again, because a new index leaves its arrays out"
INCOMPLETE = "Get this file again if it is incomplete, because a new index leaves out the arrays that no file holds"


class ShardIndex(NamedTuple):
    """A parsed index. files: the names of its files, each once, all plain names in the folder of the index."""

    weight_map: Mapping[str, Any]
    metadata: Mapping[str, Any]
    files: Sequence[str]


def read_index(location: Location) -> ShardIndex:
    """Read an index. Raises InputError if it is damaged, or names a file outside its folder."""
    index = _parse(location)
    weight_map, metadata = index["weight_map"], index.get("metadata")
    files = _files(weight_map, location)
    return ShardIndex(weight_map, metadata if isinstance(metadata, dict) else {}, files)


def _parse(location: Location) -> dict[str, Any]:
    data = location.read(0, MAX_INDEX_BYTES + 1)
    try:
        if len(data) > MAX_INDEX_BYTES:
            raise ValueError(f"more than {MAX_INDEX_BYTES:,} bytes")
        text = data.decode()
        del data  # an index may take 64 MB
        index = parse_json(text)
        weight_map = index["weight_map"]
        if not isinstance(weight_map, dict) or not weight_map:
            raise ValueError("weight_map must map the names of arrays to files")
    except (ValueError, KeyError, TypeError) as error:
        raise misfit(location, f"damaged index ({error})") from error
    return dict(index)


def _files(weight_map: Mapping[str, Any], location: Location) -> list[str]:
    names: dict[str, None] = {}
    for key, listed in weight_map.items():
        for name in listed if isinstance(listed, list) else [listed]:
            if not is_file_name(name):
                rule = f"the file of {key!r} must be in the folder of the index"
                raise InputError(f"{location.name}: {rule} (got {name!r})")
            names[name] = None
    if len(names) > MAX_FILES:
        raise InputError(f"{location.name}: an index may name at most {MAX_FILES:,} files")
    return list(names)


def check_listed(arrays: Iterable[str], name: str, index: ShardIndex, location: Location) -> None:
    """Raise InputError for an array of a file that the index does not list there."""
    for path in arrays:
        if index.weight_map.get(path) != name:
            listed = index.weight_map.get(path)
            raise misfit(location, f"{path!r} is in {name}, but the index says {listed!r}")


def check_complete(arrays: Container[str], index: ShardIndex, location: Location) -> None:
    """Raise InputError for an array that the index lists and no file has."""
    for path, name in index.weight_map.items():
        if path not in arrays:
            raise misfit(location, f"{name} must hold {path!r}, but does not", INCOMPLETE)


def read_old_index(path: str) -> ShardIndex:
    """Return the index that a new one replaces, empty if it does not exist or is damaged."""
    try:
        location = open_location(path)
        try:
            return read_index(location)
        finally:
            location.close()
    except InputError:
        return ShardIndex({}, {}, ())


def open_shard(location: Location, name: str) -> Location:
    """Open a file that an index names. Raises InputError if it does not exist."""
    try:
        shard = location.sibling(name)
        shard.read(0, 1)  # a server says only then that it lacks a file
    except MissingFile as error:
        raise misfit(location, f"the index names {name}, which does not exist", MISSING) from error
    return shard
