"""The index of a distributed checkpoint: the tensors, their parts, and the place of each part.

It is a pickle of torch.distributed.checkpoint.metadata.Metadata, read by a machine that imports and calls nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from paramctl.store.location import Location
from paramctl.store.pickles.machine import unpickle_from
from paramctl.store.pickles.objects import Global, Record
from paramctl.store.pickles.state import BadPickle
from paramctl.store.torch.tensors import sizes_of

MODULE = "torch.distributed.checkpoint.metadata."


class Place(NamedTuple):
    """A range of a file in the folder, which is itself a file of torch.save."""

    file: str
    offset: int
    size: int


class Part(NamedTuple):
    """A part of a tensor: a box, by the index of its first value and its sizes."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    place: Place


class ShardedTensor(NamedTuple):
    """A tensor that is saved in parts."""

    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]


class Entry(NamedTuple):
    """An item of a checkpoint.

    name: under which the index has it. keys: those that lead to it in the nested dicts that were saved.
    value: a tensor, or the place of another object.
    """

    name: str
    keys: tuple[str, ...]
    value: ShardedTensor | Place


def read_index(location: Location) -> list[Entry]:
    """Read the entries of an index. Raises BadPickle if it is damaged."""
    if location.read(0, 1) != b"\x80":  # the rest is a pickle too behind some other bytes
        raise BadPickle("the index must be a pickle of protocol 2 or later")
    root, _ = unpickle_from(location, 0, location.size())
    metadata = _state(root, "Metadata")
    tensors, places, paths = (metadata.get(key) for key in ("state_dict_metadata", "storage_data", "planner_data"))
    if not isinstance(tensors, dict) or not isinstance(places, dict):
        raise BadPickle("the index must have the tensors and their places")
    by_place = dict(_place(index, info) for index, info in places.items())
    entries = []
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, Record):
            raise BadPickle("the index must describe each item by its name")
        path = paths.get(name) if isinstance(paths, dict) else None
        keys = tuple(map(str, path)) if isinstance(path, tuple) and path else (name,)
        is_tensor = value.name == f"{MODULE}TensorStorageMetadata"
        entries.append(Entry(name, keys, _tensor(name, value, by_place) if is_tensor else _find(name, None, by_place)))
    return entries


def _state(record: Any, name: str) -> Mapping[str, Any]:
    """Return the attributes of an object of a class. Raises BadPickle for an object of another class."""
    if not isinstance(record, Record) or record.name.rpartition(".")[2] != name:
        raise BadPickle(f"an object must be a {name}")
    state = record.state
    if isinstance(state, tuple) and len(state) == 2:  # a class with slots
        state = state[1]
    if not isinstance(state, dict):
        raise BadPickle(f"a {name} must have attributes")
    return state


def _place(index: Any, info: Any) -> tuple[tuple[Any, ...], Place]:
    """Return the name and the offsets of a part, and its place."""
    key, storage = _state(index, "MetadataIndex"), _state(info, "_StorageInfo")
    name, offsets = key.get("fqn"), key.get("offset")
    file = storage.get("relative_path")
    offset, size = storage.get("offset"), storage.get("length")
    if not (isinstance(name, str) and isinstance(file, str) and isinstance(offset, int) and isinstance(size, int)):
        raise BadPickle("a part must have a name, a file, an offset and a length")
    if offset < 0 or size < 0:
        raise BadPickle(f"{name} must have a place in {file[:60]!r} (got {size:,} bytes at {offset:,})")
    if transforms := storage.get("transform_descriptors"):
        kinds = ", ".join(map(str, transforms))[:60] if isinstance(transforms, (list, tuple)) else "unknown"
        raise BadPickle(f"{name} is transformed ({kinds}), which is not supported")
    return (name, None if offsets is None else sizes_of(offsets)), Place(file, offset, size)


def _tensor(name: str, record: Record, places: Mapping[tuple[Any, ...], Place]) -> ShardedTensor:
    state = _state(record, "TensorStorageMetadata")
    shape, chunks = sizes_of(state.get("size")), state.get("chunks")
    if not isinstance(chunks, list):
        raise BadPickle(f"{name} must have a list of parts")
    parts: dict[Any, Part] = {}
    for chunk in chunks:
        box = _state(chunk, "ChunkStorageMetadata")
        offsets, sizes = sizes_of(box.get("offsets")), sizes_of(box.get("sizes"))
        parts[offsets, sizes] = Part(offsets, sizes, _find(name, offsets, places))
    return ShardedTensor(_dtype(name, state.get("properties")), shape, tuple(parts.values()))


def _dtype(name: str, properties: Any) -> str:
    """Return the dtype in the properties of a tensor, which were a dict in older versions of torch."""
    if not isinstance(properties, Record):
        raise BadPickle(f"{name} must have properties")
    state = properties.state
    dtype = state.get("dtype") if isinstance(state, dict) else state[0] if isinstance(state, tuple) and state else None
    if not isinstance(dtype, Global) or not dtype.name.startswith("torch."):
        raise BadPickle(f"{name} must have a dtype of torch")
    return dtype.name.removeprefix("torch.")


def _find(name: str, offsets: tuple[int, ...] | None, places: Mapping[tuple[Any, ...], Place]) -> Place:
    place = places.get((name, offsets))
    if place is None and not any(offsets or ()):  # a tensor in one part may have no offsets
        place = places.get((name, None))
    if place is None:
        where = f" at {offsets}" if offsets else ""
        raise BadPickle(f"the index has no place for {name}{where}")
    return place
