"""Convolutions over one, two and three axes of space."""

from collections.abc import Iterator
from typing import Annotated

from paramctl.core.parameter import Parameter, batch_axis, bias, field_axis, in_axis, out_axis, weight
from paramctl.declare.option_types import NATURAL, ChoiceType, Count, Flag, Scheme
from paramctl.model.layers.activations import Activation, activated_shape
from paramctl.model.layers.base import Layer, PerAxis, PerAxisType, ShapeError, Sizes, default_scheme
from paramctl.model.layers.spatial import DataFormat, Padding, channels_of, join, split, windows

Margin = Annotated[tuple[int, ...], PerAxisType(item=NATURAL)]


def check_strides(strides: tuple[int, ...], dilation_rate: tuple[int, ...]) -> None:
    """Raise ShapeError if windows are both apart and spread, which Keras has not."""
    if max(strides) > 1 and max(dilation_rate) > 1:
        raise ShapeError("it cannot have both strides and a dilation_rate above 1")


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
    kernel_initializer: Scheme = default_scheme("glorot_uniform")
    bias_initializer: Scheme = default_scheme("zeros")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        channels = channels_of(x, self.data_format)
        if channels % self.groups or self.filters % self.groups:
            raise ShapeError(f"its {self.groups} groups must divide its channels and its {self.filters} filters")
        yield weight(
            "kernel",
            self.kernel_initializer,
            *map(field_axis, self.kernel_size),
            in_axis(channels // self.groups),
            out_axis(self.filters, groups=self.groups),
        )
        if self.use_bias:
            yield bias("bias", self.bias_initializer, out_axis(self.filters))

    def output(self, x: Sizes) -> Sizes:
        check_strides(self.strides, self.dilation_rate)
        space, _ = split(x, self.data_format)
        fits = windows(space, self.kernel_size, self.strides, self.padding, self.dilation_rate)
        return activated_shape(self.activation, join(x, fits, self.filters, self.data_format))


class Conv1D(Convolution, rank=1):
    """Convolution over one axis; causal padding sees only what came before."""

    padding: Annotated[str, ChoiceType("valid", "same", "causal")] = "valid"


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
    depthwise_initializer: Scheme = default_scheme("glorot_uniform")
    bias_initializer: Scheme = default_scheme("zeros")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        channels = channels_of(x, self.data_format)
        yield weight(
            "kernel",
            self.depthwise_initializer,
            *map(field_axis, self.kernel_size),
            batch_axis(channels),
            out_axis(self.depth_multiplier),
        )
        if self.use_bias:
            yield bias("bias", self.bias_initializer, out_axis(channels * self.depth_multiplier))

    def output(self, x: Sizes) -> Sizes:
        space, _ = split(x, self.data_format)
        channels = channels_of(x, self.data_format) * self.depth_multiplier
        fits = windows(space, self.kernel_size, self.strides, self.padding, self.dilation_rate)
        return activated_shape(self.activation, join(x, fits, channels, self.data_format))


class DepthwiseConv1D(DepthwiseConvolution, rank=1):
    """Depthwise convolution over one axis."""


class DepthwiseConv2D(DepthwiseConvolution, rank=2):
    """Depthwise convolution over two axes."""


class SeparableConvolution(Layer, abstract=True):
    """A depthwise convolution, then one of size 1 across the channels."""

    filters: Count
    kernel_size: PerAxis
    strides: PerAxis = (1,)
    padding: Padding = "valid"
    data_format: DataFormat = "channels_last"
    dilation_rate: PerAxis = (1,)
    depth_multiplier: Count = 1
    activation: Activation | None = None
    use_bias: Flag = True
    depthwise_initializer: Scheme = default_scheme("glorot_uniform")
    pointwise_initializer: Scheme = default_scheme("glorot_uniform")
    bias_initializer: Scheme = default_scheme("zeros")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        channels = channels_of(x, self.data_format)
        yield weight(
            "depthwise_kernel",
            self.depthwise_initializer,
            *map(field_axis, self.kernel_size),
            batch_axis(channels),
            out_axis(self.depth_multiplier),
        )
        yield weight(
            "pointwise_kernel",
            self.pointwise_initializer,
            *(field_axis(1) for _ in self.kernel_size),
            in_axis(channels * self.depth_multiplier),
            out_axis(self.filters),
        )
        if self.use_bias:
            yield bias("bias", self.bias_initializer, out_axis(self.filters))

    def output(self, x: Sizes) -> Sizes:
        space, _ = split(x, self.data_format)
        fits = windows(space, self.kernel_size, self.strides, self.padding, self.dilation_rate)
        return activated_shape(self.activation, join(x, fits, self.filters, self.data_format))


class SeparableConv1D(SeparableConvolution, rank=1):
    """Separable convolution over one axis."""


class SeparableConv2D(SeparableConvolution, rank=2):
    """Separable convolution over two axes. Chollet (2017)."""


class TransposedConvolution(Layer, abstract=True):
    """The transpose of a convolution: strides make its output larger than its input."""

    filters: Count
    kernel_size: PerAxis
    strides: PerAxis = (1,)
    padding: Padding = "valid"
    output_padding: Margin | None = None
    data_format: DataFormat = "channels_last"
    dilation_rate: PerAxis = (1,)
    activation: Activation | None = None
    use_bias: Flag = True
    kernel_initializer: Scheme = default_scheme("glorot_uniform")
    bias_initializer: Scheme = default_scheme("zeros")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        yield weight(
            "kernel",
            self.kernel_initializer,
            *map(field_axis, self.kernel_size, self.strides),
            out_axis(self.filters),
            in_axis(channels_of(x, self.data_format)),
        )
        if self.use_bias:
            yield bias("bias", self.bias_initializer, out_axis(self.filters))

    def output(self, x: Sizes) -> Sizes:
        check_strides(self.strides, self.dilation_rate)
        extra = self.output_padding or (None,) * self.rank
        if any(more is not None and more >= stride for more, stride in zip(extra, self.strides, strict=True)):
            raise ShapeError("its output_padding must be less than its strides")
        space, _ = split(x, self.data_format)
        sizes = map(self._size, space, self.kernel_size, self.strides, self.dilation_rate, extra)
        return activated_shape(self.activation, join(x, tuple(sizes), self.filters, self.data_format))

    def _size(self, n: int | None, kernel: int, stride: int, dilation: int, extra: int | None) -> int | None:
        """As Keras has it: n * stride for same, (n - 1) * stride + the kernel's reach for valid, or as told."""
        if n is None:
            return None
        reach = (kernel - 1) * dilation + 1
        if self.padding == "same":
            return n * stride if extra is None else (n - 1) * stride + reach % 2 + extra
        return (n - 1) * stride + reach + (max(stride - reach, 0) if extra is None else extra)


class Conv1DTranspose(TransposedConvolution, rank=1):
    """Transposed convolution over one axis."""


class Conv2DTranspose(TransposedConvolution, rank=2):
    """Transposed convolution over two axes."""


class Conv3DTranspose(TransposedConvolution, rank=3):
    """Transposed convolution over three axes."""
