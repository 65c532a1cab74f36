"""A Keras configuration (config.json of ``.keras``, model_config of Keras 2) as a model document.

The language of documents has Keras' names for layers and options, so most of it is said in the same words. What has no
counterpart here, such as a class of somebody's own, gives no document: Unsaid.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

from paramctl.model.layers import FUNCTIONS, LAYERS
from paramctl.model.layers.base import snake_case

SCHEME_OPTIONS = ("value", "mean", "stddev", "minval", "maxval", "scale", "mode", "distribution", "gain")
GRAPHS = ("Functional", "Model")
MODELS = ("Sequential", *GRAPHS)
ALSO = {snake_case(cls.keras_class): name for name, cls in LAYERS.items() if cls.keras_class}
"""Types of layers by the names under which Keras exports them, where these differ."""


MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError)
"""What reading a configuration raises that is none of Keras'."""


class UnsupportedConfig(ValueError):
    """What a configuration holds that a document cannot say."""


class Called(NamedTuple):
    """One call of a layer: the outputs that it takes, as (layer, number of its call, place), and what is said there."""

    takes: list[tuple[str, int, int]]
    options: Mapping[str, Any]


def document(config: Mapping[str, Any]) -> dict[str, Any]:
    """The document, as YAML would load it. Raises Unsaid."""
    try:
        made = {"name": str(config["config"]["name"]), **_model(config, {})}
    except MALFORMED as error:
        raise UnsupportedConfig(str(error)) from error
    return made


def _model(config: Mapping[str, Any], blocks: dict[str, Any]) -> dict[str, Any]:
    """Inputs, layers, outputs and blocks of a Sequential or Functional model."""
    kind, of = config["class_name"], config["config"]
    if kind == "Sequential":
        inputs, layers = _chain(of["layers"], blocks, config)
        made = {"input": inputs, "layers": layers}
    elif kind in GRAPHS:
        made = _graph(of, blocks)
    else:
        raise UnsupportedConfig(f"the class {kind}")
    return made | ({"blocks": blocks} if blocks else {})


def _chain(layers: list[Any], blocks: dict[str, Any], config: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    given: Any = config.get("build_config", {}).get("input_shape") or config["config"].get("build_input_shape")
    made = []
    for layer in layers:
        if layer["class_name"] == "InputLayer":
            given = _input(layer)
        else:
            given = given or layer["config"].get("batch_input_shape")
            made.append(entry(layer, blocks))
    if isinstance(given, list):
        given = given[1:]
    return given, made


def _graph(of: Mapping[str, Any], blocks: dict[str, Any]) -> dict[str, Any]:
    """Each layer after what it takes, from the outputs of those."""
    layers = {layer["config"]["name"]: layer for layer in of["layers"]}
    inputs = {name: _input(layer) for name, layer in layers.items() if layer["class_name"] == "InputLayer"}
    names = {(name, 0): name for name in inputs}
    made = _entries(layers, names, blocks)
    functional = {name for name, layer in layers.items() if layer["class_name"] in GRAPHS}
    outputs = [names[name, node - (name in functional)] for name, node, *_ in tensors(of["output_layers"])]
    return {"inputs": inputs, "layers": made, "outputs": outputs}


def _entries(layers: Mapping[str, Any], names: dict[tuple[str, int], str], blocks: dict[str, Any]) -> list[Any]:
    """The layers of a graph as entries, each after what it takes; ``names`` gets the name of what each call gives."""
    every = {name: calls(layer) for name, layer in layers.items()}
    made: list[Any] = []
    for name, number in _in_order(every, names):
        called = every[name][number]
        if any(place for _, _, place in called.takes):
            raise UnsupportedConfig("a layer with several outputs")
        takes: list[str | None] = [names[source, node] for source, node, _ in called.takes]
        again = f"{name}-{number}"
        if number:
            sources = takes[0] if len(takes) == 1 else takes
            made.append({"reuse": {"layer": name, "from": sources, "name": again}})
        else:
            made.append(entry(layers[name], blocks, takes, called.options))
        names[name, number] = again if number else name
    return made


def _in_order(every: Mapping[str, list[Called]], given: Container[tuple[str, int]]) -> list[tuple[str, int]]:
    """The calls of layers, by name and number, as if the list were gone through again and again for those that can be.

    given: what is there before. A call needs the outputs that it takes, and the layer's first call.
    """
    order = [(name, number) for name in every if (name, 0) not in given for number in range(len(every[name]))]
    place = {each: at for at, each in enumerate(order)}
    users: dict[tuple[str, int], list[tuple[str, int]]] = {}
    waits = {}
    for name, number in order:
        needs = {(source, node) for source, node, _ in every[name][number].takes} | ({(name, 0)} if number else set())
        needs = {each for each in needs if each not in given}
        waits[name, number] = len(needs)
        for each in needs:
            users.setdefault(each, []).append((name, number))
    rounds = dict.fromkeys(order, 0)
    ready = [each for each in order if not waits[each]]
    for each in ready:  # which grows
        for user in users.get(each, ()):
            rounds[user] = max(rounds[user], rounds[each] + (place[user] < place[each]))
            waits[user] -= 1
            if not waits[user]:
                ready.append(user)
    if len(ready) < len(order):
        raise UnsupportedConfig("layers that wait for each other")
    return sorted(order, key=lambda each: (rounds[each], place[each]))


def tensors(listed: Any) -> list[Any]:
    """The outputs in a list of them, however they are put together: [layer, number of its call, place]."""
    if isinstance(listed, dict):
        return [each for value in listed.values() for each in tensors(value)]
    return [listed] if listed and isinstance(listed[0], str) else [each for item in listed for each in tensors(item)]


def calls(layer: Mapping[str, Any]) -> list[Called]:
    """The calls of a layer."""
    made = []
    for node in layer.get("inbound_nodes", ()):
        if isinstance(node, dict):  # Keras 3
            made.append(Called(list(_histories([node["args"], node["kwargs"]])), node["kwargs"]))
        else:  # Keras 2
            parts = [node] if isinstance(node[0], str) else node
            made.append(Called([tuple(each[:3]) for each in parts], parts[0][3] if len(parts[0]) > 3 else {}))
    return made


def _histories(value: Any) -> Iterator[tuple[str, int, int]]:
    if isinstance(value, list):
        for each in value:
            yield from _histories(each)
    elif isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            name, node, place = value["config"]["keras_history"]
            yield name, node, place
        else:
            yield from _histories(list(value.values()))


def _input(layer: Mapping[str, Any]) -> dict[str, Any]:
    of = layer["config"]
    shape = of.get("batch_shape") or of.get("batch_input_shape") or of["shape"]
    return {"shape": shape[1:], "dtype": of.get("dtype") or "float32"}


def entry(
    layer: Mapping[str, Any],
    blocks: dict[str, Any],
    takes: list[str | None] | None = None,
    at_call: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A layer as an entry of a document's list; takes: what it takes in a graph. at_call: what is said there."""
    kind, of = layer["class_name"], layer["config"]
    if not is_own(layer):
        raise UnsupportedConfig(f"the class {kind}, which is not Keras'")
    name = _name(of["name"])
    common: dict[str, Any] = {"name": name}
    if takes is not None:
        common["from"] = takes[0] if len(takes) == 1 else takes
    if of.get("trainable") is False:
        common["trainable"] = False
    if kind in MODELS:
        block = f"{name}_block"
        if block in blocks:
            block += f"_{len(blocks)}"
        while block in blocks or block in LAYERS:
            block += "_"
        blocks[block] = {"layers": []}
        blocks[block]["layers"] = _inside(layer, blocks)
        return {block: common}
    type_ = _type(kind)
    if type_ not in LAYERS:
        raise UnsupportedConfig(f"the class {kind}")
    if LAYERS[type_].call_options and takes is not None:
        common["from"] = takes[0]
        common |= {key: other for key, other in zip(("value", "key"), takes[1:], strict=False) if other != takes[0]}
        common |= {"use_causal_mask": True} if (at_call or {}).get("use_causal_mask") else {}
    of = _one_way(of) if type_ == "bidirectional" else of
    options = {key: _option(key, value) for key, value in of.items() if key in LAYERS[type_].signature}
    return {type_: {key: value for key, value in options.items() if value is not None} | common}


def _type(kind: str) -> str:
    return ALSO.get(snake_case(kind), snake_case(kind))


def name_of(layer: Mapping[str, Any]) -> str:
    """A layer's name; a class of somebody's own may leave it out of its options."""
    return str(layer["config"].get("name") or layer["name"])


def is_own(layer: Mapping[str, Any]) -> bool:
    """Whether a layer's class is one of Keras' own; Keras 2 does not tell."""
    module = layer.get("module")
    if module is None:
        return not layer.get("registered_name")
    return str(module).partition(".")[0] in ("keras", "tf_keras")


def is_known(layer: Mapping[str, Any]) -> bool:
    """Whether a document has the class of a layer, and of the one that it wraps, if it wraps one."""
    inner = [of for of in map(layer["config"].get, ("layer", "backward_layer")) if isinstance(of, dict)]
    return is_own(layer) and _type(str(layer["class_name"])) in LAYERS and all(map(is_known, inner))


def _one_way(of: Mapping[str, Any]) -> Mapping[str, Any]:
    """A bidirectional layer's options with its layer as it was given; Keras tells those of both directions."""
    forward, backward = of["layer"], of.get("backward_layer")
    alike = {"name": forward["config"]["name"].removeprefix("forward_"), "go_backwards": False}
    given = {**forward, "config": {**forward["config"], **alike}}
    if backward is not None and entry(given, {}) != entry({**backward, "config": {**backward["config"], **alike}}, {}):
        raise UnsupportedConfig("a bidirectional layer whose two directions differ")
    return {**of, "layer": given}


def _inside(layer: Mapping[str, Any], blocks: dict[str, Any]) -> list[Any]:
    """The layers of a model within another; its input, where its own layers name it, is an identity of that name."""
    of = layer["config"]
    if layer["class_name"] == "Sequential":
        return _chain(of["layers"], blocks, layer)[1]
    layers = {each["config"]["name"]: each for each in of["layers"]}
    given = [name for name, each in layers.items() if each["class_name"] == "InputLayer"]
    ends = [(name, node) for name, node, *_ in tensors(of["output_layers"])]
    if len(given) != 1 or len(ends) != 1:
        raise UnsupportedConfig("a model within another that has several inputs or outputs")
    names = {(given[0], 0): _name(given[0])}
    made = [{"identity": {"name": given[0]}}, *_entries(layers, names, blocks)]
    name, node = ends[0]
    output = names[name, node - (layers[name]["class_name"] in GRAPHS)]
    last = next(iter(made[-1].values()))
    return made if last["name"] == output else [*made, {"identity": {"name": f"{output}-output", "from": output}}]


def _option(key: str, value: Any) -> Any:
    """An option's value: a function or a scheme by its name, a layer as an entry."""
    if key.endswith("_initializer"):
        return _scheme(value)
    if "activation" in key:
        if isinstance(value, dict):
            value = value.get("config") if isinstance(value.get("config"), str) else value["class_name"]
        named = snake_case(str(value)) if value is not None else None
        if named is not None and named not in FUNCTIONS:
            raise UnsupportedConfig(f"the function {value}")
        return named
    if key == "axis" and isinstance(value, list) and len(value) == 1:  # as Keras 2 has it
        return value[0]
    if isinstance(value, dict):
        if "class_name" in value and snake_case(value["class_name"]) in LAYERS:
            return entry(value, {})
        raise UnsupportedConfig(f"the option {key}")
    return value


def _scheme(value: Any) -> Any:
    if not isinstance(value, dict):
        return snake_case(str(value)) if value is not None else None
    options = {key: each for key, each in value["config"].items() if each is not None and key in SCHEME_OPTIONS}
    name = snake_case(value["class_name"])
    return {name: options} if options else name


def _name(text: str) -> str:
    if not isinstance(text, str) or not re.fullmatch(r"[\w.-]+", text) or "." in text:
        raise UnsupportedConfig(f"the name {text!r}")
    return text
