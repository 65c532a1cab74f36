"""The configuration by which Keras builds the model that a document is: config.json of a ``.keras``.

Options have Keras' names already, so each is said as it is; initializers that Keras has not are left out, for the
values are in the file beside. https://github.com/keras-team/keras/blob/master/keras/src/models/functional.py
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from paramctl.core.parameter import FLOAT_DTYPES, Parameter
from paramctl.declare.located import Located, parse_call
from paramctl.model import Block, Model
from paramctl.model.layers import Layer, Sizes
from paramctl.model.layers.activations import Function
from paramctl.model.layers.wrapping import Wrapped
from paramctl.store.keras.network import FUNCTIONAL, INPUT, SEQUENTIAL, Call, Network, NotInKeras, Object

INITIALIZERS = {
    "zeros": (),
    "ones": (),
    "constant": ("value",),
    "random_uniform": ("minval", "maxval"),
    "random_normal": ("mean", "stddev"),
    "truncated_normal": ("mean", "stddev"),
    "variance_scaling": ("scale", "mode", "distribution"),
    **{f"{name}_{law}": () for name in ("glorot", "he", "lecun") for law in ("uniform", "normal")},
    "orthogonal": ("gain",),
    "identity": ("gain",),
}
"""Keras' initializers and their options, in Keras' order."""


def config(model: Model, top: Object) -> dict[str, Any]:
    """What config.json holds. Raises NotInKeras for what Keras has no layer or option for."""
    return _Writer(model).model(top)


class _Writer:
    def __init__(self, model: Model) -> None:
        self.shapes: dict[int, Sizes | None] = {-1 - place: each.shape for place, each in enumerate(model.inputs)}
        self.dtypes = {-1 - place: each.dtype for place, each in enumerate(model.inputs)}
        stack = [*model.blocks]
        while stack:
            block = stack.pop()
            self.shapes[block.output_id] = block.output
            stack += block.blocks
        self.dtype = _widest(model.parameters.values(), "float32")
        self.seen: set[int] = set()

    def model(self, of: Object) -> dict[str, Any]:
        assert of.network is not None
        return self.sequential(of, of.network) if of.network.sequential else self.functional(of, of.network)

    def sequential(self, of: Object, network: Network) -> dict[str, Any]:
        shape = self.shape(network.inputs[0])
        layers = [self.layer(call.object, call.gives[0]) for call in network.calls]
        inside = {"name": of.name, "trainable": True, "dtype": self.dtype, "layers": layers, "build_input_shape": shape}
        return _serialized("keras", SEQUENTIAL, inside) | {"build_config": {"input_shape": shape}}

    def functional(self, of: Object, network: Network) -> dict[str, Any]:
        places: dict[int, list[Any]] = {}  # what gives an output: the layer's name, the number of its call, its place
        calls: dict[int, list[Call]] = {}
        for call_ in network.calls:
            number = len(calls.setdefault(id(call_.object), []))
            calls[id(call_.object)].append(call_)
            places |= {given: [call_.object.name, number, place] for place, given in enumerate(call_.gives)}
        layers = []
        for each in network.layers:
            made = self.layer(each, calls[id(each)][0].gives[0])
            nodes = [self.node(one, places) for one in calls[id(each)] if one.takes]
            layers.append(made | {"name": each.name, "inbound_nodes": nodes})
        functional = {call_.object.name for call_ in network.calls if call_.object.kind == FUNCTIONAL}
        ends = []
        for name, number, place in (places[each] for each in network.outputs):
            ends.append([name, number + (name in functional), place])
        inside = {
            "name": of.name,
            "trainable": True,
            "layers": layers,
            "input_layers": _one([places[number] for number in network.inputs]),
            "output_layers": _one(ends),
        }
        return _serialized("keras.src.models.functional", FUNCTIONAL, inside) | {"registered_name": FUNCTIONAL}

    def layer(self, of: Object, gives: int) -> dict[str, Any]:
        """A layer, or a model within another; once, for Keras reads one that stands twice as two."""
        if id(of) in self.seen:
            raise NotInKeras(f"{of.name} stands in two blocks, which a Keras configuration cannot say")
        self.seen.add(id(of))
        if of.kind == INPUT:
            dtype = self.dtypes.get(gives, self.dtype)
            return _serialized(
                "keras.layers", INPUT, {"batch_shape": self.shape(gives), "dtype": dtype, "name": of.name}
            )
        if of.network is not None:
            return self.model(of)
        dtype = _widest(of.block.parameters if of.block is not None else (), self.dtype)
        options = _options(of.block.layer, dtype) if of.block is not None and of.block.layer is not None else {}
        common = {"name": of.name, "trainable": _trained(of.block), "dtype": dtype}
        exported = of.block.layer.keras_class if of.block is not None and of.block.layer is not None else ""
        return _serialized("keras.layers", exported or of.kind, common | options)

    def node(self, of: Call, places: Mapping[int, list[Any]]) -> dict[str, Any]:
        """One call of a layer: what it takes, and the options that Keras takes there."""
        tensors = [self.tensor(number, places) for number in of.takes]
        layer = of.object.block.layer if of.object.block is not None else None
        if layer is not None and layer.call_options:
            x, *others = tensors
            named = dict(
                zip((name for name in layer.references if getattr(layer, name) is not None), others, strict=True)
            )
            given = {"key": named["key"]} if "key" in named else {}
            mask = {"use_causal_mask": True} if vars(layer)["use_causal_mask"] else {}
            return {"args": [x, named.get("value", x)], "kwargs": given | mask}
        merges = of.object.network is None and (layer is None or layer.arity != 1)
        return {"args": [tensors] if merges or len(tensors) > 1 else tensors, "kwargs": {}}

    def tensor(self, number: int, places: Mapping[int, list[Any]]) -> dict[str, Any]:
        dtype = self.dtypes.get(number, self.dtype)
        history = {"shape": self.shape(number), "dtype": dtype, "keras_history": places[number]}
        return {"class_name": "__keras_tensor__", "config": history}

    def shape(self, number: int) -> list[int | None]:
        shape = self.shapes[number]
        if shape is None:
            raise NotInKeras("the shape of an input is not known")
        return list(shape)


def _serialized(module: str, kind: str, inside: Mapping[str, Any]) -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": inside, "registered_name": None}


def _one(items: Sequence[Any]) -> Any:
    return items[0] if len(items) == 1 else items


def _trained(block: Block | None) -> bool:
    own = [each.trainable for each in block.parameters if each.kind != "state"] if block is not None else []
    return any(own) or not own


def _widest(parameters: Iterable[Parameter], otherwise: str) -> str:
    """The dtype that has every value of those that have floating-point numbers."""
    dtypes = {each.dtype for each in parameters if each.dtype in FLOAT_DTYPES}
    if dtypes >= {"float16", "bfloat16"}:  # neither has all of the other's
        dtypes.add("float32")
    return max(dtypes, key=FLOAT_DTYPES.index, default=otherwise)


def _options(layer: Layer, dtype: str) -> dict[str, Any]:
    """The options of a layer that Keras takes when it is made. dtype: the one of a layer that it wraps."""
    if not layer.in_keras:
        raise NotInKeras(f"Keras has no layer {layer.type}")
    made: dict[str, Any] = {}
    for name in layer.signature:
        value = getattr(layer, name)
        if name in layer.call_options:
            continue
        if name == "rope_theta":
            if value is not None:
                raise NotInKeras(f"Keras' {layer.type} has no rope_theta")
        elif isinstance(value, Located):
            said = _initializer(value)
            if said is not None:
                made[name] = said
        else:
            made[name] = _plain(value, f"{layer.type}'s {name}", dtype)
    return made


def _plain(value: Any, what: str, dtype: str) -> Any:
    if isinstance(value, Function):
        if any(getattr(value, name) != option.default for name, option in value.signature.items()):
            raise NotInKeras(f"{what} has options, which a Keras configuration cannot say")
        return value.name
    if isinstance(value, Wrapped):
        inside = {"name": value.name, "dtype": dtype} | _options(value.layer, dtype)
        return _serialized("keras.layers", type(value.layer).__name__, inside)
    return [_plain(each, what, dtype) for each in value] if isinstance(value, tuple) else value


def _initializer(node: Located) -> dict[str, Any] | None:
    """An initializer as Keras has it; None for one that it has not."""
    called = parse_call(node)
    name = str(called[0].value) if called else ""
    if called is None or name not in INITIALIZERS:
        return None
    arguments, known = called[1].plain() if called[1] is not None else {}, INITIALIZERS[name]
    if not isinstance(arguments, dict):
        values = arguments if isinstance(arguments, list) else [arguments]
        arguments = dict(zip(known, values, strict=False))
    if not arguments.keys() <= set(known):
        return None
    kind = "".join(part.capitalize() for part in name.split("_"))
    return _serialized("keras.initializers", kind, arguments)
