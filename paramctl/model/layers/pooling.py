"""Pooling over one, two and three axes of space."""

from paramctl.declare.option_types import Flag
from paramctl.model.layers.base import Layer, PerAxis, Sizes
from paramctl.model.layers.spatial import DataFormat, Padding, join, split, windows


class Pooling(Layer, abstract=True):
    """One value for each window; windows lie side by side unless strides say otherwise."""

    pool_size: PerAxis
    strides: PerAxis | None = None
    padding: Padding = "valid"
    data_format: DataFormat = "channels_last"

    def output(self, x: Sizes) -> Sizes:
        space, channels = split(x, self.data_format)
        strides = self.pool_size if self.strides is None else self.strides
        fits = windows(space, self.pool_size, strides, self.padding, (1,) * self.rank)
        return join(x, fits, channels, self.data_format)


class MaxPooling1D(Pooling, rank=1):
    """The greatest value in each window."""

    pool_size: PerAxis = (2,)


class MaxPooling2D(Pooling, rank=2):
    """The greatest value in each window."""

    pool_size: PerAxis = (2,)


class MaxPooling3D(Pooling, rank=3):
    """The greatest value in each window."""

    pool_size: PerAxis = (2,)


class AveragePooling1D(Pooling, rank=1):
    """The mean of each window."""


class AveragePooling2D(Pooling, rank=2):
    """The mean of each window."""


class AveragePooling3D(Pooling, rank=3):
    """The mean of each window."""


class GlobalPooling(Layer, abstract=True):
    """One value for each channel."""

    data_format: DataFormat = "channels_last"
    keepdims: Flag = False

    def output(self, x: Sizes) -> Sizes:
        space, channels = split(x, self.data_format)
        return join(x, (1,) * len(space) if self.keepdims else (), channels, self.data_format)


class GlobalMaxPooling1D(GlobalPooling, rank=1):
    """The greatest value of each channel."""


class GlobalMaxPooling2D(GlobalPooling, rank=2):
    """The greatest value of each channel."""


class GlobalMaxPooling3D(GlobalPooling, rank=3):
    """The greatest value of each channel."""


class GlobalAveragePooling1D(GlobalPooling, rank=1):
    """The mean of each channel."""


class GlobalAveragePooling2D(GlobalPooling, rank=2):
    """The mean of each channel."""


class GlobalAveragePooling3D(GlobalPooling, rank=3):
    """The mean of each channel."""


class AdaptivePooling(Layer, abstract=True):
    """As many windows along each axis as are asked for."""

    output_size: PerAxis
    data_format: DataFormat = "channels_last"

    def output(self, x: Sizes) -> Sizes:
        _, channels = split(x, self.data_format)
        return join(x, self.output_size, channels, self.data_format)


class AdaptiveMaxPooling1D(AdaptivePooling, rank=1):
    """The greatest value in each of so many windows."""


class AdaptiveMaxPooling2D(AdaptivePooling, rank=2):
    """The greatest value in each of so many windows."""


class AdaptiveMaxPooling3D(AdaptivePooling, rank=3):
    """The greatest value in each of so many windows."""


class AdaptiveAveragePooling1D(AdaptivePooling, rank=1):
    """The mean of each of so many windows."""


class AdaptiveAveragePooling2D(AdaptivePooling, rank=2):
    """The mean of each of so many windows."""


class AdaptiveAveragePooling3D(AdaptivePooling, rank=3):
    """The mean of each of so many windows."""
