"""Layers that wrap another layer: in both directions along a sequence, or at each step of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

from paramctl.core.parameter import Parameter
from paramctl.declare.located import Located, parse_call
from paramctl.declare.option_types import ChoiceType, OptionType
from paramctl.declare.options import arguments_by_name
from paramctl.errors import suggest
from paramctl.model.layers.base import LAYERS, Layer
from paramctl.model.layers.branching import Branching, Reuse
from paramctl.model.layers.call import Array, Call, NotComputed
from paramctl.model.layers.flax import FlaxModule
from paramctl.model.layers.order import (
    ANY_AXES,
    CHANNELS_LAST,
    EITHER,
    PLAIN,
    SAME_AXES,
    UNKNOWN,
    Order,
    TorchInput,
    for_features_last,
)
from paramctl.model.layers.recurrent import LAST_STEP, Recurrent
from paramctl.model.layers.shapes import ShapeError, Sizes, product
from paramctl.model.layers.torch import Shapes, TorchTensor
from paramctl.model.layers.torch_draws import InitCall
from paramctl.model.layers.torch_options import IN_CODE, options, remark
from paramctl.model.names import check_name


class Wrapped(NamedTuple):
    """A wrapped layer and its name within the wrapper."""

    name: str
    layer: Layer


class InnerLayerType(OptionType):
    """A layer, written as in a list of layers. Of the options common to all layers it accepts only ``name``."""

    takes_mapping = True

    def __init__(self, rule: str, allows: Callable[[type[Layer]], bool]) -> None:
        self.rule, self.allows = rule, allows

    def read(self, node: Located, name: str) -> Wrapped:
        call = parse_call(node)
        if call is None:
            raise self.refuse(node, name)
        type_node, arguments = call
        allowed = {type_name: cls for type_name, cls in LAYERS.items() if self.allows(cls)}
        cls = allowed.get(str(type_node.value))
        if cls is None:
            raise self.refuse(type_node, name, suggest(str(type_node.value), allowed))
        options = dict(arguments_by_name(cls.type, arguments, cls.signature))
        name_node = options.pop("name", None)
        layer = cls.read(cls.type, arguments or type_node, options)
        return Wrapped(check_name(name_node) if name_node else cls.type, layer)

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/definitions/inner_layer"}


def _has_one_input(cls: type[Layer]) -> bool:
    """Return whether a layer has one input and holds no lists of layers."""
    return cls.arity == 1 and not cls.references and not issubclass(cls, (Branching, Reuse))


class Bidirectional(Layer):
    """Recurrent layer applied forward, and a second one backward, along a sequence. Schuster and Paliwal (1997)."""

    torch_options = options(
        layer=IN_CODE, merge_mode=remark("merge_mode {}: torch concatenates both directions, so merge them", "concat")
    )

    input_axes = "batch, steps, features"
    keeps_mask = True
    layer: Annotated[Wrapped, InnerLayerType("a recurrent layer", lambda cls: issubclass(cls, Recurrent))]
    merge_mode: Annotated[str, ChoiceType("concat", "sum", "mul", "ave")] = "concat"

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        for direction in ("forward", "backward"):
            for parameter in self.layer.layer.parameters(x):
                yield replace(parameter, path=f"{self._name(direction)}/{parameter.path}")

    def macs(self, x: Sizes) -> int | None:
        return product(2, self.layer.layer.macs(x))

    def output(self, x: Sizes) -> Sizes:
        # Keras sets go_backwards for the second layer; with it set for both, they would run in one direction.
        if vars(self.layer.layer)["go_backwards"]:
            raise ShapeError("go_backwards must be false: a second layer already runs backward")
        shape = self.layer.layer.output(x)
        return (*shape[:-1], 2 * (shape[-1] or 0)) if self.merge_mode == "concat" else shape

    def mixes_examples(self, output: Sizes | None, inputs: Sequence[Sizes | None] = ()) -> bool:
        return self.layer.layer.mixes_examples(output)

    def compute(self, call: Call, x: Array) -> Array:
        xp, inner = call.xp, self._recurrent
        forward, backward = (
            inner.outputs(call.within(self._name(direction), call.masks), x, direction == "backward")
            for direction in ("forward", "backward")
        )
        if not inner.return_sequences:
            return self._merged(xp, forward[-1], backward[-1])
        merged = xp.swapaxes(self._merged(xp, forward, backward[::-1]), 0, 1)
        # in both directions Keras sets zero_output_for_mask, where one layer alone repeats its output
        return merged if call.mask is None else xp.where(call.mask[..., None], merged, 0)

    def output_mask(self, call: Call, x: Array) -> Array | None:
        return self._recurrent.output_mask(call, x)

    def _merged(self, xp: Any, forward: Array, backward: Array) -> Array:
        """Return the outputs of both directions as one."""
        if self.merge_mode == "concat":
            return xp.concatenate([forward, backward], axis=-1)
        if self.merge_mode == "mul":
            return forward * backward
        total = forward + backward
        return total / 2 if self.merge_mode == "ave" else total

    @property
    def _recurrent(self) -> Recurrent:
        inner = self.layer.layer
        assert isinstance(inner, Recurrent)
        return inner

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        return PLAIN

    def required_order(self, shape: Sizes) -> Order | None:
        return for_features_last(shape)

    def check_torch_options(self, x: TorchInput) -> None:
        self.layer.layer.check_torch_options(x)

    def torch_name(self, x: TorchInput) -> str:
        return self.layer.layer.torch_name(x)

    def torch_arguments(self, x: TorchInput) -> dict[str, Any]:
        return self.layer.layer.torch_arguments(x) | {"bidirectional": True}

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        for text in self.layer.layer.torch_remarks(x):
            yield "torch returns every step: take the last state of each direction" if text == LAST_STEP else text
        yield from super().torch_remarks(x)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        inner = self._recurrent
        for direction, suffix in (("forward", "_l0"), ("backward", "_l0_reverse")):
            yield from inner.torch_cell(shapes, f"{self._name(direction)}/{inner.type}_cell/", suffix)

    def torch_draws(self, tensors: Shapes) -> Iterable[InitCall]:
        return self._recurrent.torch_draws(tensors)

    def flax(self, shapes: Shapes) -> Iterator[FlaxModule]:
        return self._flax_modules(shapes, is_nnx=False)

    def nnx(self, shapes: Shapes) -> Iterator[FlaxModule]:
        return self._flax_modules(shapes, is_nnx=True)

    def _flax_modules(self, shapes: Shapes, is_nnx: bool) -> Iterator[FlaxModule]:
        for direction in ("forward", "backward"):
            module = self._recurrent.flax_module(shapes, f"{self._name(direction)}/", is_nnx)
            yield module._replace(attribute=f"{direction}_rnn/cell")

    def keras_attributes(self, folders: Sequence[str]) -> list[str]:
        direction = folders[0].partition("_")[0]
        return [f"{direction}_layer", *self.layer.layer.keras_attributes(folders[1:])]

    def _name(self, direction: str) -> str:
        """Return the name of the layer of a direction: ``forward_lstm``."""
        return f"{direction}_{self.layer.name.removeprefix(f'{direction}_')}"


class TimeDistributed(Layer):
    """Layer applied at each step of a sequence."""

    torch_options = options(layer=IN_CODE)

    input_axes = "batch, steps, ..., features"
    keeps_mask = True
    layer: Annotated[Wrapped, InnerLayerType("a layer with one input", _has_one_input)]

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        step = (x[0], *x[2:])
        self.layer.layer.check_axes(step)
        for parameter in self.layer.layer.parameters(step):
            yield replace(parameter, path=f"{self.layer.name}/{parameter.path}")

    def macs(self, x: Sizes) -> int | None:
        return product(x[1], self.layer.layer.macs((x[0], *x[2:])))

    def output(self, x: Sizes) -> Sizes:
        step = (x[0], *x[2:])
        self.layer.layer.check_axes(step)
        shape = self.layer.layer.output(step)
        if not shape:
            raise ShapeError("the wrapped layer must keep the batch axis")
        return (*shape[:1], x[1], *shape[1:])

    def compute(self, call: Call, x: Array) -> Array:
        xp, (batch, steps), mask = call.xp, x.shape[:2], call.mask
        if self._takes_steps_apart(call, x):
            return self._step_by_step(call, x)
        folded = None if mask is None else xp.reshape(mask, (batch * steps, *mask.shape[2:]))
        output = self.layer.layer.compute(
            call.within(self.layer.name, [folded]), xp.reshape(x, (batch * steps, *x.shape[2:]))
        )
        return xp.reshape(output, (batch, steps, *output.shape[1:]))

    def mixes_examples(self, output: Sizes | None, inputs: Sequence[Sizes | None] = ()) -> bool:
        return self.layer.layer.mixes_examples(None if output is None else (output[0], *output[2:]))

    def categories(self) -> int | None:
        return self.layer.layer.categories()

    def _takes_steps_apart(self, call: Call, x: Array) -> bool:
        """Return whether an output depends on the other examples of its step."""
        inner, step = self.layer.layer, (x.shape[0], *x.shape[2:])
        if inner.mixes_examples(inner.output(step)):
            return True
        if not call.training:
            return False
        has_state = any(not parameter.trainable for parameter in inner.parameters(step))
        return has_state or vars(inner).get("noise_shape") is not None

    def _step_by_step(self, call: Call, x: Array) -> Array:
        """Return the outputs of the wrapped layer for one step after another. The next one sees its new state."""
        if not x.shape[1]:
            raise NotComputed(f"the input must have at least one step (got {x.shape})")
        outputs = []
        inner = call.within(self.layer.name)
        for step in range(x.shape[1]):
            masks = [None if call.mask is None else call.mask[:, step]]
            parameters = {**inner.parameters, **inner.updates}
            outputs.append(self.layer.layer.compute(replace(inner, parameters=parameters, masks=masks), x[:, step]))
        return call.xp.stack(outputs, axis=1)

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        x, steps = TorchInput(orders[0], shapes[0]), self._step(TorchInput(orders[0], shapes[0]))
        if UNKNOWN in orders or steps.shape is None or output is None:
            return PLAIN if orders[0] == PLAIN and not self.layer.layer.rank else UNKNOWN
        inner = self.layer.layer.channel_order([steps.order], [steps.shape], (output[0], *output[2:]))
        if inner in (UNKNOWN, ANY_AXES) or inner.flat is not None:
            return inner if inner == ANY_AXES else UNKNOWN
        # (steps, features) with the features moved first may stay so, as after nn.Linear
        is_moved = x.order not in SAME_AXES and (x.order == CHANNELS_LAST or not steps.has_axes)
        return PLAIN if inner in SAME_AXES and not is_moved else EITHER

    def required_order(self, shape: Sizes) -> Order | None:
        if len(shape) == 3:
            return PLAIN
        inner = self.layer.layer.required_order((shape[0], *shape[2:]))
        # channels that are first in each step are in neither place of the whole input
        return EITHER if inner == CHANNELS_LAST else PLAIN if inner is not None else None

    def torch_notes(self, x: TorchInput) -> Iterable[str]:
        return self.layer.layer.torch_notes(self._step(x))

    def _step(self, x: TorchInput) -> TorchInput:
        """Return one step of an input: a vector, or a map whose channels torch has in an unknown place if moved."""
        shape = None if x.shape is None else (x.shape[0], *x.shape[2:])
        is_vector = shape is not None and len(shape) == 2
        return TorchInput(PLAIN if is_vector or x.order in SAME_AXES else EITHER, shape)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        """Yield the tensors of the wrapped layer, under its name."""
        name = self.layer.name
        inner_shapes = {path.removeprefix(f"{name}/"): shape for path, shape in shapes.items()}
        for tensor in self.layer.layer.torch_tensors(inner_shapes, self._step(x)):
            yield tensor.under(name)

    def torch_draws(self, tensors: Shapes) -> Iterator[InitCall]:
        name = self.layer.name
        inner = {path.removeprefix(f"{name}."): shape for path, shape in tensors.items()}
        return (call.under(name) for call in self.layer.layer.torch_draws(inner))

    def flax(self, shapes: Shapes) -> Iterable[FlaxModule]:
        return super().flax(shapes) if shapes else self.layer.layer.flax(shapes)  # a Dropout takes a key in nnx

    def keras_attributes(self, folders: Sequence[str]) -> list[str]:
        return ["layer", *self.layer.layer.keras_attributes(folders[1:])]
