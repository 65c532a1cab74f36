"""Keras' sharded weights, written: which file each variable goes to, and the index, ``NAME.weights.json``.

Keras opens ``NAME_00000.weights.h5`` whatever the index says, so a file of that name is always there.
https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py (ShardedH5IOStore)
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from paramctl.model import KerasLayout, Model
from paramctl.store.io import shards
from paramctl.store.io.shards import ShardNames
from paramctl.store.keras.weights_file import written

SUFFIX = ".weights.json"
NAMES = ShardNames("{stem}_{number:05d}.weights.h5", r"_[0-9]{5,}\.weights\.h5", 0)


def plan(model: Model, layout: KerasLayout, most: int) -> list[KerasLayout]:
    """What each file gets: filled in order, an array over the limit alone in its own, tied names together.

    The first tells the names of the objects that have no variables.
    """
    cut = shards.plan(written(model), most)
    variables = [{parameter.path: layout.variables[parameter.path] for parameter in shard} for shard in cut]
    home = {path: shard for shard in variables for path in shard}
    for tie in model.ties:
        if tie.tied not in home:
            home[tie.kept][tie.tied] = layout.variables[tie.tied]
    holders = [{_object(stored) for stored in shard.values()} for shard in variables]
    bare = layout.names.keys() - set().union(*holders)
    return [
        KerasLayout(
            shard, {path: name for path, name in layout.names.items() if path in own or (path in bare and not k)}
        )
        for k, (shard, own) in enumerate(zip(variables, holders, strict=True))
    ]


def _object(stored: str) -> str:
    """The object that has a variable, by the variable's path."""
    return stored.rpartition("/")[0].removesuffix("vars").rstrip("/")


def index_of(model: Model, layouts: Sequence[KerasLayout], names: Sequence[str]) -> str:
    """The index of files of these names."""
    entries: dict[str, list[str]] = {}
    for layout, name in zip(layouts, names, strict=True):
        for group in dict.fromkeys(stored.rpartition("/")[0] for stored in layout.variables.values()):
            entries.setdefault(f"/{group}", []).append(os.path.basename(name))
    total = sum(parameter.bytes for parameter in written(model))
    mapped = {group: files[0] if len(files) == 1 else files for group, files in entries.items()}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": mapped}, indent=4)
