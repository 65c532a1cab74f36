"""Recurrent layers: one step's cell, applied along a sequence."""

from collections.abc import Iterator

from paramctl.kinds import Count, Flag, Rate, Scheme
from paramctl.model.layers.activations import Activation, Sigmoid, Tanh, activated
from paramctl.model.layers.base import Layer, Sizes, default, known
from paramctl.node import Node
from paramctl.parameter import Parameter, bias, into, out, weight


class LSTM(Layer):
    """Long short-term memory; the gates i, f, c, o lie side by side on the last axis.

    Hochreiter and Schmidhuber (1997); the forget gate's bias starts at 1: Jozefowicz et al. (2015).
    """

    input_axes = "batch, steps, features"
    units: Count
    activation: Activation = Tanh()
    recurrent_activation: Activation = Sigmoid()
    use_bias: Flag = True
    kernel_initializer: Scheme = default("glorot_uniform")
    recurrent_initializer: Scheme = default("orthogonal")
    bias_initializer: Scheme = default("zeros")
    unit_forget_bias: Flag = True
    dropout: Rate = 0.0
    recurrent_dropout: Rate = 0.0
    return_sequences: Flag = False
    go_backwards: Flag = False

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        gates = out(4 * self.units)
        yield weight("lstm_cell/kernel", self.kernel_initializer, into(known(x, -1)), gates)
        yield weight("lstm_cell/recurrent_kernel", self.recurrent_initializer, into(self.units), gates)
        if self.use_bias:
            yield bias("lstm_cell/bias", self._bias_initializer(), gates)

    def output(self, x: Sizes) -> Sizes:
        for function in (self.activation, self.recurrent_activation):
            activated(function, (x[0], self.units))
        return (*x[:-1], self.units) if self.return_sequences else (x[0], self.units)

    def _bias_initializer(self) -> Node:
        given = self.bias_initializer
        return Node({"unit_forget_bias": given}).at(given) if self.unit_forget_bias else given
