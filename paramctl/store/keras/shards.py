"""Keras' sharded weights, written: which file each variable goes to, and the index, ``NAME.weights.json``.

Keras opens ``NAME_00000.weights.h5`` whatever the index says, so a file of that name is always there.
https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py (ShardedH5IOStore)
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from paramctl.model import KerasLayout, Model
from paramctl.store.keras.file import written

SUFFIX = ".weights.json"


def plan(model: Model, layout: KerasLayout, most: int) -> list[KerasLayout]:
    """What each file gets: filled in order, an array over the limit alone in its own, tied names together.

    The first tells the names of the objects that have no variables.
    """
    shards: list[dict[str, str]] = [{}]
    filled = 0
    for parameter in written(model):
        if shards[-1] and filled + parameter.bytes > most:
            shards.append({})
            filled = 0
        filled += parameter.bytes
        shards[-1][parameter.path] = layout.variables[parameter.path]
    home = {path: shard for shard in shards for path in shard}
    for tie in model.ties:
        if tie.tied not in home:
            home[tie.kept][tie.tied] = layout.variables[tie.tied]
    holders = [{_object(stored) for stored in shard.values()} for shard in shards]
    bare = layout.names.keys() - set().union(*holders)
    return [
        KerasLayout(
            shard, {path: name for path, name in layout.names.items() if path in own or (path in bare and not k)}
        )
        for k, (shard, own) in enumerate(zip(shards, holders, strict=True))
    ]


def _object(stored: str) -> str:
    """The object that has a variable, by the variable's path."""
    return stored.rpartition("/")[0].removesuffix("vars").rstrip("/")


def names(stem: str, count: int, taken: Sequence[str]) -> list[str]:
    """Names for so many files; where the set that is there now has one of them, others."""
    made = [f"{stem}_{number:05d}.weights.h5" for number in range(count)]
    generation = 1
    while set(made) & set(taken):
        generation += 1
        made = [f"{stem}-{generation}_{number:05d}.weights.h5" for number in range(count)]
    return made


def first(index: str) -> str:
    """The file that Keras opens whatever the index says."""
    return f"{index.removesuffix(SUFFIX)}_00000.weights.h5"


def index_of(model: Model, shards: Sequence[KerasLayout], names: Sequence[str]) -> str:
    """The index of files of these names."""
    entries: dict[str, list[str]] = {}
    for shard, name in zip(shards, names, strict=True):
        for group in dict.fromkeys(stored.rpartition("/")[0] for stored in shard.variables.values()):
            entries.setdefault(f"/{group}", []).append(os.path.basename(name))
    total = sum(parameter.bytes for parameter in written(model))
    mapped = {group: files[0] if len(files) == 1 else files for group, files in entries.items()}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": mapped}, indent=4)
