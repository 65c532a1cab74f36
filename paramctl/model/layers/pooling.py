"""Pooling over one, two and three spatial axes."""

from collections.abc import Iterator, Sequence
from typing import Any

from paramctl.declare.option_types import Flag
from paramctl.model.layers.base import Layer, PerAxis
from paramctl.model.layers.order import PLAIN, UNKNOWN, Order, TorchInput
from paramctl.model.layers.shapes import Sizes
from paramctl.model.layers.spatial import (
    DataFormat,
    Padding,
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


class GlobalMaxPooling1D(GlobalPooling, rank=1):
    """1D global pooling: maximum of each channel over all positions."""


class GlobalMaxPooling2D(GlobalPooling, rank=2):
    """2D global pooling: maximum of each channel over all positions."""


class GlobalMaxPooling3D(GlobalPooling, rank=3):
    """3D global pooling: maximum of each channel over all positions."""


class GlobalAveragePooling1D(GlobalPooling, rank=1):
    """1D global pooling: mean of each channel over all positions."""


class GlobalAveragePooling2D(GlobalPooling, rank=2):
    """2D global pooling: mean of each channel over all positions."""


class GlobalAveragePooling3D(GlobalPooling, rank=3):
    """3D global pooling: mean of each channel over all positions."""


class AdaptivePooling(Layer, abstract=True):
    """One value for each of output_size windows along each axis."""

    output_size: PerAxis
    data_format: DataFormat = "channels_last"

    torch_options = options(output_size=IN_CODE, data_format=CARRIED)

    def output(self, x: Sizes) -> Sizes:
        _, channels = split(x, self.data_format)
        return join(x, self.output_size, channels, self.data_format)


class AdaptiveMaxPooling1D(AdaptivePooling, rank=1):
    """1D pooling to output_size: maximum of each of that many windows."""


class AdaptiveMaxPooling2D(AdaptivePooling, rank=2):
    """2D pooling to output_size: maximum of each of that many windows."""


class AdaptiveMaxPooling3D(AdaptivePooling, rank=3):
    """3D pooling to output_size: maximum of each of that many windows."""


class AdaptiveAveragePooling1D(AdaptivePooling, rank=1):
    """1D pooling to output_size: mean of each of that many windows."""


class AdaptiveAveragePooling2D(AdaptivePooling, rank=2):
    """2D pooling to output_size: mean of each of that many windows."""


class AdaptiveAveragePooling3D(AdaptivePooling, rank=3):
    """3D pooling to output_size: mean of each of that many windows."""
