"""Keras' ``.weights.h5``, written: every variable where Keras looks for it, a tie as a hard link, which it accepts.

https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.errors import OutputError
from paramctl.model import KerasLayout, Model
from paramctl.store.checkpoint import Checkpoint, OptimizerState, Provenance
from paramctl.store.hdf5 import format as h5
from paramctl.store.io.atomic import Temporary
from paramctl.store.io.extents import Extent
from paramctl.store.keras.network import NotInKeras, Object, network
from paramctl.store.keras.paths import layout


def create(
    temporary: Temporary, model: Model, notes: Mapping[str, Provenance], recipe: int, like: Checkpoint | None = None
) -> dict[str, Extent]:
    """Lay out a file; where the values of each array are to be written. Raises OutputError if it is no Keras model."""
    return lay_out(temporary, model, layout_of(model, temporary.target), like.beside(model) if like else None)


def layout_of(model: Model, target: str) -> KerasLayout:
    """Where Keras keeps the parameters of a model: as in the file they come from, else by the model's document.

    Raises OutputError, with the name of the target, where neither is known.
    """
    if model.keras is not None:
        return model.keras
    return layout(keras_model(model, target))


def keras_model(model: Model, target: str, as_graph: bool = False) -> Object:
    """The Keras model that a model's document is; see network. Raises OutputError, with the name of the target."""
    if model.document is None:
        if model.origin is not None:
            rule = f"a file of Keras holds all arrays of {model.name}, in Keras' layout, and these are not"
            raise OutputError(f"{target}: {rule}; paramctl init MODEL --rule 'PATTERN=from:FILE' fills the rest")
        rule = "which layers of Keras these arrays are of is not known"
        raise OutputError(f"{target}: {rule}: name the model's document by --like")
    try:
        return network(model, as_graph)
    except NotInKeras as error:
        raise OutputError(f"{target}: {model.name} is no Keras model: {error}") from error


def written(model: Model) -> list[Parameter]:
    """The parameters that have an array of their own in Keras' file: a transposed tie is a copy there."""
    linked = {tie.tied for tie in model.ties if not tie.transpose}
    owners = ((path, model.owner(path).dtype) for path in model.parameters if path not in linked)
    return [replace(model.parameters[path], dtype=dtype) for path, dtype in owners]


def lay_out(
    temporary: Temporary, model: Model, layout: KerasLayout, apart: OptimizerState | None = None
) -> dict[str, Extent]:
    """Lay out a file of those of a model's parameters that a layout has; a slash begins the keys of what is apart."""
    stored = {path: layout.variables[path] for path in model.parameters if path in layout.variables}
    groups: dict[str, dict[str, Any]] = {}
    for path, name in (*layout.names.items(), *(apart.names.items() if apart else ())):
        folder = f"{path}/vars" if path else "vars"
        _need(groups, folder)
        groups[folder] = {"name": name} if name else {}
    beside = dict(apart.arrays) if apart else {}
    for path in (*stored.values(), *beside):
        _need(groups, path.rpartition("/")[0])
    arrays: list[tuple[Parameter, str, dict[str, Any]]] = [
        (each, stored[each.path], {}) for each in written(model) if each.path in stored
    ]
    arrays += [(replace(each, path=f"/{path}"), path, {}) for path, each in beside.items()]
    links = [(stored[tie.kept], stored[tie.tied]) for tie in model.ties if not tie.transpose and tie.tied in stored]
    return h5.lay_out(temporary, arrays, list(groups.items()), links)


def _need(groups: dict[str, dict[str, Any]], folder: str) -> None:
    """Have a group and those it is in."""
    parts = folder.split("/")
    for count in range(1, len(parts) + 1):
        groups.setdefault("/".join(parts[:count]), {})
