"""The tree of a Keras configuration that no document can say, as of somebody's own classes: layers as they are listed.

Nothing is inferred but what the configuration tells: classes, names, what each layer takes, whether it is trained; and
its output's shape where a layer that takes nothing else says what it was built for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from paramctl.errors import ParamctlError
from paramctl.model import Block, Document, Input, Model, from_document
from paramctl.model.layers import Sizes
from paramctl.model.layers.base import snake_case
from paramctl.parameter import Parameter
from paramctl.store.keras.from_config import GRAPHS, MODELS, Called, Unsaid, calls, entry, tensors


def sketch(config: Mapping[str, Any], parameters: Mapping[str, Parameter], name: str) -> Model | None:
    """The model of a configuration with these parameters in it; None if it cannot be read, or has not all of them."""
    try:
        blocks = tuple(_layers(config, "", parameters))
        inputs = tuple(
            Input(str(of["name"]), _batch_shape(of), str(of.get("dtype") or "float32"))
            for of in (layer["config"] for layer in config["config"]["layers"] if layer["class_name"] == "InputLayer")
        )
        outputs = tuple(str(each[0]) for each in tensors(config["config"].get("output_layers", ())))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError):
        return None
    made = Model(name, inputs, outputs, blocks)
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


def _layers(config: Mapping[str, Any], path: str, parameters: Mapping[str, Parameter]) -> Iterator[Block]:
    """The layers of a model as blocks, with the parameters whose paths begin with theirs."""
    listed = {str(layer["config"]["name"]): layer for layer in config["config"]["layers"]}
    first = _first_calls(config, listed)
    shapes: dict[str, Sizes | None] = {}
    for name, layer in listed.items():
        takes = tuple(dict.fromkeys(each[0] for each in first[name].takes))
        if layer["class_name"] == "InputLayer":
            shapes[name] = _batch_shape(layer["config"])
            continue
        here = f"{path}/{name}".lstrip("/")
        inner = tuple(_layers(layer, here, parameters)) if layer["class_name"] in MODELS else ()
        below = {each.path for block in inner for one in block.walk() for each in one.parameters}
        own = [each for each in parameters.values() if each.path.startswith(f"{here}/") and each.path not in below]
        shapes[name] = _built_for(name, first, listed) or _inferred(layer, first[name], shapes)
        yield Block(
            path=here,
            type=snake_case(str(layer["class_name"])),
            output=shapes[name],
            inputs=tuple(f"{path}/{source}".lstrip("/") for source in takes),
            parameters=tuple(_told(each, layer["config"].get("trainable") is False) for each in own),
            blocks=inner,
        )


def _batch_shape(of: Mapping[str, Any]) -> Sizes:
    return tuple(of.get("batch_shape") or of["batch_input_shape"])


def _told(parameter: Parameter, frozen: bool) -> Parameter:
    """A parameter with what the configuration says of its training; of a class not known, only that it is frozen."""
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


def _inferred(layer: Mapping[str, Any], called: Called, shapes: Mapping[str, Sizes | None]) -> Sizes | None:
    """The shape of the output of a layer that a document knows, if those of what it takes are known."""
    given = {source: shapes.get(source) for source, _, _ in called.takes}
    if not given or None in given.values():
        return None
    names = {source: f"x{number}" for number, source in enumerate(given)}
    takes: list[str | None] = [names[source] for source, _, _ in called.takes]
    try:
        made = [entry(layer, {}, takes, called.options)]
        inputs = {names[source]: list(shape)[1:] for source, shape in given.items() if shape is not None}
        document = Document(json.dumps({"inputs": inputs, "layers": made}), "layer", {}, ())
        return from_document(document, "layer").blocks[0].output
    except (Unsaid, ParamctlError):
        return None
