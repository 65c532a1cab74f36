"""Recurrent layers: a cell applied at each step of a sequence."""

from collections.abc import Callable, Iterator, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import paramctl.model.layers.flax as flax_modules
from paramctl.core.parameter import Axis, Parameter, batch_axis, bias, in_axis, out_axis, weight
from paramctl.core.views import Arrangement, view
from paramctl.declare.located import Located
from paramctl.declare.option_types import Count, Flag, Scheme, UnitInterval
from paramctl.model.layers.activations import Activation, Function, activated_shape
from paramctl.model.layers.base import Layer, default_scheme
from paramctl.model.layers.call import Array, Call, NotComputed, check_mask
from paramctl.model.layers.flax import FlaxCell, FlaxModule, Gates
from paramctl.model.layers.functions import Relu, Sigmoid, Tanh
from paramctl.model.layers.order import PLAIN, Order, TorchInput, for_features_last
from paramctl.model.layers.shapes import Sizes, known_size, product
from paramctl.model.layers.torch import Shapes, TorchTensor, same
from paramctl.model.layers.torch_draws import InitCall, symmetric
from paramctl.model.layers.torch_options import CARRIED, TorchOption, only, options, remark

State = tuple[Array, ...]
"""The arrays that a cell keeps from step to step; its output comes first."""

LAST_STEP = "torch returns every step: take the last one"
"""The note on return_sequences false."""


def is_default(*classes: type[Function]) -> Callable[[Function | None], bool]:
    """Return a function that returns whether an activation is one of these functions, with its default options."""
    return lambda function: isinstance(function, classes) and vars(function) == vars(type(function)())


class Projection(NamedTuple):
    """A product with the kernel of a cell, which has the gates side by side.

    masks: factors that drop values of the input, one for each gate, or one for all; empty without dropout.
    """

    xp: Any
    kernel: Array
    units: int
    masks: Sequence[Array] = ()

    def __call__(self, x: Array, first: int = 0, stop: int | None = None) -> Array:
        """Return the product for the gates from one to another; all by default."""
        stop = self.kernel.shape[1] // self.units if stop is None else stop
        if len(self.masks) > 1:
            gates = [self._product(x * self.masks[gate], gate, gate + 1) for gate in range(first, stop)]
            return self.xp.concatenate(gates, axis=-1)
        return self._product(x * self.masks[0] if self.masks else x, first, stop)

    def _product(self, x: Array, first: int, stop: int) -> Array:
        kernel = self.kernel[:, first * self.units : stop * self.units]
        return x @ kernel if len(x.shape) == 2 else self.xp.linear(x, kernel)


class Recurrent(Layer, abstract=True):
    """A layer with one cell, whose parameters have the gates side by side on the last axis.

    Subclasses declare the common options themselves, each at its place in Keras' order; the annotations here are for
    type checkers.
    """

    if TYPE_CHECKING:
        units: int
        activation: Function
        use_bias: bool
        kernel_initializer: Located
        recurrent_initializer: Located
        bias_initializer: Located
        dropout: float
        recurrent_dropout: float
        return_sequences: bool
        go_backwards: bool

    torch_options = options(
        units=CARRIED,
        activation=only(is_default(Tanh)),
        use_bias=CARRIED,
        dropout=remark("dropout {}: torch has no dropout of a cell's inputs; apply torch.nn.Dropout to the input", 0.0),
        recurrent_dropout=remark("recurrent_dropout {}: torch has none, which matters only in training", 0.0),
        return_sequences=remark(LAST_STEP, True),
        go_backwards=only(lambda backwards: not backwards),
    )
    gates: ClassVar[int] = 1
    torch_gates: ClassVar[tuple[int, ...]] = (0,)
    """The gates in torch's order, as indices in Keras' order."""
    flax_cell: ClassVar[FlaxCell]
    """The class of its cell in Flax."""
    states: ClassVar[int] = 1
    """The number of arrays that the cell keeps."""
    input_axes = "batch, steps, features"
    keeps_mask = True

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        gates = out_axis(self.gates * self.units)
        yield weight(f"{self.type}_cell/kernel", self.kernel_initializer, in_axis(known_size(x, -1)), gates)
        yield weight(f"{self.type}_cell/recurrent_kernel", self.recurrent_initializer, in_axis(self.units), gates)
        if self.use_bias:
            yield bias(f"{self.type}_cell/bias", self.cell_bias(), *self.bias_axes())

    def macs(self, x: Sizes) -> int | None:
        # masked steps count too
        return product(x[1], known_size(x, -1) + self.units, self.gates * self.units)

    def output(self, x: Sizes) -> Sizes:
        step = activated_shape(self.activation, (x[0], self.units))
        return (*x[:-1], self.units) if self.return_sequences else step

    def mixes_examples(self, output: Sizes | None, inputs: Sequence[Sizes | None] = ()) -> bool:
        return super().mixes_examples((None, self.units))  # the shape that its functions see

    def compute(self, call: Call, x: Array) -> Array:
        outputs = self.outputs(call, x, self.go_backwards)
        return call.xp.swapaxes(outputs, 0, 1) if self.return_sequences else outputs[-1]

    def output_mask(self, call: Call, x: Array) -> Array | None:
        return call.mask if self.return_sequences else None

    def outputs(self, call: Call, x: Array, backwards: bool) -> Array:
        """Return the outputs (steps, batch, units), in the order in which the cell takes the steps."""
        xp, cell = call.xp, call.within(f"{self.type}_cell")
        if not x.shape[1]:
            raise NotComputed(f"the input must have at least one step (got {x.shape})")
        check_mask(call.mask, x)
        # steps first, so that each is a block of memory
        x = xp.swapaxes(x, 0, 1)
        mask = None if call.mask is None else xp.swapaxes(call.mask, 0, 1)[..., None]
        if backwards:
            x, mask = x[::-1], mask if mask is None else mask[::-1]
        return self.run(cell, self.project_inputs(cell, x), mask)

    def run(self, cell: Call, inputs: Array, mask: Array | None) -> Array:
        """Return the outputs of the steps in order. inputs: of the gates, (steps, batch, gates * units).

        At a masked step the cell keeps its state, and so its output.
        """
        xp, (steps, batch, _) = cell.xp, inputs.shape
        state = (xp.zeros((batch, self.units), inputs.dtype),) * self.states
        recurrent = self._projection(cell, "recurrent_kernel", self.recurrent_dropout, state[0])
        outputs = []
        for step in range(steps):
            new = self.step(cell, inputs[step], state, recurrent)
            if mask is not None:
                new = tuple(xp.where(mask[step], after, before) for after, before in zip(new, state, strict=True))
            state = new
            outputs.append(state[0])
        return xp.stack(outputs)

    def project_inputs(self, cell: Call, x: Array) -> Array:
        """Return the gates' part of the inputs (steps, batch, features) of all steps."""
        inputs = self._projection(cell, "kernel", self.dropout, x[0])(x)
        return inputs + self.input_bias(cell) if self.use_bias else inputs

    def input_bias(self, cell: Call) -> Array:
        """Return the bias that is added to the projected inputs."""
        return cell.parameters["bias"]

    def step(self, cell: Call, inputs: Array, state: State, recurrent: Projection) -> State:
        """Return the state after a step. inputs: of the gates, (batch, gates * units)."""
        raise AssertionError(f"{self.type} declares no step")

    def split(self, gates: Array) -> list[Array]:
        """Return gates that are side by side, one by one."""
        return [gates[:, start : start + self.units] for start in range(0, gates.shape[1], self.units)]

    def _projection(self, cell: Call, kernel: str, rate: float, x: Array) -> Projection:
        """Return the product with a kernel of the cell. x: of one step; the same values are dropped at every step."""
        masks = (
            [cell.dropout_factors(rate, x.shape, x.dtype) for _ in range(self._masks(rate))] if cell.training else []
        )
        return Projection(cell.xp, cell.parameters[kernel], self.units, masks)

    def _masks(self, rate: float) -> int:
        """Return the number of masks as in Keras: one for all gates, or one for each with recurrent dropout."""
        masks = self.gates if self.recurrent_dropout else 1
        # with a mask for each gate, Keras takes a rate of 1 for none
        return 0 if not rate or (rate == 1 and masks > 1) else masks

    def bias_axes(self) -> tuple[Axis, ...]:
        """Return the axes of the bias."""
        return (out_axis(self.gates * self.units),)

    def cell_bias(self) -> Located:
        """Return the initializer of the bias."""
        return self.bias_initializer

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        return PLAIN

    def required_order(self, shape: Sizes) -> Order | None:
        return for_features_last(shape)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        yield from self.torch_cell(shapes, f"{self.type}_cell/", "_l0")

    def torch_draws(self, tensors: Shapes) -> Iterator[InitCall]:
        return (symmetric(name, 1.0 / sqrt(self.units)) for name in tensors)

    def torch_arguments(self, x: TorchInput) -> dict[str, Any]:
        return super().torch_arguments(x) | {"batch_first": True}

    def torch_cell(self, shapes: Shapes, prefix: str, suffix: str) -> Iterator[TorchTensor]:
        """Yield the tensors of one direction. prefix: of the cell's parameters. suffix: of torch's names."""
        for name, part in (("weight_ih", "kernel"), ("weight_hh", "recurrent_kernel")):
            path = f"{prefix}{part}"
            yield TorchTensor(f"{name}{suffix}", self._torch_gates(path, shapes[path]))
        if f"{prefix}bias" in shapes:
            yield from self.torch_biases(f"{prefix}bias", shapes[f"{prefix}bias"], suffix)

    def torch_biases(self, path: str, shape: tuple[int, ...], suffix: str) -> Iterator[TorchTensor]:
        """Yield torch's two biases, which torch adds: Keras' bias, and zeros."""
        yield same(f"bias_ih{suffix}", path, shape)
        yield TorchTensor(f"bias_hh{suffix}", Arrangement(shape), adds_to=path)

    def flax(self, shapes: Shapes) -> Iterator[FlaxModule]:
        yield self.flax_module(shapes, "")

    def nnx(self, shapes: Shapes) -> Iterator[FlaxModule]:
        yield self.flax_module(shapes, "", is_nnx=True)

    def flax_module(self, shapes: Shapes, prefix: str, is_nnx: bool = False) -> FlaxModule:
        """Return the cell of one direction. prefix: of the cell's parameters."""
        return self.flax_cell.module(Gates(f"{prefix}{self.type}_cell/", shapes, self.gates), is_nnx)

    def _torch_gates(self, path: str, shape: tuple[int, ...]) -> Arrangement:
        """Return a kernel (in, gates * units) as (gates * units, in), with the gates in torch's order."""
        inputs, size = shape
        if self.torch_gates == tuple(range(self.gates)):
            return Arrangement((size, inputs), (view(path, shape, (1, 0)),))
        # Views may take a range of an axis but not permute within it, so each gate is a view.
        split = (inputs, self.gates, size // self.gates)
        parts = tuple(view(path, split, (1, 2, 0), axis1=range(gate, gate + 1)) for gate in self.torch_gates)
        return Arrangement((size, inputs), parts)

    def keras_attributes(self, folders: Sequence[str]) -> list[str]:
        return ["cell"]


class SimpleRNN(Recurrent):
    """Simple recurrence: state = activation(x @ kernel + state @ recurrent_kernel + bias). Elman (1990)."""

    torch_module = "RNN"
    flax_cell = flax_modules.SIMPLE_CELL
    torch_options = options(
        **{name: option for name, option in Recurrent.torch_options.items() if name != "activation"},
        activation=TorchOption("nonlinearity", "tanh", lambda function: function.name, supports=is_default(Tanh, Relu)),
    )
    units: Count
    activation: Activation = Tanh()
    use_bias: Flag = True
    kernel_initializer: Scheme = default_scheme("glorot_uniform")
    recurrent_initializer: Scheme = default_scheme("orthogonal")
    bias_initializer: Scheme = default_scheme("zeros")
    dropout: UnitInterval = 0.0
    recurrent_dropout: UnitInterval = 0.0
    return_sequences: Flag = False
    go_backwards: Flag = False

    def step(self, cell: Call, inputs: Array, state: State, recurrent: Projection) -> State:
        return (self.activation.compute(cell.xp, inputs + recurrent(state[0])),)


class LSTM(Recurrent):
    """Long short-term memory with gates i, f, c, o. Hochreiter and Schmidhuber (1997).

    With unit_forget_bias, the forget gate's bias starts at 1: Jozefowicz et al. (2015).
    """

    torch_module = "LSTM"
    flax_cell = flax_modules.LSTM_CELL
    torch_options = options(
        **Recurrent.torch_options, recurrent_activation=only(is_default(Sigmoid)), unit_forget_bias=CARRIED
    )
    gates = 4
    states = 2
    torch_gates = (0, 1, 2, 3)  # torch's i, f, g, o are Keras' i, f, c, o
    units: Count
    activation: Activation = Tanh()
    recurrent_activation: Activation = Sigmoid()
    use_bias: Flag = True
    kernel_initializer: Scheme = default_scheme("glorot_uniform")
    recurrent_initializer: Scheme = default_scheme("orthogonal")
    bias_initializer: Scheme = default_scheme("zeros")
    unit_forget_bias: Flag = True
    dropout: UnitInterval = 0.0
    recurrent_dropout: UnitInterval = 0.0
    return_sequences: Flag = False
    go_backwards: Flag = False

    def output(self, x: Sizes) -> Sizes:
        activated_shape(self.recurrent_activation, (x[0], self.units))
        return super().output(x)

    def run(self, cell: Call, inputs: Array, mask: Array | None) -> Array:
        is_usual = is_default(Tanh)(self.activation) and is_default(Sigmoid)(self.recurrent_activation)
        if is_usual and not (cell.training and self.recurrent_dropout):
            return cell.xp.lstm(inputs, cell.parameters["recurrent_kernel"], mask)
        return super().run(cell, inputs, mask)

    def step(self, cell: Call, inputs: Array, state: State, recurrent: Projection) -> State:
        xp, activate, gate = cell.xp, self.activation.compute, self.recurrent_activation.compute
        output, carry = state
        i, f, c, o = self.split(inputs + recurrent(output))
        carry = gate(xp, f) * carry + gate(xp, i) * activate(xp, c)
        return gate(xp, o) * activate(xp, carry), carry

    def cell_bias(self) -> Located:
        initializer = self.bias_initializer
        if not self.unit_forget_bias:
            return initializer
        # The scheme sets the forget gate's part to 1 and initializes the rest as declared.
        return Located({"unit_forget_bias": Located({"initializer": initializer})}).at(initializer)


class GRU(Recurrent):
    """Gated recurrent unit with gates z, r, h; with reset_after, the bias has two rows. Cho et al. (2014)."""

    torch_module = "GRU"
    flax_cell = flax_modules.GRU_CELL
    torch_options = options(
        **Recurrent.torch_options, recurrent_activation=only(is_default(Sigmoid)), reset_after=only(bool)
    )
    gates = 3
    torch_gates = (1, 0, 2)  # torch's r, z, n are Keras' r, z, h
    units: Count
    activation: Activation = Tanh()
    recurrent_activation: Activation = Sigmoid()
    use_bias: Flag = True
    kernel_initializer: Scheme = default_scheme("glorot_uniform")
    recurrent_initializer: Scheme = default_scheme("orthogonal")
    bias_initializer: Scheme = default_scheme("zeros")
    dropout: UnitInterval = 0.0
    recurrent_dropout: UnitInterval = 0.0
    return_sequences: Flag = False
    go_backwards: Flag = False
    reset_after: Flag = True

    def output(self, x: Sizes) -> Sizes:
        activated_shape(self.recurrent_activation, (x[0], self.units))
        return super().output(x)

    def input_bias(self, cell: Call) -> Array:
        bias = cell.parameters["bias"]
        return bias[0] if self.reset_after else bias

    def step(self, cell: Call, inputs: Array, state: State, recurrent: Projection) -> State:
        xp, (output,) = cell.xp, state
        gate = self.recurrent_activation.compute
        if self.reset_after:
            products = recurrent(output)
            if self.use_bias:
                products = products + cell.parameters["bias"][1]
            (x_z, x_r, x_h), (z, r, h) = self.split(inputs), self.split(products)
            update = gate(xp, x_z + z)
            candidate = self.activation.compute(xp, x_h + gate(xp, x_r + r) * h)
        else:
            (x_z, x_r, x_h), (z, r) = self.split(inputs), self.split(recurrent(output, 0, 2))
            update = gate(xp, x_z + z)
            candidate = self.activation.compute(xp, x_h + recurrent(gate(xp, x_r + r) * output, 2, 3))
        return (candidate + update * (output - candidate),)

    def bias_axes(self) -> tuple[Axis, ...]:
        gates = out_axis(self.gates * self.units)
        return (batch_axis(2), gates) if self.reset_after else (gates,)

    def torch_biases(self, path: str, shape: tuple[int, ...], suffix: str) -> Iterator[TorchTensor]:
        size = self.gates * self.units
        # As six rows of units, the bias is z, r, h of the input and z, r, h of the state.
        for row, name in enumerate(("bias_ih", "bias_hh")):
            gates = [range(3 * row + gate, 3 * row + gate + 1) for gate in self.torch_gates]
            parts = tuple(view(path, (6, self.units), axis0=gate) for gate in gates)
            yield TorchTensor(f"{name}{suffix}", Arrangement((size,), parts))
