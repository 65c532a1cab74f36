"""Write Keras 3 ``.weights.h5``: each variable at the path that Keras expects, a tie as a hard link.

https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.errors import OutputError, message
from paramctl.model import Model
from paramctl.store.contents import Contents, KerasLayout, OptimizerState, WithOrigin, kept_origin
from paramctl.store.hdf5 import files as hdf5
from paramctl.store.hdf5.names import check_paths
from paramctl.store.io.atomic import Temporary, replacing
from paramctl.store.io.extents import Extent
from paramctl.store.io.write_values import WriteOptions, Written, write_values
from paramctl.store.keras.network import keras_network
from paramctl.store.keras.objects import KerasObject, NotInKeras
from paramctl.store.keras.paths import keras_layout


def write(path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
    """Write a file; see Format.write. The optimizer state is kept if the parameters keep their layout."""
    contents = WithOrigin(contents, kept_origin(contents, path))
    with replacing(path, options.force, options.confirm) as temporary:
        layout = layout_of(contents, path)
        extents = lay_out(temporary, contents.model, layout, contents.origin.carried_optimizer)
        yield from write_values(contents, contents.model.parameters.values(), temporary, extents, options)


def layout_of(contents: Contents, target: str) -> KerasLayout:
    """Return the path of each parameter in a Keras file: as in its own file, else from the document.

    target: the name of the output, for errors.
    Raises OutputError if neither exists, or Keras cannot build the model.
    """
    if contents.origin.keras is not None:
        return contents.origin.keras
    return keras_layout(keras_model(contents, target))


def keras_model(contents: Contents, target: str) -> KerasObject:
    """Return the Keras model of a document (see keras_network). Raises OutputError with the target's name."""
    model = contents.model
    if model.document is None:
        if contents.origin.document is not None:
            rule = f"a Keras file must hold every parameter of {model.name}, in Keras' layout"
            hint = "Fill in the others with: paramctl init MODEL --rule 'PATTERN=from:FILE'"
            raise OutputError(message(f"{target}: {rule}", hint=hint))
        hint = "Name the model document with --like MODEL.yaml"
        raise OutputError(message(f"{target}: the Keras layers of these arrays are unknown", hint=hint))
    try:
        return keras_network(model)
    except NotInKeras as error:
        raise OutputError(f"{target}: Keras cannot build {model.name}: {error}") from error


def written_parameters(model: Model) -> list[Parameter]:
    """Return the parameters that have an array in a Keras file, rather than a hard link.

    A transposed tie is one of them: a hard link cannot transpose, so the file has a copy.
    """
    linked = {tie.tied for tie in model.ties if not tie.transpose}
    return [
        replace(parameter, dtype=model.owner(path).dtype)
        for path, parameter in model.parameters.items()
        if path not in linked
    ]


def lay_out(
    temporary: Temporary, model: Model, layout: KerasLayout, optimizer: OptimizerState | None = None
) -> dict[str, Extent]:
    """Lay out a file with those parameters of a model that the layout has, and return the extent of each array.

    optimizer: the optimizer state to write too. Its extents have keys that begin with a slash.
    """
    stored = {path: layout.variables[path] for path in model.parameters if path in layout.variables}
    groups: dict[str, dict[str, Any]] = {}
    for path, name in (*layout.names.items(), *(optimizer.names.items() if optimizer else ())):
        # an object without variables has an empty group too, which records its name
        group = f"{path}/vars" if path else "vars"
        _add_group(groups, group)
        groups[group] = {"name": name} if name else {}
    state = dict(optimizer.arrays) if optimizer else {}
    check_paths([*stored.values(), *state], temporary.target)
    for path in (*stored.values(), *state):
        _add_group(groups, path.rpartition("/")[0])
    arrays: list[tuple[Parameter, str, dict[str, Any]]] = [
        (parameter, stored[parameter.path], {}) for parameter in written_parameters(model) if parameter.path in stored
    ]
    arrays += [(replace(array, path=f"/{path}"), path, {}) for path, array in state.items()]
    links = [(stored[tie.kept], stored[tie.tied]) for tie in model.ties if not tie.transpose and tie.tied in stored]
    return hdf5.lay_out(temporary, arrays, list(groups.items()), links)


def _add_group(groups: dict[str, dict[str, Any]], group: str) -> None:
    """Add a group, after the groups that contain it. The root is there already."""
    segments = group.split("/") if group else []
    for count in range(1, len(segments) + 1):
        groups.setdefault("/".join(segments[:count]), {})
