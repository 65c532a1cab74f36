"""A Keras configuration (config.json of ``.keras``, model_config of Keras 2) as a model document.

The language of documents has Keras' names for layers and options, so most of it is said in the same words. What has no
counterpart here, such as a class of somebody's own, gives no document: Unsaid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from paramctl.model.layers import FUNCTIONS, LAYERS
from paramctl.model.layers.base import snake_case

SCHEME_OPTIONS = ("value", "mean", "stddev", "minval", "maxval", "scale", "mode", "distribution", "gain")


class Unsaid(ValueError):
    """What a configuration holds that a document cannot say."""


def document(config: Mapping[str, Any]) -> dict[str, Any]:
    """The document, as YAML would load it. Raises Unsaid."""
    try:
        made = {"name": str(config["config"]["name"]), **_model(config, {})}
    except (KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise Unsaid(str(error)) from error
    return made


def _model(config: Mapping[str, Any], blocks: dict[str, Any]) -> dict[str, Any]:
    """Inputs, layers, outputs and blocks of a Sequential or Functional model."""
    kind, of = config["class_name"], config["config"]
    if kind == "Sequential":
        inputs, layers = _chain(of["layers"], blocks, config)
        made = {"input": inputs, "layers": layers}
    elif kind in ("Functional", "Model"):
        made = _graph(of, blocks)
    else:
        raise Unsaid(f"the class {kind}")
    return made | ({"blocks": blocks} if blocks else {})


def _chain(layers: list[Any], blocks: dict[str, Any], config: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    given: Any = config.get("build_config", {}).get("input_shape") or config["config"].get("build_input_shape")
    made = []
    for layer in layers:
        if layer["class_name"] == "InputLayer":
            given = _input(layer)
        else:
            given = given or layer["config"].get("batch_input_shape")
            made.append(_entry(layer, blocks))
    if isinstance(given, list):
        given = given[1:]
    return given, made


def _graph(of: Mapping[str, Any], blocks: dict[str, Any]) -> dict[str, Any]:
    """Each layer after what it takes, from the outputs of those."""
    layers = {layer["config"]["name"]: layer for layer in of["layers"]}
    inputs = {name: _input(layer) for name, layer in layers.items() if layer["class_name"] == "InputLayer"}
    calls = {name: list(_calls(layer)) for name, layer in layers.items()}
    names: dict[tuple[str, int], str] = {(name, 0): name for name in inputs}
    waiting = [(name, number) for name in layers if name not in inputs for number in range(len(calls[name]))]
    made: list[Any] = []
    while waiting:
        left = []
        for name, number in waiting:
            takes = [names.get(each) for each in calls[name][number]]
            if None in takes or (number and (name, 0) not in names):
                left.append((name, number))
                continue
            sources: Any = takes[0] if len(takes) == 1 else takes
            if number:
                again = f"{name}-{number}"
                made.append({"reuse": {"layer": name, "from": sources, "name": again}})
                names[name, number] = again
            else:
                made.append(_entry(layers[name], blocks, takes))
                names[name, 0] = name
        if len(left) == len(waiting):
            raise Unsaid("layers that wait for each other")
        waiting = left
    outputs = [names[name, node] for name, node, *_ in _tensors(of["output_layers"])]
    return {"inputs": inputs, "layers": made, "outputs": outputs}


def _tensors(listed: Any) -> list[Any]:
    if isinstance(listed, dict):
        return [each for value in listed.values() for each in _tensors(value)]
    return [listed] if listed and isinstance(listed[0], str) else [each for item in listed for each in _tensors(item)]


def _calls(layer: Mapping[str, Any]) -> Iterator[list[tuple[str, int]]]:
    """What each call of a layer takes: (layer, number of its call)."""
    for node in layer.get("inbound_nodes", ()):
        if isinstance(node, dict):  # Keras 3
            yield list(_histories([node["args"], node["kwargs"]]))
        else:  # Keras 2
            yield [(each[0], each[1]) for each in ([node] if isinstance(node[0], str) else node)]


def _histories(value: Any) -> Iterator[tuple[str, int]]:
    if isinstance(value, list):
        for each in value:
            yield from _histories(each)
    elif isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            name, node, _ = value["config"]["keras_history"]
            yield name, node
        else:
            yield from _histories(list(value.values()))


def _input(layer: Mapping[str, Any]) -> dict[str, Any]:
    of = layer["config"]
    shape = of.get("batch_shape") or of.get("batch_input_shape") or of["shape"]
    return {"shape": shape[1:], "dtype": of.get("dtype") or "float32"}


def _entry(layer: Mapping[str, Any], blocks: dict[str, Any], takes: list[str | None] | None = None) -> dict[str, Any]:
    """A layer as an entry of a document's list."""
    kind, of = layer["class_name"], layer["config"]
    name = _name(of["name"])
    common: dict[str, Any] = {"name": name}
    if takes is not None:
        common["from"] = takes[0] if len(takes) == 1 else takes
    if of.get("trainable") is False:
        common["trainable"] = False
    if kind in ("Sequential", "Functional", "Model"):
        inner = _model(layer, blocks)
        if kind != "Sequential":
            raise Unsaid("a functional model within another")
        block = f"{name}_block"
        blocks[block] = {"layers": inner["layers"]}
        return {block: common}
    type_ = snake_case(kind)
    if type_ not in LAYERS:
        raise Unsaid(f"the class {kind}")
    if type_ in ("multi_head_attention", "group_query_attention") and takes is not None:
        if len(set(takes)) > 1:
            raise Unsaid("cross-attention")
        common["from"] = takes[0]
    options = {key: _option(key, value) for key, value in of.items() if key in LAYERS[type_].signature}
    return {type_: {key: value for key, value in options.items() if value is not None} | common}


def _option(key: str, value: Any) -> Any:
    """An option's value: a function or a scheme by its name, a layer as an entry."""
    if key.endswith("_initializer"):
        return _scheme(value)
    if "activation" in key:
        if isinstance(value, dict):
            value = value.get("config") if isinstance(value.get("config"), str) else value["class_name"]
        named = snake_case(str(value)) if value is not None else None
        if named is not None and named not in FUNCTIONS:
            raise Unsaid(f"the function {value}")
        return named
    if key == "axis" and isinstance(value, list) and len(value) == 1:  # as Keras 2 has it
        return value[0]
    if isinstance(value, dict):
        if "class_name" in value and snake_case(value["class_name"]) in LAYERS:
            entry = _entry(value, {})
            for options in entry.values():
                options.pop("name", None)
            return entry
        raise Unsaid(f"the option {key}")
    return value


def _scheme(value: Any) -> Any:
    if not isinstance(value, dict):
        return snake_case(str(value)) if value is not None else None
    options = {key: each for key, each in value["config"].items() if each is not None and key in SCHEME_OPTIONS}
    name = snake_case(value["class_name"])
    return {name: options} if options else name


def _name(text: str) -> str:
    if not isinstance(text, str) or not re.fullmatch(r"[\w.-]+", text) or "." in text:
        raise Unsaid(f"the name {text!r}")
    return text
