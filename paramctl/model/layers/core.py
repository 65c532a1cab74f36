"""The layers of which most networks are made: dense, embeddings, arithmetic."""

from collections.abc import Iterator

from paramctl.core.parameter import Parameter, batch_axis, bias, in_axis, out_axis, weight
from paramctl.declare.option_types import Count, Flag, Number, Positive, Scheme
from paramctl.model.layers.activations import Activation as Activated
from paramctl.model.layers.activations import AnyActivation, activated_shape
from paramctl.model.layers.base import Layer, ShapeError, Sizes, default_scheme, known_size


class Dense(Layer):
    """Fully connected over the last axis: activation(x @ kernel + bias)."""

    input_axes = "batch, ..., features"
    units: Count
    activation: Activated | None = None
    use_bias: Flag = True
    kernel_initializer: Scheme = default_scheme("glorot_uniform")
    bias_initializer: Scheme = default_scheme("zeros")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        yield weight("kernel", self.kernel_initializer, in_axis(known_size(x, -1)), out_axis(self.units))
        if self.use_bias:
            yield bias("bias", self.bias_initializer, out_axis(self.units))

    def output(self, x: Sizes) -> Sizes:
        return activated_shape(self.activation, (*x[:-1], self.units))


class Embedding(Layer):
    """A row of a table for each whole number in the input; 0 is padding if mask_zero."""

    input_dim: Count
    output_dim: Count
    embeddings_initializer: Scheme = default_scheme("random_uniform")
    mask_zero: Flag = False

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        yield weight("embeddings", self.embeddings_initializer, batch_axis(self.input_dim), out_axis(self.output_dim))

    def output(self, x: Sizes) -> Sizes:
        return (*x, self.output_dim)


class PositionEmbedding(Layer):
    """Adds to each position of a sequence a vector learned for it. Not in Keras."""

    in_keras = False
    input_axes = "batch, ..., positions, features"
    sequence_length: Count
    embeddings_initializer: Scheme = default_scheme("random_uniform")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        yield weight(
            "embeddings", self.embeddings_initializer, batch_axis(self.sequence_length), out_axis(known_size(x, -1))
        )

    def output(self, x: Sizes) -> Sizes:
        if x[-2] is not None and x[-2] > self.sequence_length:
            raise ShapeError(f"it has {self.sequence_length} positions, fewer than its input")
        return x


class ClassToken(Layer):
    """Puts a vector learned for the purpose in front of a sequence. Not in Keras."""

    in_keras = False
    input_axes = "batch, positions, features"
    embeddings_initializer: Scheme = default_scheme("zeros")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        yield weight("embeddings", self.embeddings_initializer, batch_axis(1), out_axis(known_size(x, -1)))

    def output(self, x: Sizes) -> Sizes:
        return (x[0], None if x[1] is None else x[1] + 1, x[2])


class Activation(Layer):
    """An activation function; its bare name will do: ``- relu``."""

    activation: AnyActivation

    def output(self, x: Sizes) -> Sizes:
        return self.activation.output(x)


class Rescaling(Layer):
    """x * scale + offset."""

    scale: Number
    offset: Number = 0.0


class Identity(Layer):
    """Its input as it is."""


class Masking(Layer):
    """Marks steps that hold nothing but one value, for layers after it to pass over."""

    input_axes = "batch, steps, ..."
    mask_value: Number = 0.0


class HalveWhile(Layer):
    """Halves x while the sum of its absolute values exceeds a limit, as D2L's FancyMLP. Not in Keras."""

    in_keras = False
    limit: Positive = 1.0


class ReduceSum(Layer):
    """The sum over every axis, the batch too, as D2L's FancyMLP: a scalar. Not in Keras."""

    in_keras = False

    def output(self, x: Sizes) -> Sizes:
        return ()
