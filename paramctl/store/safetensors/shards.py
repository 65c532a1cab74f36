"""A set of safetensors files and its index, ``model.safetensors.index.json``, which names the file of each array.

The files are in the folder of the index, and nowhere else.
https://huggingface.co/docs/huggingface_hub/package_reference/serialization
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import PurePath
from typing import Any, NamedTuple

from paramctl.core.parameter import Parameter
from paramctl.errors import OutputError
from paramctl.parallel import in_parallel
from paramctl.store.checkpoint import Checkpoint
from paramctl.store.contents import Contents, JoinedReader, Origin, Reader
from paramctl.store.foreign import IN_A_SET, check_not_foreign
from paramctl.store.io.atomic import Temporary, remove, replacing, sync_folder
from paramctl.store.io.extents import Extent, ExtentReader
from paramctl.store.io.new_index import NewIndex, find_set, refuse_duplicate
from paramctl.store.io.set_writer import DEFAULT_SHARD_SIZE, SetTarget, Shard, planned_set, prepare, write_set
from paramctl.store.io.shard_index import check_complete, check_listed, open_shard, read_index, read_old_index
from paramctl.store.io.shards import ShardNames, plan_shards
from paramctl.store.io.write_values import WriteOptions, Written, write_values
from paramctl.store.location import Location, open_location
from paramctl.store.safetensors import FRAMEWORK, SHARDS_NAME, SUMS, TOTAL, has_header
from paramctl.store.safetensors.files import (
    as_checkpoint,
    lay_out,
    metadata_of,
    read_arrays,
    stored_arrays,
    with_record,
)
from paramctl.store.safetensors.header import build_header
from paramctl.store.sums.checking import seal_of
from paramctl.store.sums.record import sealed_text, set_record

SUFFIX = ".safetensors"
INDEX = ".index.json"
SHARD = re.compile(r"(?P<stem>.*?)(-[0-9]+)?(-[^-]+-of-[0-9]+)?\.safetensors")
NAMES = ShardNames("{stem}-{number:05d}-of-{count:05d}.safetensors", r"-[0-9]{5,}-of-[0-9]{5,}\.safetensors", 1)


def read(location: Location) -> Checkpoint:
    """Read the headers of all files of an index. Raises InputError unless they have exactly the listed arrays."""
    index = read_index(location)
    parameters: dict[str, Parameter] = {}
    readers: dict[str, Reader] = {}
    sizes: dict[str, int] = {}
    metadata: dict[str, Any] = {}
    # a disk gives one header after the other; a server gives several at once
    shards = in_parallel(partial(_read_shard, location), index.files, location.connections)
    for name, (shard, arrays, extents, shard_metadata) in zip(index.files, shards, strict=True):
        metadata |= shard_metadata
        sizes[name] = sum(array.bytes for array in arrays.values())
        check_listed(arrays, name, index, location)
        parameters |= arrays
        readers |= dict.fromkeys(arrays, ExtentReader(shard, extents))
    check_complete(parameters, index, location)
    metadata |= index.metadata  # it replaces that of the files
    ordered = {path: parameters[path] for path in index.weight_map}
    stem = PurePath(location.name).name.removesuffix(INDEX).removesuffix(SUFFIX)
    origin = Origin(location, SHARDS_NAME, rewrite=(location.name.removesuffix(INDEX), max(sizes.values())))
    return as_checkpoint(ordered, metadata, stem, JoinedReader(readers), origin)


class _ReadShard(NamedTuple):
    """A file of a set, and what its header says."""

    file: Location
    arrays: dict[str, Parameter]
    extents: dict[str, Extent]
    metadata: dict[str, str]


def _read_shard(location: Location, name: str) -> _ReadShard:
    shard = open_shard(location, name)
    _check_kind(shard)
    return _ReadShard(shard, *read_arrays(shard))


def _check_kind(shard: Location) -> None:
    """Raise InputError for a shard that is a file of another kind, such as a pointer of Git LFS."""
    if not has_header(shard):
        check_not_foreign(shard, IN_A_SET)


def rebuild(path: str) -> NewIndex | None:
    """Return a new index of the safetensors files in a folder, from their headers; None without such files.

    The order of the old index, and its metadata, are kept. Raises InputError for an array that two files have.
    """
    listed_set = find_set(path, f"{SUFFIX}{INDEX}", SHARD)
    if listed_set is None:
        return None
    weight_map: dict[str, str] = {}
    seals: dict[str, str] = {}
    total = 0
    for name in listed_set.files:
        location = open_location(os.path.join(listed_set.folder, name))
        _check_kind(location)
        arrays, _, _ = read_arrays(location)
        seals |= {name: seal_of(location, stored_arrays(location))} if arrays else {}
        location.close()
        for array in arrays.values():
            if array.path in weight_map:
                raise refuse_duplicate(listed_set.folder, array.path, weight_map[array.path], name)
            weight_map[array.path] = name
            total += array.bytes
    old = read_old_index(listed_set.index_path)
    order = {array: number for number, array in enumerate(old.weight_map)}
    ordered = dict(sorted(weight_map.items(), key=lambda item: order.get(item[0], len(order))))
    gone = [array for array in old.weight_map if array not in weight_map]
    record = set_record([*seals], [*seals.values()])
    metadata = {key: value for key, value in _with_total(old.metadata, total).items() if key != SUMS}
    text = sealed_text(_as_json(metadata | ({SUMS: record} if record else {}), ordered))
    return NewIndex(listed_set.index_path, text, ordered, gone)


def _with_total(metadata: Mapping[str, Any], total: int) -> dict[str, Any]:
    """Return the metadata of an index with the bytes of all values, first."""
    return {TOTAL: total} | {key: value for key, value in metadata.items() if key != TOTAL}


def _as_json(metadata: Mapping[str, Any], weight_map: Mapping[str, str]) -> str:
    return json.dumps({"metadata": metadata, "weight_map": weight_map}, indent=2, ensure_ascii=False) + "\n"


def replaces_set(path: str) -> bool:
    """Return whether a file of this name does not exist, but a set of this name does."""
    return not os.path.lexists(path) and os.path.lexists(index_of(path))


def index_of(path: str) -> str:
    """Return the path of the index of a set with this name."""
    return _target(path).index


def write(path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
    """Write files of at most ``max_shard_size`` bytes of values and an index, or a single file if one suffices.

    path: NAME.safetensors, or a folder that ends in a slash. The files of the existing set stay until the new index has
    replaced the old one.
    """
    target = _target(path)
    if path.endswith("/"):
        _create_folder(path)
    prepare(target, options.force)
    shards = _plan(path, contents, options)
    if len(shards) == 1:
        yield from _write_single(target, contents, options)
        return
    framework = {FRAMEWORK: str(metadata_of(contents)[FRAMEWORK])}
    files = [Shard(shard, partial(_lay_out_shard, shard, framework)) for shard in shards]
    yield from write_set(contents, target, files, partial(_index_text, contents, shards), options)


def _plan(path: str, contents: Contents, options: WriteOptions) -> list[list[Parameter]]:
    """Return the arrays of each file."""
    default = DEFAULT_SHARD_SIZE if path.endswith("/") else sys.maxsize
    return plan_shards(contents.model.owners(), options.max_shard_size or default)


def planned_files(path: str, contents: Contents, options: WriteOptions) -> dict[str, int]:
    """Return the bytes of the values of each file that ``write`` would write, by path."""
    target, shards = _target(path), _plan(path, contents, options)
    paths = [target.single] if len(shards) == 1 else planned_set(target, len(shards))
    return {path: sum(array.bytes for array in shard) for path, shard in zip(paths, shards, strict=True)}


def _lay_out_shard(shard: Sequence[Parameter], metadata: Mapping[str, str], temporary: Temporary) -> dict[str, Extent]:
    data, extents = build_header(shard, with_record(metadata, shard))
    temporary.reserve(len(data) + sum(parameter.bytes for parameter in shard))
    temporary.write(data, 0)
    return extents


def check_target(path: str, force: bool) -> None:
    """Raise OutputError, before any work, for a set or a single file that exists (unless ``force``)."""
    if os.path.isdir(path) or not path.endswith("/"):
        _target(path).check(force)
    elif os.path.lexists(path.rstrip("/")):  # otherwise the write makes the folder
        raise OutputError(f"{path}: must be a folder (got a file)", errno.ENOTDIR)


def _index_text(
    contents: Contents, shards: Sequence[Sequence[Parameter]], names: Sequence[str], seals: Sequence[str]
) -> str:
    metadata = {key: value for key, value in metadata_of(contents).items() if key != FRAMEWORK}
    total = sum(owner.bytes for owner in contents.model.owners())
    weight_map = {parameter.path: name for name, shard in zip(names, shards, strict=True) for parameter in shard}
    return sealed_text(_as_json(_with_total(metadata, total) | {SUMS: set_record(names, seals)}, weight_map))


def _write_single(target: SetTarget, contents: Contents, options: WriteOptions) -> Iterator[Written]:
    """Write a single file in place of a set, or of another single file."""
    with ExitStack() as held:  # the folder stays locked until the old index is gone
        with replacing(target.single, options.force, options.confirm) as temporary:
            extents = lay_out(temporary, contents)
            yield from write_values(contents, contents.model.parameters.values(), temporary, extents, options)
            held.enter_context(target.held())
            target.check(options.force)
            previous = target.previous_files()
        # The new file is complete. The index goes first, so that a crash never leaves it without its files.
        try:
            if os.path.lexists(target.index):
                os.unlink(target.index)
                sync_folder(target.folder)
        except OSError as error:
            raise OutputError(f"{target.index}: {error.strerror or error}", error.errno) from error
        remove(os.path.join(target.folder, name) for name in previous)


def _target(path: str) -> SetTarget:
    """Return the destination of a set with this name."""
    if path.endswith("/"):
        folder, stem, single = path, "model", os.path.join(path, f"model{SUFFIX}")
    else:
        folder, stem, single = os.path.dirname(path) or ".", os.path.basename(path)[: -len(SUFFIX)], path
    index = os.path.join(os.path.dirname(single), f"{stem}{SUFFIX}{INDEX}")
    return SetTarget(path, folder, stem, index, single, NAMES)


def _create_folder(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}", error.errno) from error
