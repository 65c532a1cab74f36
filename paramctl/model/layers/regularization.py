"""Layers that act only in training: dropout and noise."""

from collections.abc import Sequence

from paramctl.declare.option_types import Rate, Shape, UnitInterval
from paramctl.model.layers.base import Layer
from paramctl.model.layers.order import PLAIN, UNKNOWN, Order
from paramctl.model.layers.shapes import Sizes
from paramctl.model.layers.spatial import DataFormat
from paramctl.model.layers.torch_options import CARRIED, argument, options, remark

RATE = argument("p", 0.5)
"""The option rate of dropout."""
NOISE_SHAPE = remark("noise_shape {}: torch.nn drops single values, in training")
"""The option noise_shape of dropout."""


class Dropout(Layer):
    """Dropout: in training, values are 0 with probability rate, and divided by 1 - rate otherwise.

    Srivastava et al. (2014).
    """

    torch_module = "Dropout"
    torch_options = options(rate=RATE, noise_shape=NOISE_SHAPE)
    rate: UnitInterval
    noise_shape: Shape | None = None


class SpatialDropout(Layer, abstract=True):
    """Dropout of whole channels."""

    keras_trainable = False
    torch_module = "Dropout{}d"
    torch_options = options(rate=RATE, data_format=CARRIED)
    rate: UnitInterval

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        # It works on any axes, so its output is a feature map only if its input is one.
        return orders[0] if orders[0] == PLAIN or output == shapes[0] else UNKNOWN


class SpatialDropout1D(SpatialDropout, rank=1):
    """Dropout of whole channels of a sequence, in training."""


class SpatialDropout2D(SpatialDropout, rank=2):
    """Dropout of whole channels of an image, in training."""

    data_format: DataFormat = "channels_last"


class SpatialDropout3D(SpatialDropout, rank=3):
    """Dropout of whole channels of a volume, in training."""

    data_format: DataFormat = "channels_last"


class AlphaDropout(Layer):
    """Dropout that preserves mean and variance, for selu. Klambauer et al. (2017)."""

    torch_module = "AlphaDropout"
    torch_options = options(rate=RATE, noise_shape=NOISE_SHAPE)
    rate: UnitInterval
    noise_shape: Shape | None = None


class GaussianDropout(Layer):
    """Multiplication by Gaussian noise of mean 1 and variance rate / (1 - rate), in training."""

    torch_options = options(rate=remark("torch.nn has no Gaussian dropout, which acts only in training", 0.0))
    rate: Rate


class GaussianNoise(Layer):
    """Addition of Gaussian noise of mean 0 and standard deviation stddev, in training."""

    torch_options = options(stddev=remark("torch.nn has no Gaussian noise, which acts only in training", 0.0))
    stddev: UnitInterval
