"""Sets of files with an index: Hugging Face's ``model.safetensors.index.json``, and Keras' ``.weights.json``.

The index names the file of each array, or of each of Keras' groups; files are beside it, and nowhere else.
https://huggingface.co/docs/huggingface_hub/package_reference/serialization
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.errors import InputError
from paramctl.model import Model
from paramctl.store.checkpoint import Checkpoint, JoinedReader, Provenance, Reader
from paramctl.store.io.extents import ExtentReader
from paramctl.store.io.json_limits import parse_json
from paramctl.store.io.shards import ShardNames
from paramctl.store.keras.dialect import read_together
from paramctl.store.location import LocalFile, Location
from paramctl.store.safetensors import format as safetensors

MOST_INDEX = 64_000_000
MOST_SHARDS = 10_000

NAMES = ShardNames("{stem}-{number:05d}-of-{count:05d}.safetensors", r"-[0-9]{5,}-of-[0-9]{5,}\.safetensors", 1)
INDEX = ".index.json"


def read(file: Location) -> Checkpoint:
    """What the files of an index hold together. Raises InputError if they do not hold what it says."""
    index = _index(file)
    shards = {name: _beside(file, name) for name in _shards(index, file)}
    if all(name.startswith("/") for name in index["weight_map"]):
        return read_together(file, {name: shards[name] for name in sorted(shards)}, index["weight_map"])
    return _together(file, index, shards)


def _index(file: Location) -> dict[str, Any]:
    data = file.read(0, MOST_INDEX + 1)
    try:
        if len(data) > MOST_INDEX:
            raise ValueError(f"it has more than {MOST_INDEX:,} bytes")
        text = data.decode()
        del data
        index = parse_json(text)
        entries = index["weight_map"]
        if not isinstance(entries, dict) or not entries:
            raise ValueError("weight_map must map the names of arrays to files")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file.name}: this index is damaged ({error})") from error
    return dict(index)


def _shards(index: Mapping[str, Any], file: Location) -> list[str]:
    """The names of the files, each of which must be a plain one."""
    names: dict[str, None] = {}
    for name, listed in index["weight_map"].items():
        for shard in listed if isinstance(listed, list) else [listed]:
            if not isinstance(shard, str) or not shard or shard in (".", "..") or set(shard) & set("/\\\0"):
                raise InputError(f"{file.name}: {name!r} must lie in a file beside the index (got {shard!r})")
            names[shard] = None
    if len(names) > MOST_SHARDS:
        raise InputError(f"{file.name}: an index may name at most {MOST_SHARDS:,} files")
    return list(names)


def _beside(file: Location, name: str) -> Location:
    """A file beside the index, a regular one: a pipe may never have an end, nor a device."""
    if file.name == "<stdin>":
        raise InputError("<stdin>: an index is read from a file, for the others lie beside it")
    path = os.path.join(os.path.dirname(file.name), name)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except UnicodeEncodeError as error:
        raise InputError(f"{path!r}: {error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: what an index names must be a regular file")
    return LocalFile(descriptor, path)


def _together(file: Location, index: Mapping[str, Any], shards: Mapping[str, Location]) -> Checkpoint:
    """The arrays of safetensors shards: each where the index says, and no other."""
    listed = index["weight_map"]
    found: dict[str, tuple[Parameter, Reader]] = {}
    metadata: dict[str, str] = {}
    for name, shard in shards.items():
        parameters, extents, said = safetensors.contents(shard)
        metadata |= said
        reader = ExtentReader(shard, extents)
        for path, parameter in parameters.items():
            if listed.get(path) != name:
                raise InputError(f"{file.name}: {path!r} lies in {name}, and the index says {listed.get(path)!r}")
            found[path] = parameter, reader
    for path, name in listed.items():
        if path not in found:
            raise InputError(f"{file.name}: {path!r} must lie in {name}, which does not have it")
    told = index.get("metadata")
    metadata |= {key: value for key, value in told.items() if isinstance(value, str)} if isinstance(told, dict) else {}
    parameters = {path: found[path][0] for path in listed}
    stem = PurePath(file.name).name.removesuffix(".index.json").removesuffix(".safetensors")
    model, notes = safetensors.described_by(metadata, parameters, stem)
    return Checkpoint(model, JoinedReader({path: reader for path, (_, reader) in found.items()}), file, notes)


def named(index: str) -> set[str]:
    """The files that an index names; none if there is no index. Raises OSError and ValueError if it cannot be read."""
    try:
        with open(index, "rb") as file:
            entries = parse_json(file.read(MOST_INDEX).decode())["weight_map"].values()
        lists = (each if isinstance(each, list) else [each] for each in entries)
        return {name for each in lists for name in each if isinstance(name, str)}
    except FileNotFoundError:
        return set()
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index}: this index is damaged") from error


def index_of(
    model: Model,
    notes: Mapping[str, Provenance],
    recipe: int,
    shards: Sequence[Sequence[Parameter]],
    names: Sequence[str],
) -> str:
    """The index of files of these names."""
    metadata = {key: text for key, text in safetensors.metadata_of(model, notes, recipe).items() if key != "format"}
    total = {"total_size": sum(parameter.bytes for parameter in model.owners())}
    entries = {each.path: name for name, shard in zip(names, shards, strict=True) for each in shard}
    return json.dumps({"metadata": total | metadata, "weight_map": entries}, indent=2, ensure_ascii=False) + "\n"
