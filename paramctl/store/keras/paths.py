"""Where in a Keras 3 ``.weights.h5`` each parameter lies: objects at paths, their variables in ``vars/0``, ``1``, ...

A child of a list is called by its class in snake_case, numbered within the list; an object that stands in several
places is written where Keras comes first, and uses up a number in the others.
https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py (_save_state)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from paramctl.model.layers import Layer
from paramctl.model.layers.base import snake_case
from paramctl.model.tree import KerasLayout
from paramctl.store.keras.network import Object


def layout(top: Object) -> KerasLayout:
    """The paths in a file of a Keras model: of each parameter, and the name that each object tells of itself."""
    variables: dict[str, str] = {}
    names: dict[str, str] = {}
    written: set[int] = set()
    stack = [(top, "")]
    while stack:
        of, path = stack.pop()
        if id(of) in written:
            continue
        written.add(id(of))
        names[path] = of.name
        if of.network is not None:
            stack += reversed(
                [(each, f"{path}/{name}" if path else name) for name, each in _children(of.network.layers)]
            )
        elif of.block is not None and of.block.layer is not None:
            own = of.block.parameters
            parts = _parts(of.block.layer, [each.path[len(of.block.path) + 1 :] for each in own])
            for parameter, (inside, folders, number) in zip(own, parts, strict=True):
                for depth, folder in enumerate(folders, 1):
                    names.setdefault("/".join(filter(None, (path, *inside[:depth]))), folder)
                variables[parameter.path] = "/".join(filter(None, (path, *inside, "vars", str(number))))
    return KerasLayout(variables, names)


def _children(layers: Sequence[Object]) -> Iterator[tuple[str, Object]]:
    """The layers of a list under their names in it."""
    counts: Counter[str] = Counter()
    for each in layers:
        kind = snake_case(each.kind)
        yield f"layers/{kind}_{counts[kind]}" if counts[kind] else f"layers/{kind}", each
        counts[kind] += 1


def _parts(layer: Layer, names: Sequence[str]) -> Iterator[tuple[list[str], list[str], int]]:
    """For each parameter of a layer: the way to the object within it that has it, and its number there.

    The way is by Keras' attributes, and by what the objects call themselves.
    """
    counts: Counter[str] = Counter()
    for name in names:
        folders = name.split("/")[:-1]
        inside = layer.keras_attributes(folders)
        yield inside, folders, counts["/".join(inside)]
        counts["/".join(inside)] += 1
