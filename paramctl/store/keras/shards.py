"""Sharded Keras weights: the assignment of variables to files, and their index ``NAME.weights.json``.

Keras opens ``NAME_00000.weights.h5`` whatever the index says, so the numbers of the shards start at 0.
https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py (ShardedH5IOStore)
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from paramctl.errors import OutputError
from paramctl.model import Model
from paramctl.store.checkpoint import Checkpoint, stored_parameter
from paramctl.store.contents import Contents, JoinedReader, KerasLayout, Reader, WithOrigin, kept_origin
from paramctl.store.hdf5 import files as hdf5
from paramctl.store.hdf5.listing import list_file
from paramctl.store.io.atomic import Temporary, replacing
from paramctl.store.io.extents import Extent
from paramctl.store.io.index_files import files_in_indexes
from paramctl.store.io.new_index import NewIndex, find_set, refuse_duplicate
from paramctl.store.io.set_writer import DEFAULT_SHARD_SIZE, SetTarget, Shard, planned_set, prepare, write_set
from paramctl.store.io.shard_index import open_shard, read_old_index
from paramctl.store.io.shard_index import read_index as read_shard_index
from paramctl.store.io.shards import ShardNames, plan_shards
from paramctl.store.io.write_values import WriteOptions, Written
from paramctl.store.keras.dialect import read_together
from paramctl.store.keras.names import VARIABLE, variable_group
from paramctl.store.keras.weights_file import lay_out, layout_of, written_parameters
from paramctl.store.location import Location, open_location
from paramctl.store.sums import KEY as SUMS
from paramctl.store.sums.checking import seal_of
from paramctl.store.sums.record import sealed_text, set_record
from paramctl.store.sums.sealing import seal_file

SUFFIX = ".weights.json"
SHARD = re.compile(r"(?P<stem>.*?)(-[0-9]+)?_[0-9]{5,}\.weights\.h5")
NAMES = ShardNames("{stem}_{number:05d}.weights.h5", r"_[0-9]{5,}\.weights\.h5", 0)


def read(location: Location) -> Checkpoint:
    """Read the files of an index. Raises InputError unless they have the groups that it lists."""
    index = read_shard_index(location)
    files = {name: open_shard(location, name) for name in index.files}
    checkpoint = read_together(location, {name: files[name] for name in sorted(files)}, index.weight_map)
    if not isinstance(checkpoint.reader, JoinedReader):
        return checkpoint
    sizes: Counter[Reader] = Counter()
    for owner in checkpoint.model.owners():
        sizes[checkpoint.reader.readers[owner.path]] += owner.bytes
    rewrite = (location.name, max(sizes.values(), default=1))  # in place, files of the same size are written
    return replace(checkpoint, origin=replace(checkpoint.origin, rewrite=rewrite))


def rebuild(path: str) -> NewIndex | None:
    """Return a new index of the shards in a folder, from their groups; None without shards.

    Raises InputError for an array that two shards have.
    """
    listed_set = find_set(path, SUFFIX, SHARD)
    if listed_set is None:
        return None
    stem = os.path.basename(listed_set.index_path)[: -len(SUFFIX)]
    groups: dict[str, list[str]] = {}
    home: dict[str, str] = {}
    total = 0
    seals: dict[str, str] = {}
    for name in (name for name in listed_set.files if NAMES.matches(stem, name)):
        location = open_location(os.path.join(listed_set.folder, name))
        seals[name] = seal_of(location, hdf5.stored_arrays(location))
        for array in list_file(location).arrays:
            stored = array["path"]
            if stored in home:
                raise refuse_duplicate(listed_set.folder, stored, home[stored], name)
            home[stored] = name
            total += stored_parameter(stored, tuple(array["shape"]), array["dtype"]).bytes
            files = groups.setdefault(f"/{stored.rpartition('/')[0]}", [])
            if name not in files:
                files.append(name)
        location.close()
    seals = {name: seal for name, seal in seals.items() if any(name in files for files in groups.values())}
    record = set_record([*seals], [*seals.values()])
    gone = [
        text
        for group, files in read_old_index(listed_set.index_path).weight_map.items()
        for text in _gone(group, files, groups)
    ]
    return NewIndex(listed_set.index_path, _as_json(total, groups, record), groups, gone)


def _gone(group: str, files: Any, groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the group of an old index if no file has it, or each of its parts in a file that is not in the set."""
    old, new = [files] if isinstance(files, str) else files, groups.get(group, ())
    present = {name for names in groups.values() for name in names}
    if not new:
        return [group]
    return [f"{group} of {name}" for name in old if name not in present] if len(new) < len(old) else []


def _as_json(total: int, groups: Mapping[str, Sequence[str]], record: str) -> str:
    """Return the text of an index.

    total: bytes of all arrays. groups: the files of each group. record: of the files' seals; empty for none.
    """
    weight_map = {group: files[0] if len(files) == 1 else files for group, files in groups.items()}
    metadata = {"total_size": total} | ({SUMS: record} if record else {})
    return sealed_text(json.dumps({"metadata": metadata, "weight_map": weight_map}, indent=4))


def write(path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
    """Write the shards and their index; see Format.write."""
    contents = WithOrigin(contents, kept_origin(contents, path))
    model, target = contents.model, _target(path)
    layout = layout_of(contents, path)
    outside = next((name for name, stored in layout.variables.items() if not VARIABLE.fullmatch(stored)), None)
    if outside is not None:
        raise OutputError(f"{path}: {outside} belongs to no object of Keras, and an index lists only groups of these")
    prepare(target, options.force)
    layouts = plan_layouts(model, layout, options.max_shard_size or DEFAULT_SHARD_SIZE)
    parameters = list(model.parameters.values())
    shards = [Shard(parameters, partial(_lay_out_shard, model, layout)) for layout in layouts]

    def complete(names: Sequence[str]) -> None:
        if os.path.basename(target.single) not in names:  # Keras opens it first, whatever the index says
            with replacing(target.single, force=True) as temporary:
                lay_out(temporary, model, KerasLayout({}, {}))
                seal_file(temporary, ())

    yield from write_set(contents, target, shards, partial(index_text, model, layouts), options, complete)


def _lay_out_shard(model: Model, layout: KerasLayout, temporary: Temporary) -> dict[str, Extent]:
    return lay_out(temporary, model, layout)


def planned_files(path: str, contents: Contents, options: WriteOptions) -> dict[str, int]:
    """Return the bytes of the values of each file that ``write`` would write, by path."""
    cut = plan_shards(written_parameters(contents.model), options.max_shard_size or DEFAULT_SHARD_SIZE)
    paths = planned_set(_target(path), len(cut))
    return {path: sum(array.bytes for array in shard) for path, shard in zip(paths, cut, strict=True)}


def _target(path: str) -> SetTarget:
    """Return the destination of a set. Raises OutputError if another set has the file that Keras opens first."""
    folder, stem = os.path.dirname(path) or ".", os.path.basename(path)[: -len(SUFFIX)]
    first = first_file(path)
    others: set[str] = set()
    with suppress(OSError, ValueError):  # an unreadable index claims nothing
        others = files_in_indexes(folder, except_for=os.path.basename(path))
    if first in others:
        raise OutputError(f"{path}: requires the file {first}, which belongs to another set")
    single = os.path.join(os.path.dirname(path), first)
    return SetTarget(path, folder, stem, path, single, NAMES, opened_first=True)


def first_file(path: str) -> str:
    """Return the name of the file that Keras opens first, from the path or URL of the index."""
    name = path.partition("?")[0] if "://" in path else path
    base = os.path.basename(name)
    stem = base[: -len(SUFFIX)] if base.lower().endswith(SUFFIX) else base
    (first,) = NAMES.of(stem, 1, 1)
    return first


def plan_layouts(model: Model, layout: KerasLayout, max_size: int) -> list[KerasLayout]:
    """Return the layout of each shard. Shards are filled in order.

    An array over the limit has a shard to itself. Tied parameters share a shard. The first shard has the own names of
    the objects without variables.
    max_size: the limit of a shard in bytes.
    """
    cut = plan_shards(written_parameters(model), max_size)
    variables = [{parameter.path: layout.variables[parameter.path] for parameter in shard} for shard in cut]
    home = {path: shard for shard in variables for path in shard}
    for tie in model.ties:
        if tie.tied not in home:  # it is a hard link, and so must be in the file of the kept array
            home[tie.kept][tie.tied] = layout.variables[tie.tied]
    objects = [{_object(stored) for stored in shard.values()} for shard in variables]
    empty = layout.names.keys() - set().union(*objects)
    layouts = []
    for number, (shard, present) in enumerate(zip(variables, objects, strict=True)):
        named = present | empty if number == 0 else present
        layouts.append(KerasLayout(shard, {path: name for path, name in layout.names.items() if path in named}))
    return layouts


def _object(stored: str) -> str:
    """Return the path of the object that has a variable, from the variable's path."""
    return variable_group(stored).removesuffix("vars").rstrip("/")


def index_text(model: Model, layouts: Sequence[KerasLayout], names: Sequence[str], seals: Sequence[str]) -> str:
    """Return the text of the index of these shards.

    names, seals: of the files of the shards, in order.
    """
    files: dict[str, list[str]] = {}  # by group
    for layout, name in zip(layouts, names, strict=True):
        for group in dict.fromkeys(map(variable_group, layout.variables.values())):
            files.setdefault(f"/{group}", []).append(os.path.basename(name))
    total = sum(parameter.bytes for parameter in written_parameters(model))
    return _as_json(total, files, set_record(names, seals))
