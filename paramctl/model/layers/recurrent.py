"""Recurrent layers: one step's cell, applied along a sequence."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from paramctl.core.parameter import Axis, Parameter, batch_axis, bias, in_axis, out_axis, weight
from paramctl.declare.located import Located
from paramctl.declare.option_types import Count, Flag, Scheme, UnitInterval
from paramctl.model.layers.activations import Activation, Function, Sigmoid, Tanh, activated_shape
from paramctl.model.layers.base import Layer, Sizes, default_scheme, known_size


class Recurrent(Layer, abstract=True):
    """A cell whose gates lie side by side on the last axis of its parameters.

    The options that the subclasses have in common, each in its place in Keras' order, are named
    here for type checkers.
    """

    if TYPE_CHECKING:
        units: int
        activation: Function
        use_bias: bool
        kernel_initializer: Located
        recurrent_initializer: Located
        bias_initializer: Located
        return_sequences: bool

    gates: ClassVar[int] = 1
    input_axes = "batch, steps, features"

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        gates = out_axis(self.gates * self.units)
        yield weight(f"{self.type}_cell/kernel", self.kernel_initializer, in_axis(known_size(x, -1)), gates)
        yield weight(f"{self.type}_cell/recurrent_kernel", self.recurrent_initializer, in_axis(self.units), gates)
        if self.use_bias:
            yield bias(f"{self.type}_cell/bias", self.cell_bias(), *self.bias_axes())

    def output(self, x: Sizes) -> Sizes:
        step = activated_shape(self.activation, (x[0], self.units))
        return (*x[:-1], self.units) if self.return_sequences else step

    def keras_attributes(self, folders: Sequence[str]) -> list[str]:
        return ["cell"]

    def bias_axes(self) -> tuple[Axis, ...]:
        return (out_axis(self.gates * self.units),)

    def cell_bias(self) -> Located:
        """The initializer of the bias."""
        return self.bias_initializer


class SimpleRNN(Recurrent):
    """activation(x @ kernel + state @ recurrent_kernel + bias). Elman (1990)."""

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


class LSTM(Recurrent):
    """Long short-term memory, with the gates i, f, c, o.

    Hochreiter and Schmidhuber (1997); the forget gate's bias starts at 1: Jozefowicz et al. (2015).
    """

    gates = 4
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

    def cell_bias(self) -> Located:
        given = self.bias_initializer
        return (
            Located({"unit_forget_bias": Located({"initializer": given})}).at(given) if self.unit_forget_bias else given
        )


class GRU(Recurrent):
    """Gated recurrent unit, with the gates z, r, h; two rows of biases if reset_after. Cho et al. (2014)."""

    gates = 3
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

    def bias_axes(self) -> tuple[Axis, ...]:
        gates = out_axis(self.gates * self.units)
        return (batch_axis(2), gates) if self.reset_after else (gates,)
