"""Layers that act only in training: dropout and noise."""

from collections.abc import Sequence
from math import sqrt

import paramctl.model.layers.flax as flax_modules
from paramctl.declare.option_types import Rate, Shape, UnitInterval
from paramctl.model.layers.base import Layer
from paramctl.model.layers.call import Array, Call, NotComputed
from paramctl.model.layers.order import PLAIN, UNKNOWN, Order
from paramctl.model.layers.shapes import Sizes
from paramctl.model.layers.spatial import DataFormat, join, split
from paramctl.model.layers.torch_options import CARRIED, argument, options, remark

RATE = argument("p", 0.5)
"""The option rate of dropout."""
NOISE_SHAPE = remark("noise_shape {}: torch.nn drops single values, in training")
"""The option noise_shape of dropout."""


def noise_shape(shape: Sizes | None, x: Array) -> tuple[int, ...]:
    """Return the shape of the noise on an array: a size of None is the array's, and no shape is that of the array."""
    if shape is None:
        return tuple(x.shape)
    sizes = tuple(x.shape[axis] if size is None and axis < len(x.shape) else size for axis, size in enumerate(shape))
    if len(sizes) > len(x.shape) or any(
        size not in (1, of_x) for size, of_x in zip(sizes[::-1], x.shape[::-1], strict=False)
    ):
        raise NotComputed(
            f"noise_shape must have the sizes of the input, or 1 (got {list(shape)} for {tuple(x.shape)})"
        )
    return tuple(size for size in sizes if size is not None)


def kept(call: Call, rate: float, shape: Sizes) -> Array:
    """Return which values of a shape dropout keeps, each with the probability 1 - rate."""
    # float32 numbers cost half as much, and 2^-24 is precise enough for a rate
    return call.random.random(shape, "float32") >= rate


def dropped(call: Call, x: Array, rate: float, shape: Sizes | None) -> Array:
    """Return an array after dropout, in training. shape: of the noise, as in noise_shape."""
    if not call.training or not rate:
        return x
    if rate == 1:  # x / 0 would be infinite
        return call.xp.zeros_like(x)
    return call.xp.where(kept(call, rate, noise_shape(shape, x)), x / (1 - rate), 0)


class Dropout(Layer):
    """Dropout: in training, values are 0 with probability rate, and divided by 1 - rate otherwise.

    Srivastava et al. (2014).
    """

    torch_module = "Dropout"
    flax = staticmethod(flax_modules.dropout)
    keeps_mask = True
    torch_options = options(rate=RATE, noise_shape=NOISE_SHAPE)
    rate: UnitInterval
    noise_shape: Shape | None = None

    def compute(self, call: Call, x: Array) -> Array:
        return dropped(call, x, self.rate, self.noise_shape)


class SpatialDropout(Layer, abstract=True):
    """Dropout of whole channels."""

    keras_trainable = False
    keeps_mask = True
    torch_module = "Dropout{}d"
    flax = staticmethod(flax_modules.dropout)
    torch_options = options(rate=RATE, data_format=CARRIED)
    rate: UnitInterval

    def compute(self, call: Call, x: Array) -> Array:
        data_format = vars(self).get("data_format", "channels_last")
        channels = split(x.shape, data_format)[1]
        return dropped(call, x, self.rate, join(x.shape, (1,) * self.rank, channels, data_format))

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
    keeps_mask = True
    torch_options = options(rate=RATE, noise_shape=NOISE_SHAPE)
    rate: UnitInterval
    noise_shape: Shape | None = None

    def compute(self, call: Call, x: Array) -> Array:
        """Return the affine map of x, with -scale * alpha of selu at dropped values, which keeps mean and variance."""
        if not call.training or not self.rate:
            return x
        if self.rate == 1:
            raise NotComputed("rate must be below 1 in training (got 1)")
        rate, lowest = self.rate, -1.0507009873554805 * 1.6732632423543772
        # a of the paper, and b = -a * lowest * rate
        factor = ((1 - rate) * (1 + rate * lowest**2)) ** -0.5
        mixed = call.xp.where(kept(call, rate, noise_shape(self.noise_shape, x)), x, lowest)
        return factor * mixed - factor * lowest * rate


class GaussianDropout(Layer):
    """Multiplication by Gaussian noise of mean 1 and variance rate / (1 - rate), in training."""

    torch_options = options(rate=remark("torch.nn has no Gaussian dropout, which acts only in training", 0.0))
    keeps_mask = True
    rate: Rate

    def compute(self, call: Call, x: Array) -> Array:
        if not call.training or not self.rate:
            return x
        return x * (1 + sqrt(self.rate / (1 - self.rate)) * call.random.standard_normal(x.shape, x.dtype))


class GaussianNoise(Layer):
    """Addition of Gaussian noise of mean 0 and standard deviation stddev, in training."""

    torch_options = options(stddev=remark("torch.nn has no Gaussian noise, which acts only in training", 0.0))
    keeps_mask = True
    stddev: UnitInterval

    def compute(self, call: Call, x: Array) -> Array:
        if not call.training or not self.stddev:
            return x
        return x + self.stddev * call.random.standard_normal(x.shape, x.dtype)
