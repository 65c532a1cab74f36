"""Pooling over one, two and three spatial axes."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from paramctl.declare.option_types import Flag
from paramctl.model.layers.base import Layer, PerAxis
from paramctl.model.layers.call import Array, Call
from paramctl.model.layers.order import PLAIN, UNKNOWN, Order, TorchInput
from paramctl.model.layers.shapes import Sizes
from paramctl.model.layers.spatial import (
    DataFormat,
    Padding,
    Window,
    as_declared,
    channels_last,
    join,
    split,
    torch_margins,
    torch_padding,
    torch_padding_remarks,
    windows,
)
from paramctl.model.layers.torch_options import CARRIED, IN_CODE, options


class Pooling(Layer, abstract=True):
    """One value for each window and channel. strides defaults to pool_size, so windows do not overlap."""

    pool_size: PerAxis
    strides: PerAxis | None = None
    padding: Padding = "valid"
    data_format: DataFormat = "channels_last"

    torch_module = "MaxPool{}d"
    torch_options = options(pool_size=IN_CODE, strides=IN_CODE, padding=IN_CODE, data_format=CARRIED)

    def output(self, x: Sizes) -> Sizes:
        space, channels = split(x, self.data_format)
        strides = self.pool_size if self.strides is None else self.strides
        sizes = windows(space, self.pool_size, strides, self.padding, (1,) * self.rank)
        return join(x, sizes, channels, self.data_format)

    def compute(self, call: Call, x: Array) -> Array:
        x = channels_last(call.xp, x, self.data_format)
        strides = self.pool_size if self.strides is None else self.strides
        window = Window.of(x.shape[1:-1], self.pool_size, strides, self.padding)
        return as_declared(call.xp, self.pool(call, x, window), self.data_format)

    def pool(self, call: Call, x: Array, window: Window) -> Array:
        """Return one value for each window and channel of an input with the channels last."""
        return call.xp.window_maxima(x, window)

    def torch_arguments(self, x: TorchInput) -> dict[str, Any]:
        padding = torch_padding(self.margins(x))
        return super().torch_arguments(x) | ({"padding": padding} if padding is not None else {})

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        yield from torch_padding_remarks(self.padding, self.margins(x), ", value=-torch.inf")

    def margins(self, x: TorchInput) -> list[tuple[int, int]] | None:
        """Return the values that padding adds before and after each axis; None if the input's size is unknown."""
        strides = self.pool_size if self.strides is None else self.strides
        return torch_margins(x, self.data_format, self.padding, list(zip(self.pool_size, strides, strict=True)))


class AveragePooling(Pooling, abstract=True):
    """The mean of each window and channel. With padding same, the padding does not count."""

    torch_module = "AvgPool{}d"

    def pool(self, call: Call, x: Array, window: Window) -> Array:
        sums = call.xp.window_sums(x, window)
        if self.padding == "valid":
            return sums / prod(self.pool_size)
        return sums / call.xp.window_sums(call.xp.ones((1, *x.shape[1:-1], 1), x.dtype), window)

    def torch_arguments(self, x: TorchInput) -> dict[str, Any]:
        arguments = super().torch_arguments(x)
        return arguments | ({"count_include_pad": False} if "padding" in arguments else {})

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        margins = self.margins(x)
        if margins is None or any(before != after for before, after in margins):
            yield "padding same: each mean is of the values within the input, so divide the sums by their number"


class MaxPooling1D(Pooling, rank=1):
    """1D pooling: maximum of each window."""

    pool_size: PerAxis = (2,)


class MaxPooling2D(Pooling, rank=2):
    """2D pooling: maximum of each window."""

    pool_size: PerAxis = (2,)


class MaxPooling3D(Pooling, rank=3):
    """3D pooling: maximum of each window."""

    pool_size: PerAxis = (2,)


class AveragePooling1D(AveragePooling, rank=1):
    """1D pooling: mean of each window."""


class AveragePooling2D(AveragePooling, rank=2):
    """2D pooling: mean of each window."""


class AveragePooling3D(AveragePooling, rank=3):
    """3D pooling: mean of each window."""


class GlobalPooling(Layer, abstract=True):
    """One value for each channel, over all positions."""

    data_format: DataFormat = "channels_last"
    keepdims: Flag = False

    torch_options = options(data_format=CARRIED, keepdims=IN_CODE)

    def output(self, x: Sizes) -> Sizes:
        space, channels = split(x, self.data_format)
        return join(x, (1,) * len(space) if self.keepdims else (), channels, self.data_format)

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        # (batch, channels): without positions, both orders are the same
        if output is not None and len(output) == 2 and orders[0] != UNKNOWN:
            return PLAIN
        return super().channel_order(orders, shapes, output)

    def compute(self, call: Call, x: Array) -> Array:
        return call.xp.max(x, axis=self.axes, keepdims=self.keepdims)

    @property
    def axes(self) -> tuple[int, ...]:
        """The spatial axes of the input."""
        first = 1 if self.data_format == "channels_last" else 2
        return tuple(range(first, first + self.rank))


class GlobalAveragePooling(GlobalPooling, abstract=True):
    """The mean of each channel, over all positions."""

    def compute(self, call: Call, x: Array) -> Array:
        return call.xp.mean(x, axis=self.axes, keepdims=self.keepdims)


class GlobalMaxPooling1D(GlobalPooling, rank=1):
    """1D global pooling: maximum of each channel over all positions."""


class GlobalMaxPooling2D(GlobalPooling, rank=2):
    """2D global pooling: maximum of each channel over all positions."""


class GlobalMaxPooling3D(GlobalPooling, rank=3):
    """3D global pooling: maximum of each channel over all positions."""


class GlobalAveragePooling1D(GlobalAveragePooling, rank=1):
    """1D global pooling: mean of each channel over all positions, or over those that the mask keeps."""

    def compute(self, call: Call, x: Array) -> Array:
        if call.mask is None:
            return super().compute(call, x)
        mask = call.xp.expand_dims(call.mask, -1 if self.data_format == "channels_last" else 1)
        total = call.xp.sum(call.xp.where(mask, x, 0), axis=self.axes, keepdims=self.keepdims)
        return total / call.xp.sum(mask, axis=self.axes, keepdims=self.keepdims, dtype=x.dtype)


class GlobalAveragePooling2D(GlobalAveragePooling, rank=2):
    """2D global pooling: mean of each channel over all positions."""


class GlobalAveragePooling3D(GlobalAveragePooling, rank=3):
    """3D global pooling: mean of each channel over all positions."""


class AdaptivePooling(Layer, abstract=True):
    """One value for each of output_size windows along each axis."""

    output_size: PerAxis
    data_format: DataFormat = "channels_last"

    torch_options = options(output_size=IN_CODE, data_format=CARRIED)

    def output(self, x: Sizes) -> Sizes:
        _, channels = split(x, self.data_format)
        return join(x, self.output_size, channels, self.data_format)

    def compute(self, call: Call, x: Array) -> Array:
        x = channels_last(call.xp, x, self.data_format)
        for axis, count in enumerate(self.output_size, 1):  # a window is a box, so one axis after another
            x = self.pool(call.xp, x, axis, adaptive_windows(x.shape[axis], count))
        return as_declared(call.xp, x, self.data_format)

    def pool(self, xp: Any, x: Array, axis: int, windows: Sequence[range]) -> Array:
        """Return one value for each window along an axis. windows: the positions of each."""
        y = None
        for step in range(max(map(len, windows))):
            # a shorter window repeats its last position
            here = positions(x, axis, [window[min(step, len(window) - 1)] for window in windows])
            y = here if y is None else xp.maximum(y, here)
        return y


def adaptive_windows(size: int, count: int) -> list[range]:
    """Return this many windows that cover an axis, as torch divides it. They may overlap by a position."""
    return [range(k * size // count, -(-(k + 1) * size // count)) for k in range(count)]


def positions(x: Array, axis: int, chosen: list[int]) -> Array:
    """Return x at these positions of an axis."""
    return x[(slice(None),) * axis + (chosen,)]


class AdaptiveAveragePooling(AdaptivePooling, abstract=True):
    """The mean of each of output_size windows along each axis."""

    def pool(self, xp: Any, x: Array, axis: int, windows: Sequence[range]) -> Array:
        column = (-1, *(1,) * (x.ndim - axis - 1))
        y = 0
        for step in range(max(map(len, windows))):
            here = positions(x, axis, [window[min(step, len(window) - 1)] for window in windows])
            is_inside = xp.reshape(xp.array([step < len(window) for window in windows]), column)
            y = y + xp.where(is_inside, here, 0)
        return y / xp.reshape(xp.array([len(window) for window in windows], x.dtype), column)


class AdaptiveMaxPooling1D(AdaptivePooling, rank=1):
    """1D pooling to output_size: maximum of each of that many windows."""


class AdaptiveMaxPooling2D(AdaptivePooling, rank=2):
    """2D pooling to output_size: maximum of each of that many windows."""


class AdaptiveMaxPooling3D(AdaptivePooling, rank=3):
    """3D pooling to output_size: maximum of each of that many windows."""


class AdaptiveAveragePooling1D(AdaptiveAveragePooling, rank=1):
    """1D pooling to output_size: mean of each of that many windows."""


class AdaptiveAveragePooling2D(AdaptiveAveragePooling, rank=2):
    """2D pooling to output_size: mean of each of that many windows."""


class AdaptiveAveragePooling3D(AdaptiveAveragePooling, rank=3):
    """3D pooling to output_size: mean of each of that many windows."""
