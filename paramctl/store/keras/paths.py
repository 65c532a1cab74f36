"""The path of each parameter in a Keras 3 ``.weights.h5``.

Follows _save_state and _save_container_state of Keras 3.15.
https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from paramctl.model.layers import Layer
from paramctl.model.layers.base import snake_case
from paramctl.store.contents import KerasLayout
from paramctl.store.keras.objects import KerasObject


def keras_layout(model: KerasObject) -> KerasLayout:
    """Return the path of each parameter in a file, and the own name of each object by its path."""
    variables: dict[str, str] = {}
    names: dict[str, str] = {}
    visited: set[KerasObject] = set()
    stack = [(model, "")]
    while stack:
        current, path = stack.pop()
        if current in visited:  # _save_state, visited_saveables: a shared layer is written where it comes first
            continue
        visited.add(current)
        names[path] = current.name
        if current.network is not None:
            stack += reversed([(child, _join(path, name)) for name, child in _children(current.network.layers)])
        elif current.block is not None and current.block.layer is not None:
            parameters = current.block.parameters
            inner = [parameter.path[len(current.block.path) + 1 :] for parameter in parameters]
            places = _places(current.block.layer, inner)
            for parameter, (attributes, folders, number) in zip(parameters, places, strict=True):
                for depth, folder in enumerate(folders, 1):
                    names.setdefault(_join(path, *attributes[:depth]), folder)
                variables[parameter.path] = _join(path, *attributes, "vars", str(number))
    return KerasLayout(variables, names)


def _join(*parts: str) -> str:
    """Return a path of these parts. The path of the model itself is empty."""
    return "/".join(filter(None, parts))


def _children(layers: Sequence[KerasObject]) -> Iterator[tuple[str, KerasObject]]:
    """Yield each layer of a list with its path below the model.

    The name is the class in snake case, and a number from the second of a class on (_get_unique_name).
    """
    counts: Counter[str] = Counter()
    for layer in layers:
        name = snake_case(layer.class_name)
        yield f"layers/{name}_{counts[name]}" if counts[name] else f"layers/{name}", layer
        counts[name] += 1


def _places(layer: Layer, names: Sequence[str]) -> Iterator[tuple[list[str], list[str], int]]:
    """Yield the place of each parameter of a layer: attributes, own names of the objects there, and its number.

    ``lstm_cell/bias`` of an LSTM is number 2 in the attribute ``cell``, an object with the own name lstm_cell.
    """
    counts: Counter[str] = Counter()
    for name in names:
        folders = name.split("/")[:-1]
        attributes = layer.keras_attributes(folders)
        yield attributes, folders, counts["/".join(attributes)]
        counts["/".join(attributes)] += 1
