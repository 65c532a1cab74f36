"""A Keras configuration (config.json in ``.keras``, model_config in a Keras 2 file) as a model document.

The document language uses Keras' names for layers and options, so most of a configuration carries over unchanged.
A configuration with anything that the language lacks, such as a custom class, gives no document (UnsupportedConfig).
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any, NamedTuple, TypeAlias

from paramctl.core.parameter import FLOAT_DTYPES
from paramctl.model.layers import FUNCTIONS, LAYERS, Layer
from paramctl.model.layers.base import snake_case
from paramctl.store.keras.layer_config import (
    GRAPHS,
    MALFORMED,
    MODELS,
    InboundNode,
    has_other_tensors,
    is_builtin,
    layer_type,
    network_calls,
)

SCHEME_OPTIONS = ("value", "mean", "stddev", "minval", "maxval", "scale", "mode", "distribution", "gain")

KERAS1_OPTIONS = frozenset({"border_mode", "dim_ordering", "init", "inner_init", "gamma_init", "nb_filter", "p"})
"""Options that Keras 1 had in place of others. A layer with them may compute something else."""

INNER_FACTS = ("trainable", "dtype")
"""Options of every entry that a layer within another does not have: the outer one has them, or training.py."""

Blocks: TypeAlias = dict[str, Any]
"""The custom blocks of a document by name: the models within a model."""
CallKey: TypeAlias = tuple[str, int]
"""One call in a Functional: the layer's name and the number of its call."""


class UnsupportedConfig(ValueError):
    """A configuration with a construct that model documents do not have."""


def document(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document as YAML would load it. Raises UnsupportedConfig."""
    try:
        return {"name": str(config["config"]["name"]), **_model(config, {})}
    except MALFORMED as error:
        raise UnsupportedConfig(str(error)) from error


def _model(config: Mapping[str, Any], blocks: Blocks) -> dict[str, Any]:
    """Return the inputs, layers, outputs and blocks of a Sequential or Functional model."""
    class_name = config["class_name"]
    if class_name == "Sequential":
        inputs, layers = _sequential(config["config"]["layers"], blocks, config)
        model = {"input": inputs, "layers": layers}
    elif class_name in GRAPHS:
        model = _functional(config["config"], blocks)
    else:
        raise UnsupportedConfig(f"unsupported model class {class_name}")
    return model | ({"blocks": blocks} if blocks else {})


def _sequential(layers: list[Any], blocks: Blocks, config: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """Return the input of a Sequential and its layers as entries.

    The input's shape is that of the InputLayer, else the one that the model was built for, else the batch_input_shape
    of its first layer (Keras 2).
    """
    shape: Any = config.get("build_config", {}).get("input_shape") or config["config"].get("build_input_shape")
    entries = []
    for layer in layers:
        if layer["class_name"] == "InputLayer":
            shape = _input(layer)
        else:
            shape = shape or layer["config"].get("batch_input_shape")
            entries.append(layer_entry(layer, blocks))
    return shape[1:] if isinstance(shape, list) else shape, entries


def _functional(config: Mapping[str, Any], blocks: Blocks) -> dict[str, Any]:
    """Return the inputs, layers and outputs of a Functional."""
    layers = {layer["config"]["name"]: layer for layer in config["layers"]}
    inputs = {name: _input(layer) for name, layer in layers.items() if layer["class_name"] == "InputLayer"}
    names: dict[CallKey, str] = {(name, 0): name for name in inputs}
    calls = network_calls(config)
    entries = _graph_entries(layers, calls.nodes, names, blocks)
    return {"inputs": inputs, "layers": entries, "outputs": [names[key] for key in calls.outputs]}


def _graph_entries(
    layers: Mapping[str, Any], nodes: Mapping[str, list[InboundNode]], names: dict[CallKey, str], blocks: Blocks
) -> list[Any]:
    """Return the calls of a Functional as entries, each after those whose outputs it takes.

    nodes: the calls of each layer.
    names: the output names of the inputs; the name of each call's output is added to it.
    """
    entries: list[Any] = []
    for name, call in _call_order(nodes, names):
        node = nodes[name][call]
        if any(output for _, _, output in node.inputs):
            raise UnsupportedConfig("a layer with several outputs")
        sources: list[str | None] = [names[source, source_call] for source, source_call, _ in node.inputs]
        if call == 0:
            names[name, call] = name
            entries.append(layer_entry(layers[name], blocks, sources, node.options))
        else:  # a shared layer: its second call is named dense-1, its third dense-2
            names[name, call] = f"{name}-{call}"
            inputs = sources[0] if len(sources) == 1 else sources
            entries.append({"reuse": {"layer": name, "from": inputs, "name": names[name, call]}})
    return entries


class _CallRank(NamedTuple):
    """The time at which Keras processes a call: the pass over the list of layers, and the place in that list."""

    turn: int
    place: int


def _call_order(nodes: Mapping[str, list[InboundNode]], inputs: Container[CallKey]) -> list[CallKey]:
    """Return the calls in the order in which Keras makes them (functional.py, functional_from_config).

    Keras goes through the list of layers again and again, and in each pass makes the calls whose inputs exist. A call
    needs the calls whose outputs it takes and the layer's first call. Keras' loop takes quadratic time when the list
    is in reverse order; the pass of each call is computed here in one sweep instead.
    inputs: the calls that exist before the first pass.
    """
    listed = [(name, call) for name in nodes if (name, 0) not in inputs for call in range(len(nodes[name]))]
    rank = {key: _CallRank(0, place) for place, key in enumerate(listed)}
    users: dict[CallKey, list[CallKey]] = {}
    missing: dict[CallKey, int] = {}  # the number of calls that each call still waits for
    for name, call in listed:
        needs = {(source, source_call) for source, source_call, _ in nodes[name][call].inputs}
        needs |= {(name, 0)} if call else set()
        needs = {key for key in needs if key not in inputs}
        missing[name, call] = len(needs)
        for key in needs:
            users.setdefault(key, []).append((name, call))
    ready = [key for key in listed if not missing[key]]
    for key in ready:  # grows as calls become ready
        for user in users.get(key, ()):
            # Keras' pass is already beyond a user that precedes its source in the list, so it waits for the next pass.
            turn = rank[key].turn + (rank[user].place < rank[key].place)
            rank[user] = max(rank[user], rank[user]._replace(turn=turn))
            missing[user] -= 1
            if not missing[user]:
                ready.append(user)
    if len(ready) < len(listed):
        raise UnsupportedConfig("layers that wait for each other")
    return sorted(listed, key=rank.__getitem__)


def _input(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an InputLayer as an input of a document, whose shape leaves out the batch axis."""
    config = layer["config"]
    shape = config.get("batch_shape") or config.get("batch_input_shape") or config["shape"]
    return {"shape": shape[1:], "dtype": config.get("dtype") or "float32"}


def layer_entry(
    layer: Mapping[str, Any],
    blocks: Blocks,
    sources: list[str | None] | None = None,
    call_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a layer as an entry of a document's list of layers. Raises UnsupportedConfig.

    blocks: receives the block that a model within the model becomes.
    sources: in a Functional, the names of the outputs that the layer takes.
    call_options: the keyword arguments of its call.
    """
    class_name, config = layer["class_name"], layer["config"]
    if not is_builtin(layer):
        raise UnsupportedConfig(f"the custom class {class_name}")
    name = _checked_name(config["name"])
    common: dict[str, Any] = {"name": name}
    if sources is not None:
        common["from"] = sources[0] if len(sources) == 1 else sources
    if config.get("trainable") is False:
        common["trainable"] = False
    if class_name in MODELS:
        return {_add_block(layer, name, blocks): common}
    type_name = layer_type(class_name)
    if type_name not in LAYERS:
        raise UnsupportedConfig(f"unsupported layer class {class_name}")
    cls = LAYERS[type_name]
    if cls.call_options and sources is not None:  # attention: Keras calls it as layer(query, value, key)
        if has_other_tensors(call_options or {}):
            raise UnsupportedConfig("a mask that is a tensor")
        common["from"] = sources[0]
        others = zip(("value", "key"), sources[1:], strict=False)
        common |= {option: source for option, source in others if source != sources[0]}
        common |= {"use_causal_mask": True} if (call_options or {}).get("use_causal_mask") else {}
    config = _merged_directions(config) if type_name == "bidirectional" else config
    if _is_quantized(config.get("dtype")):
        raise UnsupportedConfig(f"the quantized layer {config['name']}")
    common |= _dtype_of_parameters(cls, config)
    if not KERAS1_OPTIONS.isdisjoint(config):
        raise UnsupportedConfig(f"the options of Keras 1 in {config['name']}")
    if type_name == "gru":  # Keras up to 2.1.2 had no such option, and no such layer
        config = {"reset_after": False, **config}
    if "alpha" in config and type_name == "leaky_re_lu":  # its name in Keras 2
        config = {"negative_slope": config["alpha"], **config}
    options = {key: _option(key, value) for key, value in config.items() if key in cls.signature}
    return {type_name: {key: value for key, value in options.items() if value is not None} | common}


def _dtype_of_parameters(cls: type[Layer], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the option ``dtype`` of an entry, if the layer has parameters and these are not in float32.

    Keras writes a dtype, or a policy, such as mixed_bfloat16, which keeps the parameters in float32. In a layer that
    wraps another, the inner one has the parameters.
    """
    inner = config.get("layer")
    policy = (inner["config"] if isinstance(inner, dict) else config).get("dtype")
    if isinstance(policy, dict):
        policy = (policy.get("config") or {}).get("name")
    is_other = policy in FLOAT_DTYPES and policy != "float32" and cls.parameters is not Layer.parameters
    return {"dtype": policy} if is_other else {}


def _is_quantized(policy: Any) -> bool:
    """Return whether a dtype is the policy of a quantized layer, which has a mode, or a map with one of these."""
    if not isinstance(policy, dict):
        return False
    config = policy.get("config") or {}
    return "mode" in config or any(map(_is_quantized, config.get("policy_map", {}).values()))


def _add_block(layer: Mapping[str, Any], name: str, blocks: Blocks) -> str:
    """Add a model within the model to the blocks, and return the block's name."""
    block = f"{name}_block"
    if block in blocks:
        block += f"_{len(blocks)}"
    while block in blocks or block in LAYERS:
        block += "_"
    blocks[block] = {"layers": []}  # reserves the name while the models within this one are added
    blocks[block]["layers"] = _block_layers(layer, blocks)
    return block


def _block_layers(layer: Mapping[str, Any], blocks: Blocks) -> list[Any]:
    """Return the layers of a model within the model.

    A block has no name for its input, so the InputLayer of a Functional becomes an identity layer of the same name.
    """
    config = layer["config"]
    if layer["class_name"] == "Sequential":
        return _sequential(config["layers"], blocks, layer)[1]
    layers = {inner["config"]["name"]: inner for inner in config["layers"]}
    inputs = [name for name, inner in layers.items() if inner["class_name"] == "InputLayer"]
    calls = network_calls(config)
    if len(inputs) != 1 or len(calls.outputs) != 1:  # a custom block has one input and one output
        raise UnsupportedConfig("a nested model with several inputs or outputs")
    names: dict[CallKey, str] = {(inputs[0], 0): _checked_name(inputs[0])}
    entries = [{"identity": {"name": inputs[0]}}, *_graph_entries(layers, calls.nodes, names, blocks)]
    output = names[calls.outputs[0]]
    last = next(iter(entries[-1].values()))
    if last["name"] == output:
        return entries
    # The output of a block is that of its last layer.
    return [*entries, {"identity": {"name": f"{output}-output", "from": output}}]


def _merged_directions(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of a Bidirectional with the layer that the user gave it.

    Keras writes a layer for each direction: forward_lstm, and backward_lstm with go_backwards (bidirectional.py).
    """
    forward, backward = config["layer"], config.get("backward_layer")
    common = {"name": forward["config"]["name"].removeprefix("forward_"), "go_backwards": False}
    layer = {**forward, "config": {**forward["config"], **common}}
    if backward is not None:
        reversed_layer = {**backward, "config": {**backward["config"], **common}}
        if layer_entry(layer, {}) != layer_entry(reversed_layer, {}):
            raise UnsupportedConfig("a bidirectional layer whose directions differ")
    return {**config, "layer": layer}


def _option(key: str, value: Any) -> Any:
    """Return the value of an option as a document has it: functions and schemes by name, a layer as an entry."""
    if key.endswith("_initializer"):
        return _scheme(value)
    if "activation" in key:
        if isinstance(value, dict):  # a registered function has its name in config, an Activation layer its class
            value = value.get("config") if isinstance(value.get("config"), str) else value["class_name"]
        function = snake_case(str(value)) if value is not None else None
        if function is not None and function not in FUNCTIONS:
            raise UnsupportedConfig(f"unsupported function {value}")
        return function
    if key == "axis" and isinstance(value, list) and len(value) == 1:  # Keras 2 writes BatchNormalization's as [3]
        return value[0]
    if isinstance(value, dict):
        if "class_name" in value and snake_case(value["class_name"]) in LAYERS:
            ((type_name, options),) = layer_entry(value, {}).items()
            return {type_name: {key: option for key, option in options.items() if key not in INNER_FACTS}}
        raise UnsupportedConfig(f"unsupported value of {key}")
    return value


def _scheme(value: Any) -> Any:
    """Return an initializer as a scheme: its name, or its name with options."""
    if not isinstance(value, dict):
        return snake_case(str(value)) if value is not None else None
    options = {key: option for key, option in value["config"].items() if option is not None and key in SCHEME_OPTIONS}
    name = snake_case(value["class_name"])
    return {name: options} if options else name


def _checked_name(name: str) -> str:
    """Return a name if a document allows it."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name) or "." in name:
        raise UnsupportedConfig(f"the name {name!r}")
    return name
