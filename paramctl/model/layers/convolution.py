"""Convolutions over one, two and three spatial axes."""

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

import paramctl.model.layers.flax as flax_modules
from paramctl.core.parameter import Parameter, batch_axis, bias, field_axis, in_axis, out_axis, weight
from paramctl.declare.option_types import NATURAL, ChoiceType, Count, Flag, Scheme
from paramctl.model.layers.activations import APPLIED, Activation, Function, activate, activated_shape
from paramctl.model.layers.base import Layer, PerAxis, PerAxisType, default_scheme
from paramctl.model.layers.call import Array, Call
from paramctl.model.layers.order import TorchInput
from paramctl.model.layers.shapes import ShapeError, Sizes, product
from paramctl.model.layers.spatial import (
    DataFormat,
    Padding,
    Window,
    as_declared,
    channels_last,
    channels_of,
    check_strides,
    join,
    split,
    torch_margins,
    torch_padding,
    torch_padding_remarks,
    windows,
)
from paramctl.model.layers.torch import Shapes, TorchTensor, convolution_weight, depthwise_weight, optional_bias
from paramctl.model.layers.torch_draws import linear, separable
from paramctl.model.layers.torch_options import CARRIED, IN_CODE, argument, options, per_axis

Margin = Annotated[tuple[int, ...], PerAxisType(item=NATURAL)]


class Padded(Layer, abstract=True):
    """A convolution whose padding torch's module may have as an argument, or torch code must add."""

    if TYPE_CHECKING:
        kernel_size: tuple[int, ...]
        strides: tuple[int, ...]
        padding: str
        data_format: str
        dilation_rate: tuple[int, ...]
        activation: Function | None
        use_bias: bool

    torch_module = "Conv{}d"
    flax = staticmethod(flax_modules.convolution)
    torch_draws = staticmethod(linear)

    def compute(self, call: Call, x: Array) -> Array:
        x = channels_last(call.xp, x, self.data_format)
        window = Window.of(x.shape[1:-1], self.kernel_size, self.strides, self.padding, self.dilation_rate)
        bias = call.parameters["bias"] if self.use_bias else None
        y = as_declared(call.xp, self.convolve(call, x, bias, window), self.data_format)
        return activate(self.activation, call.xp, y)

    def convolve(self, call: Call, x: Array, bias: Array | None, window: Window) -> Array:
        """Return the convolution of an input with the channels last, plus the bias, if it is given."""
        raise NotImplementedError

    def torch_arguments(self, x: TorchInput) -> dict[str, Any]:
        is_same = self.padding == "same" and max(self.strides) == 1  # torch has it for any input, with stride 1 only
        padding = "same" if is_same and max(self.kernel_size) > 1 else torch_padding(self._margins(x))
        return super().torch_arguments(x) | ({"padding": padding} if padding is not None else {})

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        if self.padding == "causal" or max(self.strides) > 1:
            yield from torch_padding_remarks(self.padding, self._margins(x))
        yield from super().torch_remarks(x)

    def _margins(self, x: TorchInput) -> list[tuple[int, int]] | None:
        reaches = ((size - 1) * rate + 1 for size, rate in zip(self.kernel_size, self.dilation_rate, strict=True))
        return torch_margins(x, self.data_format, self.padding, list(zip(reaches, self.strides, strict=True)))


class Convolution(Padded, abstract=True):
    """A convolution. With groups, each group of filters sees only its own group of channels."""

    torch_options = options(
        filters=CARRIED,
        kernel_size=CARRIED,
        strides=argument("stride", 1, per_axis),
        padding=IN_CODE,
        data_format=CARRIED,
        dilation_rate=argument("dilation", 1, per_axis),
        groups=CARRIED,
        activation=APPLIED,
        use_bias=CARRIED,
    )
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
            sizes = f"the {channels} input channels and the {self.filters} filters"
            raise ShapeError(f"groups ({self.groups}) must divide {sizes}")
        yield weight(
            "kernel",
            self.kernel_initializer,
            *map(field_axis, self.kernel_size),
            in_axis(channels // self.groups),  # a filter sees the channels of its own group
            out_axis(self.filters, groups=self.groups),
        )
        if self.use_bias:
            yield bias("bias", self.bias_initializer, out_axis(self.filters))

    def macs(self, x: Sizes) -> int | None:
        return product(*self.output(x)[1:], *self.kernel_size, channels_of(x, self.data_format) // self.groups)

    def output(self, x: Sizes) -> Sizes:
        check_strides(self.strides, self.dilation_rate)
        space, _ = split(x, self.data_format)
        sizes = windows(space, self.kernel_size, self.strides, self.padding, self.dilation_rate)
        return activated_shape(self.activation, join(x, sizes, self.filters, self.data_format))

    def convolve(self, call: Call, x: Array, bias: Array | None, window: Window) -> Array:
        return call.xp.convolution(x, call.parameters["kernel"], bias, window, self.groups)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        yield convolution_weight("weight", "kernel", shapes)
        yield from optional_bias(shapes)


class Conv1D(Convolution, rank=1):
    """1D convolution: activation(conv(x, kernel) + bias); with causal padding, no output depends on later steps."""

    padding: Annotated[str, ChoiceType("valid", "same", "causal")] = "valid"


class Conv2D(Convolution, rank=2):
    """2D convolution: activation(conv(x, kernel) + bias)."""


class Conv3D(Convolution, rank=3):
    """3D convolution: activation(conv(x, kernel) + bias)."""


def depthwise(call: Call, x: Array, kernel: Array, bias: Array | None, window: Window) -> Array:
    """Return the convolution of each channel by itself. kernel: (window..., channels, kernels for each channel)."""
    *sizes, channels, multiplier = kernel.shape
    return call.xp.convolution(x, call.xp.reshape(kernel, (*sizes, 1, channels * multiplier)), bias, window, channels)


class DepthwiseConvolution(Padded, abstract=True):
    """A convolution of each channel by itself, with depth_multiplier kernels."""

    flax = staticmethod(flax_modules.depthwise_convolution)
    torch_options = options(
        depth_multiplier=CARRIED,
        **{name: option for name, option in Convolution.torch_options.items() if name not in ("filters", "groups")},
    )
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
            batch_axis(channels),  # not an input axis: an output sees one channel, so the fans leave it out
            out_axis(self.depth_multiplier),
        )
        if self.use_bias:
            yield bias("bias", self.bias_initializer, out_axis(channels * self.depth_multiplier))

    def macs(self, x: Sizes) -> int | None:
        return product(*self.output(x)[1:], *self.kernel_size)

    def output(self, x: Sizes) -> Sizes:
        space, _ = split(x, self.data_format)
        channels = channels_of(x, self.data_format) * self.depth_multiplier
        sizes = windows(space, self.kernel_size, self.strides, self.padding, self.dilation_rate)
        return activated_shape(self.activation, join(x, sizes, channels, self.data_format))

    def convolve(self, call: Call, x: Array, bias: Array | None, window: Window) -> Array:
        return depthwise(call, x, call.parameters["kernel"], bias, window)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        yield depthwise_weight("weight", "kernel", shapes)
        yield from optional_bias(shapes)


class DepthwiseConv1D(DepthwiseConvolution, rank=1):
    """1D depthwise convolution: each channel has depth_multiplier kernels of its own."""


class DepthwiseConv2D(DepthwiseConvolution, rank=2):
    """2D depthwise convolution: each channel has depth_multiplier kernels of its own."""


class SeparableConvolution(Padded, abstract=True):
    """A depthwise convolution, then a convolution of size 1 across channels."""

    torch_draws = staticmethod(separable)
    torch_options = options(
        depth_multiplier=CARRIED,
        **{name: option for name, option in Convolution.torch_options.items() if name != "groups"},
    )
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

    def torch_name(self, x: TorchInput) -> str:
        return f"{super().torch_name(x)} for depthwise"

    def macs(self, x: Sizes) -> int | None:
        space, _ = split(self.output(x), self.data_format)
        channels = channels_of(x, self.data_format) * self.depth_multiplier
        return product(*space, channels, prod(self.kernel_size) + self.filters)

    def output(self, x: Sizes) -> Sizes:
        space, _ = split(x, self.data_format)
        sizes = windows(space, self.kernel_size, self.strides, self.padding, self.dilation_rate)
        return activated_shape(self.activation, join(x, sizes, self.filters, self.data_format))

    def convolve(self, call: Call, x: Array, bias: Array | None, window: Window) -> Array:
        x = depthwise(call, x, call.parameters["depthwise_kernel"], None, window)
        single = Window.of(x.shape[1:-1], (1,) * self.rank, (1,) * self.rank, "valid")
        return call.xp.convolution(x, call.parameters["pointwise_kernel"], bias, single)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        """Yield two convolutions, depthwise and pointwise; the second has the bias."""
        yield depthwise_weight("depthwise.weight", "depthwise_kernel", shapes)
        yield convolution_weight("pointwise.weight", "pointwise_kernel", shapes)
        yield from optional_bias(shapes, "pointwise.bias")


class SeparableConv1D(SeparableConvolution, rank=1):
    """1D depthwise convolution, then a convolution of size 1 across channels."""


class SeparableConv2D(SeparableConvolution, rank=2):
    """2D depthwise convolution, then a convolution of size 1 across channels. Chollet (2017)."""


class TransposedConvolution(Layer, abstract=True):
    """The transpose of a convolution: strides make the output larger than the input."""

    torch_module = "ConvTranspose{}d"
    flax = staticmethod(flax_modules.transposed_convolution)
    torch_draws = staticmethod(linear)
    torch_options = options(
        output_padding=IN_CODE,
        **{name: option for name, option in Convolution.torch_options.items() if name != "groups"},
    )
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
            *map(field_axis, self.kernel_size, self.strides),  # with stride 2, an output sees half of the positions
            out_axis(self.filters),
            in_axis(channels_of(x, self.data_format)),
        )
        if self.use_bias:
            yield bias("bias", self.bias_initializer, out_axis(self.filters))

    def macs(self, x: Sizes) -> int | None:
        # each value of the input is multiplied with its whole part of the kernel
        return product(*x[1:], *self.kernel_size, self.filters)

    def output(self, x: Sizes) -> Sizes:
        check_strides(self.strides, self.dilation_rate)
        paddings = self.output_padding or (None,) * self.rank
        if any(extra is not None and extra >= stride for extra, stride in zip(paddings, self.strides, strict=True)):
            raise ShapeError("output_padding must be less than strides")
        space, _ = split(x, self.data_format)
        sizes = map(self._size, space, self.kernel_size, self.strides, self.dilation_rate, paddings)
        return activated_shape(self.activation, join(x, tuple(sizes), self.filters, self.data_format))

    def compute(self, call: Call, x: Array) -> Array:
        space, _ = split(self.output(x.shape), self.data_format)
        x = channels_last(call.xp, x, self.data_format)
        y = call.xp.transposed_convolution(x, call.parameters["kernel"], self._window(), space)
        if self.use_bias:
            y = y + call.parameters["bias"]
        return activate(self.activation, call.xp, as_declared(call.xp, y, self.data_format))

    def _window(self) -> Window:
        """Return the windows over the output whose convolution has the input's sizes."""
        margins = ((max(excess, 0) // 2, excess - max(excess, 0) // 2) for excess in self._excesses())
        return Window(self.kernel_size, self.strides, self.dilation_rate, tuple(margins))

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        """Yield nn.ConvTranspose's weight (in, out, window...), from a kernel (window..., out, in), and bias."""
        yield convolution_weight("weight", "kernel", shapes)
        yield from optional_bias(shapes)

    def torch_arguments(self, x: TorchInput) -> dict[str, Any]:
        excesses = self._excesses()
        names = {"output_padding": [max(-excess, 0) for excess in excesses]}
        if all(excess % 2 == 0 or excess < 0 for excess in excesses):
            names = {"padding": [max(excess // 2, 0) for excess in excesses]} | names
        values = {name: per_axis(tuple(sizes)) for name, sizes in names.items() if any(sizes)}
        return super().torch_arguments(x) | values

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        excesses = [max(excess, 0) for excess in self._excesses()]
        if any(excess % 2 for excess in excesses):
            first, last = (tuple(sizes) for sizes in ([e // 2 for e in excesses], [e - e // 2 for e in excesses]))
            yield f"padding {self.padding}: drop the first {first} and the last {last} positions of each axis"
        yield from super().torch_remarks(x)

    def _excesses(self) -> list[int]:
        """Return, for each axis, how many positions torch's output without padding has more than Keras'.

        torch's has (n - 1) * stride + reach positions. Its argument padding drops as many at both ends.
        """
        paddings = self.output_padding or (None,) * self.rank
        axes = zip(self.kernel_size, self.strides, self.dilation_rate, paddings, strict=True)
        return [
            (kernel - 1) * rate + 1 - (self._size(1, kernel, stride, rate, extra) or 0)
            for kernel, stride, rate, extra in axes
        ]

    def _size(self, n: int | None, kernel: int, stride: int, dilation: int, extra: int | None) -> int | None:
        """Return the output size along one axis, as Keras computes it. extra: the output_padding, if given.

        same: n * stride. valid: (n - 1) * stride + max(reach, stride), with reach = (kernel - 1) * dilation + 1.
        """
        if n is None:
            return None
        # The reach of a dilated kernel includes its gaps: kernel 3 with dilation 2 covers 5 positions.
        reach = (kernel - 1) * dilation + 1
        if self.padding == "same":
            return n * stride if extra is None else (n - 1) * stride + reach % 2 + extra
        return (n - 1) * stride + reach + (max(stride - reach, 0) if extra is None else extra)


class Conv1DTranspose(TransposedConvolution, rank=1):
    """1D transposed convolution: strides make the output larger than the input."""


class Conv2DTranspose(TransposedConvolution, rank=2):
    """2D transposed convolution: strides make the output larger than the input."""


class Conv3DTranspose(TransposedConvolution, rank=3):
    """3D transposed convolution: strides make the output larger than the input."""
