"""The tree of a Keras configuration that no document can say, as of somebody's own classes: layers as they are listed.

Nothing is inferred but what the configuration tells: classes, names, what each layer takes, whether it is trained. A
layer of Keras' own among them is what a document would say of it, where the shapes that it takes are known: from its
sources, or from a layer that was built for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from paramctl.errors import ParamctlError
from paramctl.model import Block, Document, Input, Model, from_document
from paramctl.model.layers import Sizes
from paramctl.model.layers.base import snake_case
from paramctl.parameter import Parameter
from paramctl.store.keras.from_config import GRAPHS, MODELS, Called, Unsaid, calls, entry, tensors

SHAPERS = ("Flatten", "Reshape")
"""Layers that lay an image flat: where one is called twice, which image that is of is not told by a layer's name."""


def sketch(config: Mapping[str, Any], parameters: Mapping[str, Parameter], name: str) -> Model | None:
    """The model of a configuration with these parameters in it; None if it cannot be read, or has not all of them."""
    try:
        inputs = tuple(
            Input(str(of["name"]), _batch_shape(of), str(of.get("dtype") or "float32"))
            for of in (layer["config"] for layer in config["config"]["layers"] if layer["class_name"] == "InputLayer")
        )
        given = [-1 - place for place in range(len(inputs))]
        blocks, _ = _Sketcher(parameters).layers(config, "", given)
        outputs = tuple(str(each[0]) for each in tensors(config["config"].get("output_layers", ())))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError):
        return None
    made = Model(name, inputs, outputs, tuple(blocks))
    return made if made.parameters.keys() == parameters.keys() else None


def names(config: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, list[str]]:
    """What the variables of layers are called, by the path that they are in, where class and options tell.

    counts: how many variables with unknown names each path has.
    """
    made: dict[str, list[str]] = {}
    try:
        for path, layer in _leaves(config, ""):
            if any(f"{folder}/".startswith(f"{path}/") for folder in counts):
                for name in _variables(layer):
                    folder, _, last = f"{path}/{name}".rpartition("/")
                    made.setdefault(folder, []).append(last)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError):
        return {}
    return {folder: found for folder, found in made.items() if len(found) == counts.get(folder)}


def _variables(layer: Mapping[str, Any]) -> list[str]:
    """The variables of a layer that a document knows, by their paths within it."""
    shape = layer.get("build_config", {}).get("input_shape")
    if not shape:
        return []
    try:
        text = json.dumps({"input": shape[1:], "layers": [entry(layer, {})]})
        (block,) = from_document(Document(text, "layer", {}, ()), "layer").blocks
    except (Unsaid, ParamctlError):
        return []
    return [each.path.partition("/")[2] for each in block.parameters]


def _leaves(config: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for layer in config["config"]["layers"]:
        inside = f"{path}/{layer['config']['name']}".lstrip("/")
        if layer["class_name"] in MODELS:
            yield from _leaves(layer, inside)
        else:
            yield inside, layer


class _Sketcher:
    """Makes the blocks of a configuration, and numbers the outputs of layers, each by its first call."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self.parameters = parameters
        self.numbers = count(1)

    def layers(self, config: Mapping[str, Any], path: str, given: Sequence[int]) -> tuple[list[Block], tuple[int, ...]]:
        """The layers of a model with the parameters whose paths begin with theirs, and the outputs that it gives.

        given: the numbers of the outputs that are its inputs.
        """
        listed = {str(layer["config"]["name"]): layer for layer in config["config"]["layers"]}
        first = _first_calls(config, listed)
        again = any(layer["class_name"] in SHAPERS and len(calls(layer)) > 1 for layer in listed.values())
        shapes: dict[str, Sizes | None] = {}
        gives: dict[str, int] = {}
        entering, blocks = iter(given), []
        for name, layer in listed.items():
            gives[name] = next(self.numbers)
            if layer["class_name"] == "InputLayer":
                shapes[name], gives[name] = _batch_shape(layer["config"]), next(entering, gives[name])
                continue
            known = None if again else _as_in_document(layer, first[name], shapes)
            shapes[name] = _built_for(name, first, listed) or (known.output if known else None)
            sources = tuple(dict.fromkeys(each[0] for each in first[name].takes))
            block = self.block(layer, f"{path}/{name}".lstrip("/"), known, [gives.get(each, 0) for each in sources])
            inputs = tuple(f"{path}/{source}".lstrip("/") for source in sources)
            blocks.append(replace(block, output=shapes[name], inputs=inputs, gives=gives[name]))
        ends = [str(each[0]) for each in tensors(config["config"].get("output_layers", ()))] or [*listed][-1:]
        return blocks, tuple(gives[name] for name in ends)

    def block(self, layer: Mapping[str, Any], path: str, known: Block | None, takes: Sequence[int]) -> Block:
        is_model = layer["class_name"] in MODELS
        inner, ends = self.layers(layer, path, takes) if is_model else ([], ())
        below = {each.path for block in inner for one in block.walk() for each in one.parameters}
        own = [each for each in self.parameters.values() if each.path.startswith(f"{path}/") and each.path not in below]
        frozen = layer["config"].get("trainable") is False
        declared = {f"{path}/{each.path.partition('/')[2]}": each for each in known.parameters} if known else {}
        fits = {name: each.shape for name, each in declared.items()} == {each.path: each.shape for each in own}
        return Block(
            path=path,
            type=snake_case(str(layer["class_name"])),
            output=None,
            inputs=(),
            parameters=tuple(_told(each, frozen, declared.get(each.path) if fits else None) for each in own),
            blocks=tuple(inner),
            layer=known.layer if known and fits and not is_model else None,
            takes=tuple(takes),
            ends=ends,
        )


def _batch_shape(of: Mapping[str, Any]) -> Sizes:
    return tuple(of.get("batch_shape") or of["batch_input_shape"])


def _told(parameter: Parameter, frozen: bool, declared: Parameter | None) -> Parameter:
    """A parameter with what its layer says of it, and of its training; of a class not known, only that it is frozen."""
    if declared is not None:
        trainable = declared.trainable and not frozen
        return replace(declared, path=parameter.path, dtype=parameter.dtype, trainable=trainable)
    known = None if parameter.kind == "unknown" else parameter.kind != "state"
    return replace(parameter, trainable=False if frozen else known)


def _first_calls(config: Mapping[str, Any], listed: Mapping[str, Any]) -> dict[str, Called]:
    """By each layer's name, its first call."""
    if config["class_name"] in GRAPHS:
        return {name: next(iter(calls(layer)), Called([], {})) for name, layer in listed.items()}
    order = [*listed]
    return {name: Called([(order[place - 1], 0, 0)] if place else [], {}) for place, name in enumerate(order)}


def _built_for(name: str, first: Mapping[str, Called], listed: Mapping[str, Any]) -> Sizes | None:
    """The shape of a layer's output, if one that takes it alone was built for a shape."""
    for other, called in first.items():
        shape = listed[other].get("build_config", {}).get("input_shape")
        alone = [source for source, _, _ in called.takes] == [name]
        if alone and isinstance(shape, list) and all(size is None or type(size) is int for size in shape):
            return tuple(shape)
    return None


def _as_in_document(layer: Mapping[str, Any], called: Called, shapes: Mapping[str, Sizes | None]) -> Block | None:
    """A layer as a document would have it, if a document can, and the shapes of what it takes are known."""
    given = {source: shapes.get(source) for source, _, _ in called.takes}
    if not given or None in given.values():
        return None
    names = {source: f"x{number}" for number, source in enumerate(given)}
    takes: list[str | None] = [names[source] for source, _, _ in called.takes]
    try:
        made = [entry(layer, {}, takes, called.options)]
        inputs = {names[source]: list(shape)[1:] for source, shape in given.items() if shape is not None}
        document = Document(json.dumps({"inputs": inputs, "layers": made}), "layer", {}, ())
        return from_document(document, "layer").blocks[0]
    except (Unsaid, ParamctlError):
        return None
