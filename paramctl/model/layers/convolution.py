"""Convolutions over one, two and three axes of space."""

from collections.abc import Iterator
from typing import Annotated

from paramctl.kinds import Choice, Count, Flag, Scheme
from paramctl.model.layers.activations import Activation, activated
from paramctl.model.layers.base import Layer, PerAxis, ShapeError, Sizes, default
from paramctl.model.layers.spatial import DataFormat, Padding, channels_of, join, split, windows
from paramctl.parameter import Parameter, batch, bias, field, into, out, weight


class Convolution(Layer, abstract=True):
    """Each group of filters sees its own group of channels."""

    filters: Count
    kernel_size: PerAxis
    strides: PerAxis = (1,)
    padding: Padding = "valid"
    data_format: DataFormat = "channels_last"
    dilation_rate: PerAxis = (1,)
    groups: Count = 1
    activation: Activation | None = None
    use_bias: Flag = True
    kernel_initializer: Scheme = default("glorot_uniform")
    bias_initializer: Scheme = default("zeros")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        channels = channels_of(x, self.data_format)
        if channels % self.groups or self.filters % self.groups:
            raise ShapeError(f"its {self.groups} groups must divide its channels and its {self.filters} filters")
        yield weight(
            "kernel",
            self.kernel_initializer,
            *map(field, self.kernel_size),
            into(channels // self.groups),
            out(self.filters, groups=self.groups),
        )
        if self.use_bias:
            yield bias("bias", self.bias_initializer, out(self.filters))

    def output(self, x: Sizes) -> Sizes:
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ShapeError("it cannot have both strides and a dilation_rate above 1")
        space, _ = split(x, self.data_format)
        fits = windows(space, self.kernel_size, self.strides, self.padding, self.dilation_rate)
        return activated(self.activation, join(x, fits, self.filters, self.data_format))


class Conv1D(Convolution, rank=1):
    """Convolution over one axis; causal padding sees only what came before."""

    padding: Annotated[str, Choice("valid", "same", "causal")] = "valid"


class Conv2D(Convolution, rank=2):
    """Convolution over two axes."""


class Conv3D(Convolution, rank=3):
    """Convolution over three axes."""


class DepthwiseConvolution(Layer, abstract=True):
    """Each channel is convolved by itself, with depth_multiplier kernels."""

    kernel_size: PerAxis
    strides: PerAxis = (1,)
    padding: Padding = "valid"
    depth_multiplier: Count = 1
    data_format: DataFormat = "channels_last"
    dilation_rate: PerAxis = (1,)
    activation: Activation | None = None
    use_bias: Flag = True
    depthwise_initializer: Scheme = default("glorot_uniform")
    bias_initializer: Scheme = default("zeros")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        channels = channels_of(x, self.data_format)
        yield weight(
            "kernel",
            self.depthwise_initializer,
            *map(field, self.kernel_size),
            batch(channels),
            out(self.depth_multiplier),
        )
        if self.use_bias:
            yield bias("bias", self.bias_initializer, out(channels * self.depth_multiplier))

    def output(self, x: Sizes) -> Sizes:
        space, _ = split(x, self.data_format)
        channels = channels_of(x, self.data_format) * self.depth_multiplier
        fits = windows(space, self.kernel_size, self.strides, self.padding, self.dilation_rate)
        return activated(self.activation, join(x, fits, channels, self.data_format))


class DepthwiseConv1D(DepthwiseConvolution, rank=1):
    """Depthwise convolution over one axis."""


class DepthwiseConv2D(DepthwiseConvolution, rank=2):
    """Depthwise convolution over two axes."""
