"""The configuration from which Keras builds the model of a document: config.json in a ``.keras``.

Layers and options carry over under their own names. Initializers that Keras lacks are left out: the values are in the
file, so Keras needs them only for retraining from scratch.
https://github.com/keras-team/keras/blob/master/keras/src/models/functional.py (get_config), sequential.py
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from paramctl.core.parameter import FLOAT_DTYPES, Parameter
from paramctl.declare.located import Located, parse_call
from paramctl.model import Block, Model
from paramctl.model.layers import Layer, Sizes
from paramctl.model.layers.activations import Function
from paramctl.model.layers.base import default_scheme
from paramctl.model.layers.wrapping import Wrapped
from paramctl.store.keras.objects import FUNCTIONAL, INPUT, SEQUENTIAL, Call, KerasObject, Network, NotInKeras

INITIALIZERS = {
    "zeros": (),
    "ones": (),
    "constant": ("value",),  # Keras requires it in a configuration
    "random_uniform": ("minval", "maxval"),
    "random_normal": ("mean", "stddev"),
    "truncated_normal": ("mean", "stddev"),
    "variance_scaling": ("scale", "mode", "distribution"),
    **{f"{name}_{law}": () for name in ("glorot", "he", "lecun") for law in ("uniform", "normal")},
    "orthogonal": ("gain",),
    "identity": ("gain",),
}
"""Keras' initializers and their options, in the order of Keras' arguments."""
HALF_DTYPES = ("float16", "bfloat16")
"""The dtypes in which Keras cannot draw an orthogonal matrix, and so cannot build a layer that asks for one."""


def model_config(model: Model, top: KerasObject) -> dict[str, Any]:
    """Return the content of config.json. Raises NotInKeras for layers and options that Keras lacks.

    top: the Keras model of this model (see network).
    """
    config = _ConfigBuilder(model).model(top)
    _number_wrapped_layers(config, count(1))
    return config


def _number_wrapped_layers(value: Any, numbers: Iterator[int]) -> None:
    """Give each layer in a Bidirectional a shared_object_id, so that Keras keeps it while it loads the model.

    Keras copies this layer and frees it. A later layer can get its address, by which Keras takes it for the same object
    (bidirectional.py, __init__; serialization_lib.py, record_object_after_serialization).
    """
    if isinstance(value, dict):
        if value.get("class_name") == "Bidirectional":
            value["config"]["layer"]["shared_object_id"] = next(numbers)
        for item in value.values():
            _number_wrapped_layers(item, numbers)
    elif isinstance(value, list):
        for item in value:
            _number_wrapped_layers(item, numbers)


class _ConfigBuilder:
    """A builder of the configuration of one model."""

    def __init__(self, model: Model) -> None:
        inputs = {-1 - place: declared for place, declared in enumerate(model.inputs)}
        self.shapes: dict[int, Sizes | None] = {number: declared.shape for number, declared in inputs.items()}
        self.dtypes = {number: declared.dtype for number, declared in inputs.items()}
        stack = [*model.blocks]
        while stack:
            block = stack.pop()
            self.shapes[block.output_id] = block.output
            stack += block.blocks
            if block.type == "identity" and {*block.input_ids} <= self.dtypes.keys():  # an InputLayer of a nested model
                self.dtypes[block.output_id] = self.dtypes[block.input_ids[0]]
        self.dtype = _widest(model.parameters.values(), "float32")
        self.written: set[KerasObject] = set()

    def model(self, model: KerasObject) -> dict[str, Any]:
        """Return the configuration of the model, or of a model within it."""
        assert model.network is not None
        if model.network.sequential:
            return self.sequential(model, model.network)
        return self.functional(model, model.network)

    def sequential(self, model: KerasObject, network: Network) -> dict[str, Any]:
        shape = self.shape(network.input_ids[0])
        layers = [self.layer(call.object, call.output_ids[0]) for call in network.calls]
        config = {
            "name": model.name,
            "trainable": True,
            "dtype": self.dtype,
            "layers": layers,
            "build_input_shape": shape,
        }
        return _serialized("keras", SEQUENTIAL, config) | {"build_config": {"input_shape": shape}}

    def functional(self, model: KerasObject, network: Network) -> dict[str, Any]:
        histories: dict[int, list[Any]] = {}  # keras_history of an output: [layer, number of its call, output of it]
        calls: dict[KerasObject, list[Call]] = {}
        for call in network.calls:
            siblings = calls.setdefault(call.object, [])
            for place, output in enumerate(call.output_ids):
                histories[output] = [call.object.name, len(siblings), place]
            siblings.append(call)
        layers = []
        for layer in network.layers:
            self.check_inputs(layer, calls[layer])
            serialized = self.layer(layer, calls[layer][0].output_ids[0])
            # serialize_node leaves out calls without inputs, which are those of InputLayers.
            nodes = [self.node(call, histories) for call in calls[layer] if call.input_ids]
            layers.append(serialized | {"name": layer.name, "inbound_nodes": nodes})
        # Keras counts the calls of a nested Functional from 1 in output_layers (get_config: kept_nodes = 1).
        nested = {call.object.name for call in network.calls if call.object.class_name == FUNCTIONAL}
        outputs = [histories[output] for output in network.output_ids]
        config = {
            "name": model.name,
            "trainable": True,
            "layers": layers,
            "input_layers": _unwrapped([histories[output] for output in network.input_ids]),
            "output_layers": _unwrapped([[name, call + (name in nested), output] for name, call, output in outputs]),
        }
        return _serialized("keras.src.models.functional", FUNCTIONAL, config) | {"registered_name": FUNCTIONAL}

    def layer(self, layer: KerasObject, output_id: int) -> dict[str, Any]:
        """Return the configuration of a layer, or of a model within the model.

        output_id: the id of its first output.
        Raises NotInKeras if it is used in two models: Keras would build two layers.
        """
        if layer in self.written:
            raise NotInKeras(f"{layer.name} is used in two blocks, which a Keras configuration cannot express")
        self.written.add(layer)
        if layer.class_name == INPUT:
            dtype = self.dtypes.get(output_id, self.dtype)
            config = {"batch_shape": self.shape(output_id), "dtype": dtype, "name": layer.name}
            return _serialized("keras.layers", INPUT, config)
        if layer.network is not None:
            return self.model(layer)
        dtype = _widest(layer.block.parameters if layer.block is not None else (), self.dtype)
        trainable = _is_trainable(layer.block)
        takes_trainable = layer.layer is None or layer.layer.keras_trainable
        common = {"name": layer.name, **({"trainable": trainable} if takes_trainable else {}), "dtype": dtype}
        if layer.layer is None:
            return _serialized("keras.layers", layer.class_name, common)
        class_name = layer.layer.keras_class or layer.class_name
        return _serialized("keras.layers", class_name, common | _options(layer.layer, dtype, trainable))

    def check_inputs(self, layer: KerasObject, calls: Sequence[Call]) -> None:
        """Raise NotInKeras if Keras, having built a layer for its first call, refuses the inputs of a later one."""
        for call in calls[1:]:
            for ids in zip(calls[0].input_ids, call.input_ids, strict=False):
                first, later = (self.shapes[output_id] for output_id in ids)
                if first is None or later is None or _takes(layer, first, later):
                    continue
                rule = "must have the same number of axes"
                if layer.network is not None:
                    rule = "of a block must have one shape: make the sizes that differ null in the document's inputs"
                raise NotInKeras(
                    f"{layer.name} is applied to {later[1:]} after {first[1:]}, but in Keras inputs {rule}"
                )

    def node(self, call: Call, histories: Mapping[int, list[Any]]) -> dict[str, Any]:
        """Return one call of a layer: its inputs, and the options that Keras takes in a call."""
        tensors = [self.tensor(taken, histories) for taken in call.input_ids]
        layer = call.object.layer
        if layer is not None and layer.call_options:  # attention: layer(query, value, key=key)
            query, *others = tensors
            references = (name for name in layer.references if getattr(layer, name) is not None)
            named = dict(zip(references, others, strict=True))
            key = {"key": named["key"]} if "key" in named else {}
            mask = {"use_causal_mask": True} if vars(layer)["use_causal_mask"] else {}
            return {"args": [query, named.get("value", query)], "kwargs": key | mask}
        # A merging layer takes one list of tensors, any other layer one tensor.
        merges = call.object.network is None and (layer is None or layer.arity != 1)
        return {"args": [tensors] if merges or len(tensors) > 1 else tensors, "kwargs": {}}

    def tensor(self, output_id: int, histories: Mapping[int, list[Any]]) -> dict[str, Any]:
        dtype = self.dtypes.get(output_id, self.dtype)
        config = {"shape": self.shape(output_id), "dtype": dtype, "keras_history": histories[output_id]}
        return {"class_name": "__keras_tensor__", "config": config}

    def shape(self, output_id: int) -> list[int | None]:
        shape = self.shapes[output_id]
        if shape is None:
            raise NotInKeras("the shape of an input is unknown")
        return list(shape)


def _takes(layer: KerasObject, first: Sizes, later: Sizes) -> bool:
    """Return whether a layer that Keras builds for an input of one shape takes another."""
    if layer.network is None:
        return len(first) == len(later) or layer.layer is None or layer.layer.keras_any_rank
    # Functional.input_spec, in which an unknown size is any size
    return len(first) == len(later) and all(a == b or None in (a, b) for a, b in zip(first, later, strict=True))


def _serialized(module: str, class_name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object as Keras serializes it (serialization_lib.py, serialize_keras_object)."""
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None}


def _unwrapped(items: Sequence[Any]) -> Any:
    """Return the item of a list of one, as Keras writes a single input or output."""
    return items[0] if len(items) == 1 else items


def _is_trainable(block: Block | None) -> bool:
    """Return whether a layer is trained: Keras has one setting for all its parameters."""
    parameters = block.parameters if block is not None else ()
    trainable = [parameter.trainable for parameter in parameters if parameter.kind != "state"]
    return any(trainable) or not trainable


def _widest(parameters: Iterable[Parameter], default: str) -> str:
    """Return the floating-point dtype that represents every value of these parameters."""
    dtypes = {parameter.dtype for parameter in parameters if parameter.dtype in FLOAT_DTYPES}
    if dtypes >= {"float16", "bfloat16"}:  # neither represents all values of the other
        dtypes.add("float32")
    return max(dtypes, key=FLOAT_DTYPES.index, default=default)


def _options(layer: Layer, dtype: str, trainable: bool) -> dict[str, Any]:
    """Return the arguments of a layer's constructor in Keras.

    dtype, trainable: of the layer, which a layer that it wraps gets too. In Keras the latter's setting counts.
    """
    if not layer.in_keras:
        raise NotInKeras(f"Keras has no layer {layer.type}")
    for lacking in layer.keras_lacks():
        raise NotInKeras(f"Keras' {layer.type} has no {lacking}")
    options: dict[str, Any] = {}
    for name, value in layer.keras_arguments().items():
        if isinstance(value, Located):
            initializer = _initializer(value)
            drawn = value if initializer is not None else layer.signature[name].default
            if dtype in HALF_DTYPES and _scheme_name(drawn) == "orthogonal":
                initializer = _initializer(default_scheme("glorot_uniform"))
            if initializer is not None:
                options[name] = initializer
        else:
            options[name] = _plain(value, f"{name} of {layer.type}", dtype, trainable)
    return options


def _plain(value: Any, option: str, dtype: str, trainable: bool) -> Any:
    """Return the value of an option as Keras serializes it. option: its name in errors."""
    if isinstance(value, Function):
        if not value.keeps_shape:  # Keras' Activation declares the shape of its input, and builds the next layer for it
            raise NotInKeras(f"{option} changes the shape, which Keras' layers after it do not see")
        if any(getattr(value, name) != declared.default for name, declared in value.signature.items()):
            raise NotInKeras(f"{option} is a function with options, which a Keras configuration cannot express")
        return value.name
    if isinstance(value, Wrapped):
        taken = {"trainable": trainable} if value.layer.keras_trainable else {}
        config = {"name": value.name, **taken, "dtype": dtype} | _options(value.layer, dtype, trainable)
        return _serialized("keras.layers", value.layer.keras_class or type(value.layer).__name__, config)
    return [_plain(item, option, dtype, trainable) for item in value] if isinstance(value, tuple) else value


def _scheme_name(node: Located | None) -> str:
    """Return the name of a scheme."""
    call = parse_call(node) if node is not None else None
    return str(call[0].value) if call else ""


def _initializer(node: Located) -> dict[str, Any] | None:
    """Return a scheme as an initializer of Keras; None if Keras lacks it, or one of its options."""
    call, name = parse_call(node), _scheme_name(node)
    if call is None or name not in INITIALIZERS:
        return None
    options = INITIALIZERS[name]
    arguments = call[1].plain() if call[1] is not None else {}
    if not isinstance(arguments, dict):  # by position: 0.1, or [0, 0.1]
        values = arguments if isinstance(arguments, list) else [arguments]
        arguments = dict(zip(options, values, strict=False))
    if name == "constant":
        arguments.setdefault("value", 0.0)
    gain = arguments.get("gain", 1.0)  # the name of a function here, such as relu; Keras takes a number
    if not arguments.keys() <= set(options) or isinstance(gain, str):
        return None
    class_name = "".join(part.capitalize() for part in name.split("_"))
    return _serialized("keras.initializers", class_name, arguments)
