"""A layer in a Keras configuration: its class, its name, and the calls that the configuration lists for it.

A configuration is hostile input: any key may be missing and any value may have another type. Callers catch MALFORMED.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from paramctl.model.layers import LAYERS
from paramctl.model.layers.base import snake_case

GRAPHS = ("Functional", "Model")
MODELS = ("Sequential", *GRAPHS)
"""The classes of models. Early files of Keras 2 have Model for Functional."""

INNER_LAYERS = ("layers", "layer", "backward_layer", "cell", "cells")
"""The options that hold layers with variables of their own."""

EXPORTED_TYPES = {snake_case(cls.keras_class): name for name, cls in LAYERS.items() if cls.keras_class}
"""The types of the layers that Keras exports under another name, by that name in snake case."""

ATTENTION_INPUTS = ("query", "value", "key")
"""The inputs of attention in the order in which it takes them. Any call may name them, in any order."""

MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError)
"""The errors that reading a malformed configuration raises."""


class InboundNode(NamedTuple):
    """One call of a layer, as ``inbound_nodes`` lists it.

    inputs: the outputs that the call takes, each as (layer, number of that layer's call, output of that call).
    options: the keyword arguments of the call.
    """

    inputs: list[tuple[str, int, int]]
    options: Mapping[str, Any]


class NetworkCalls(NamedTuple):
    """The calls of a Functional, those of each layer numbered from 0.

    nodes: the calls of each layer, by its name.
    outputs: the calls that give the outputs of the whole, each as (layer, number of that layer's call).
    """

    nodes: Mapping[str, list[InboundNode]]
    outputs: list[tuple[str, int]]


def layer_name(layer: Mapping[str, Any]) -> str:
    """Return a layer's name. A custom class may leave it out of its config; Keras repeats it beside the config."""
    return str(layer["config"].get("name") or layer["name"])


def layer_type(class_name: str) -> str:
    """Return the type that a model document uses for a class of Keras."""
    name = snake_case(class_name)
    return EXPORTED_TYPES.get(name, name)


def is_builtin(layer: Mapping[str, Any]) -> bool:
    """Return whether a layer's class is part of Keras. True for Keras 2 files, which do not record the module."""
    module = layer.get("module")
    if module is None:
        return not layer.get("registered_name")
    return str(module).partition(".")[0] in ("keras", "tf_keras")


def inbound_nodes(layer: Mapping[str, Any]) -> list[InboundNode]:
    """Return the calls of a layer in a Functional (keras/src/models/functional.py, deserialize_node)."""
    nodes = []
    for node in layer.get("inbound_nodes", ()):
        if isinstance(node, dict):  # Keras 3: {"args": [...], "kwargs": {...}}
            nodes.append(InboundNode(list(_histories([node["args"], _in_order(node["kwargs"])])), node["kwargs"]))
        else:  # Keras 2: [["dense", 0, 0, {}], ...], or ["dense", 0, 0, {}] for a single input
            inputs = [node] if isinstance(node[0], str) else node
            options = inputs[0][3] if len(inputs[0]) > 3 else {}
            named = [tensor for tensor in _in_order(options) if _is_legacy_tensor(tensor)]
            nodes.append(InboundNode([tuple(tensor[:3]) for tensor in [*inputs, *named]], options))
    return nodes


def network_calls(config: Mapping[str, Any]) -> NetworkCalls:
    """Return the calls in the config of a Functional.

    Number 0 of a model within it is the call by which that model was built, which no configuration lists. Keras 3
    counts it in ``output_layers`` alone, and for a Functional alone (functional.py, get_config: kept_nodes = 1).
    Keras 2 counts it in ``inbound_nodes`` too, and for a Sequential as well if its input was known.
    """
    layers = {layer_name(layer): layer for layer in config["layers"]}
    nodes = {name: inbound_nodes(layer) for name, layer in layers.items()}
    outputs = [(str(name), call) for name, call, *_ in flat_tensors(config.get("output_layers", ()))]
    if any(isinstance(node, dict) for layer in layers.values() for node in layer.get("inbound_nodes", ())):
        return NetworkCalls(nodes, [(name, call - (layers[name]["class_name"] in GRAPHS)) for name, call in outputs])
    taken = [tensor[:2] for calls in nodes.values() for node in calls for tensor in node.inputs]
    last: dict[str, int] = {}
    for name, call in (*taken, *outputs):
        last[name] = max(last.get(name, 0), call)
    # every listed call is taken by another or an output, so the last number shows the first
    first = {
        name: int(layer["class_name"] in MODELS and last.get(name) == len(nodes[name]))
        for name, layer in layers.items()
    }
    renumbered = {
        name: [
            node._replace(inputs=[(source, call - first[source], output) for source, call, output in node.inputs])
            for node in calls
        ]
        for name, calls in nodes.items()
    }
    return NetworkCalls(renumbered, [(name, call - first[name]) for name, call in outputs])


def has_other_tensors(options: Mapping[str, Any]) -> bool:
    """Return whether the keyword arguments of a call of attention have tensors other than ATTENTION_INPUTS: masks."""
    others = [value for name, value in options.items() if name not in ATTENTION_INPUTS]
    return any(_histories(others)) or any(map(_is_legacy_tensor, others))


def _in_order(options: Mapping[str, Any]) -> list[Any]:
    """Return the keyword arguments of a call, those of attention in the order in which it takes them."""
    first = [options[name] for name in ATTENTION_INPUTS if name in options]
    return [*first, *(value for name, value in options.items() if name not in ATTENTION_INPUTS)]


def _is_legacy_tensor(value: Any) -> bool:
    """Return whether a keyword argument of Keras 2 is the output of a layer: ["dense", 0, 0]."""
    return isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)


def _histories(value: Any) -> Iterator[tuple[str, int, int]]:
    """Yield the ``keras_history`` of each tensor in the arguments of a call."""
    if isinstance(value, list):
        for item in value:
            yield from _histories(item)
    elif isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            name, call, output = value["config"]["keras_history"]
            yield name, call, output
        else:
            yield from _histories(list(value.values()))


def flat_tensors(tensors: Any) -> list[Any]:
    """Return the tensors in any nest of lists and dicts, each as [layer, number of its call, output of the call].

    ``input_layers`` and ``output_layers`` hold one tensor as ["dense", 0, 0], several as a list or a dict of these.
    """
    if isinstance(tensors, dict):
        return [tensor for value in tensors.values() for tensor in flat_tensors(value)]
    if tensors and isinstance(tensors[0], str):
        return [tensors]
    return [tensor for item in tensors for tensor in flat_tensors(item)]


def inner_layers(layer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the layers in the config of a layer: those of a model, and the layers or cells that it wraps."""
    for option in INNER_LAYERS:
        value = layer["config"].get(option)
        for item in value if isinstance(value, list) else [value]:
            is_object = isinstance(item, dict) and "class_name" in item and isinstance(item.get("config"), dict)
            if is_object and (item["config"].get("name") or item.get("name")):
                yield item


def leaf_layers(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each layer of a model that is not itself a model, with its path."""
    for layer in config["config"]["layers"]:
        inner = f"{path}/{layer_name(layer)}".lstrip("/")
        if layer["class_name"] in MODELS:
            yield from leaf_layers(layer, inner)
        else:
            yield inner, layer


def input_shape(config: Mapping[str, Any]) -> tuple[int | None, ...]:
    """Return the shape in the config of an InputLayer, batch axis first."""
    return tuple(config.get("batch_shape") or config["batch_input_shape"])
