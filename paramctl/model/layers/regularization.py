"""Layers that act only in training: dropout and noise."""

from collections.abc import Sequence

from paramctl.declare.option_types import Rate, Shape, UnitInterval
from paramctl.model.layers.base import Layer
from paramctl.model.layers.order import PLAIN, UNKNOWN, Order
from paramctl.model.layers.shapes import Sizes
from paramctl.model.layers.spatial import DataFormat


class Dropout(Layer):
    """In training, sets values to 0 with probability rate and divides the others by 1 - rate.

    Srivastava et al. (2014).
    """

    rate: UnitInterval
    noise_shape: Shape | None = None


class SpatialDropout(Layer, abstract=True):
    """Dropout of whole channels."""

    rate: UnitInterval

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        # It works on any axes, so its output is a feature map only if its input is one.
        return orders[0] if orders[0] == PLAIN or output == shapes[0] else UNKNOWN


class SpatialDropout1D(SpatialDropout, rank=1):
    """In training, sets whole channels of a sequence to 0 with probability rate."""


class SpatialDropout2D(SpatialDropout, rank=2):
    """In training, sets whole channels of an image to 0 with probability rate."""

    data_format: DataFormat = "channels_last"


class SpatialDropout3D(SpatialDropout, rank=3):
    """In training, sets whole channels of a volume to 0 with probability rate."""

    data_format: DataFormat = "channels_last"


class AlphaDropout(Layer):
    """In training, dropout that preserves mean and variance, for selu. Klambauer et al. (2017)."""

    rate: UnitInterval
    noise_shape: Shape | None = None


class GaussianDropout(Layer):
    """In training, multiplies by Gaussian noise of mean 1 and variance rate / (1 - rate)."""

    rate: Rate


class GaussianNoise(Layer):
    """In training, adds Gaussian noise of mean 0 and standard deviation stddev."""

    stddev: UnitInterval
