"""Folders as checkpoints: the index of a set of files, or the only file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress

from paramctl.core.ordering import in_numeric_order
from paramctl.core.text import abbreviate
from paramctl.errors import InputError, message
from paramctl.store.foreign import folder_kind
from paramctl.store.io.index_files import MAX_INDEX_BYTES
from paramctl.store.io.rebuild_hint import rebuild_hint
from paramctl.store.location import Location
from paramctl.store.registry import FORMATS
from paramctl.store.urls import local_path

SHARD = r"(-[0-9]+)?-[0-9]{5}-of-(?!00001)[0-9]{5}\.safetensors$"
SUFFIXES = (".safetensors.index.json", ".safetensors", ".weights.json")
"""The suffixes of the file that opens a folder, in order of preference."""
SHARD_SUFFIXES = (".safetensors", ".weights.h5")
MOST_NAMED = 5
MOST_COUNTED = 1000
"""The largest number of files in a name that counts."""


def resolve_folder(path: str) -> str:
    """Return the file to open for a path: itself, or, for a folder, its index or its only safetensors file.

    A path that is the prefix of a checkpoint's files is opened by the file that the format names, and so is a folder
    of another format. A ``file://`` URL is a path. Raises InputError for a folder that no format opens, and for one
    that has shards without their index.
    """
    path = local_path(path)
    if not os.path.isdir(path):
        # the prefix of a TensorFlow checkpoint, such as ckpt-1, is no file itself
        return next((opened for format_ in FORMATS if (opened := format_.opens_path(path))), path)
    return resolve_folder(os.path.join(path, choose(path, sorted(os.listdir(path)))))


def choose(path: str, present: Sequence[str]) -> str:
    """Return the name of the file or folder that opens a folder or a URL, by the names in it; see resolve_folder."""
    if not any(name.endswith(SUFFIXES) for name in present):
        for format_ in FORMATS:
            if name := format_.opens_folder(present):
                return name
        if kind := folder_kind(present):
            raise InputError(f"{path}: {kind}")
    single = {name: re.sub(SHARD, ".safetensors", name) for name in present}
    # shards beside the single file of the same stem are left over from a set that it has replaced
    names = [name for name in present if single[name] == name or single[name] not in single]
    for suffix in SUFFIXES:
        candidates = [name for name in names if name.endswith(suffix)]
        if len(candidates) == 1 and single[candidates[0]] == candidates[0]:
            return candidates[0]
    shards = [name for name in names if single[name] != name]
    if shards and not any(name.endswith(SUFFIXES[0]) for name in names):
        rule = f"{path}: the index of {shards[0]} is missing (*.safetensors.index.json)"
        if absent := _absent(shards):
            more = "Get these files again too, because a new index leaves their arrays out"
            hint = f"{more}. {rebuild_hint(path)}" if rebuild_hint(path) else more
            raise InputError(message(f"{rule}, and so is {abbreviate(absent)}", hint=hint))
        raise InputError(message(rule, hint=rebuild_hint(path)))
    several = [name for name in present if name.lower().endswith(_only_read())]
    if len(several) > 1 and not any(name.endswith(SUFFIXES) for name in present):
        raise InputError(f"{path}: has several checkpoints ({_first(several)}). Open one of them")
    rule = "a folder must have one index (*.safetensors.index.json) or one safetensors file"
    is_set = any(name.endswith(SHARD_SUFFIXES) for name in names) and not any(name.endswith(".json") for name in names)
    raise InputError(message(f"{path}: {rule}", hint=rebuild_hint(path) if is_set else ""))


def _absent(shards: Sequence[str]) -> list[str]:
    """Return the files that the numbers of others count and that are not there: 2 of 3 beside 1 and 3."""
    absent: dict[str, None] = {}
    for name in shards:
        match = re.fullmatch(r"(.*-)[0-9]{5}(-of-([0-9]{5})\.safetensors)", name)
        if match is not None and int(match[3]) <= MOST_COUNTED:
            absent |= dict.fromkeys(f"{match[1]}{number:05d}{match[2]}" for number in range(1, int(match[3]) + 1))
    return [name for name in absent if name not in shards]


def _only_read() -> tuple[str, ...]:
    """Return the suffixes of formats that are only read."""
    return tuple(suffix for format_ in FORMATS if not format_.writable for suffix in format_.read_suffixes)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")


def beside(path: str) -> tuple[str, list[str]]:
    """Return the name of the file or folder that opens a folder, and those of other checkpoints, which are not read.

    The files that an index names are part of the same checkpoint. If a folder within the folder is opened, such as
    that of the latest step, the others are its other folders.
    """
    resolved = os.path.relpath(resolve_folder(path), path)
    inner, opened = os.path.split(resolved)
    if inner:
        first = inner.split(os.sep)[0]
        folders = [entry.name for entry in os.scandir(path) if entry.is_dir() and entry.name != first]
        # a SavedModel has other folders than its variables, but those are no checkpoints
        return inner, in_numeric_order(sorted(name for name in folders if _is_checkpoint(os.path.join(path, name))))
    index = ""
    if opened.endswith(".json"):
        with open(os.path.join(path, opened), encoding="utf-8", errors="replace") as file:
            index = file.read()
    return opened, [name for name in beside_in(opened, sorted(os.listdir(path))) if f'"{name}"' not in index]


def _is_checkpoint(folder: str) -> bool:
    """Return whether a folder has a file that opens it."""
    with suppress(InputError):
        return resolve_folder(folder) != folder
    return False


def beside_in(opened: str, present: Sequence[str]) -> tuple[str, ...]:
    """Return the names of other checkpoints in a folder, those in the index that opens it included.

    opened: the name of the file that opens it. present: the names in it, sorted.
    """
    suffixes = tuple(suffix for format_ in FORMATS for suffix in format_.suffixes)
    stem = opened.removesuffix(".safetensors")
    # shards of an older set with the name of the single file, as in resolve_folder
    return tuple(
        name
        for name in present
        if name.lower().endswith(suffixes) and name != opened and re.sub(SHARD, "", name) != stem
    )


def others_of(location: Location) -> list[str]:
    """Return the names of the checkpoints in the remote folder of a file that are not read, as beside does."""
    is_index = bool(location.others) and location.name.endswith(".json")
    index = location.read(0, MAX_INDEX_BYTES).decode(errors="replace") if is_index else ""
    return [name for name in location.others if f'"{name}"' not in index]


def replaces(target: str, source: str) -> bool:
    """Return whether a checkpoint that is written to a target replaces the one in a file: it, or the set of its name.

    source: the file that was opened, of a set its index.
    """
    written = [target, target + SUFFIXES[0].removeprefix(".safetensors")]
    with suppress(InputError):  # a folder without a checkpoint
        written.append(resolve_folder(target))
    return os.path.realpath(source) in map(os.path.realpath, written)
