"""Sharded Keras weights: which file each variable goes to, and their index ``NAME.weights.json``.

Keras opens ``NAME_00000.weights.h5`` whatever the index says, so the numbers of the shards start at 0.
https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py (ShardedH5IOStore)
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from paramctl.model import KerasLayout, Model
from paramctl.store.io import shards
from paramctl.store.io.shards import ShardNames
from paramctl.store.keras.weights_file import written_parameters

SUFFIX = ".weights.json"
NAMES = ShardNames("{stem}_{number:05d}.weights.h5", r"_[0-9]{5,}\.weights\.h5", 0)


def plan(model: Model, layout: KerasLayout, most: int) -> list[KerasLayout]:
    """Return the layout of each shard. Shards are filled in order.

    An array over the limit has a shard to itself. Tied parameters share a shard. The first shard has the own names of
    the objects without variables.
    most: the limit of a shard in bytes.
    """
    cut = shards.plan(written_parameters(model), most)
    variables = [{parameter.path: layout.variables[parameter.path] for parameter in shard} for shard in cut]
    home = {path: shard for shard in variables for path in shard}
    for tie in model.ties:
        if tie.tied not in home:  # it is a hard link, and so must be in the file of the kept array
            home[tie.kept][tie.tied] = layout.variables[tie.tied]
    objects = [{_object(stored) for stored in shard.values()} for shard in variables]
    empty = layout.names.keys() - set().union(*objects)
    layouts = []
    for number, (shard, own) in enumerate(zip(variables, objects, strict=True)):
        named = own | empty if number == 0 else own
        layouts.append(KerasLayout(shard, {path: name for path, name in layout.names.items() if path in named}))
    return layouts


def _object(stored: str) -> str:
    """Return the path of the object that has a variable, from the variable's path."""
    return stored.rpartition("/")[0].removesuffix("vars").rstrip("/")


def index_of(model: Model, layouts: Sequence[KerasLayout], names: Sequence[str]) -> str:
    """Return the text of the index of these shards.

    names: the files of the shards, in order.
    """
    files: dict[str, list[str]] = {}  # by group
    for layout, name in zip(layouts, names, strict=True):
        for group in dict.fromkeys(stored.rpartition("/")[0] for stored in layout.variables.values()):
            files.setdefault(f"/{group}", []).append(os.path.basename(name))
    total = sum(parameter.bytes for parameter in written_parameters(model))
    weight_map = {group: holders[0] if len(holders) == 1 else holders for group, holders in files.items()}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=4)
