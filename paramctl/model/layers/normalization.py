"""Normalization layers."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from paramctl.core.parameter import Axis, Parameter, batch_axis, norm, state
from paramctl.core.views import Arrangement
from paramctl.declare.option_types import Axes, Flag, Integer, IntegerType, Positive, Scheme, UnitInterval
from paramctl.model.layers.base import Layer, default_scheme
from paramctl.model.layers.order import CHANNELS_LAST, UNKNOWN, Order
from paramctl.model.layers.shapes import ShapeError, Sizes, axes_of, axis_of, known_size
from paramctl.model.layers.torch import Shapes, TorchTensor, affine, features


def scale_and_center(
    layer: "BatchNormalization | LayerNormalization | GroupNormalization", *axes: Axis
) -> Iterator[Parameter]:
    """Yield gamma if the layer scales, and beta if it centers."""
    if layer.scale:
        yield norm("gamma", layer.gamma_initializer, *axes)
    if layer.center:
        yield norm("beta", layer.beta_initializer, *axes)


class BatchNormalization(Layer):
    """Normalization of each channel over the batch: gamma * (x - mean) / sqrt(variance + epsilon) + beta.

    Keeps moving averages of mean and variance, which are not trained. Ioffe and Szegedy (2015).
    """

    torch_takes_flat = True
    axis: Integer = -1
    momentum: UnitInterval = 0.99
    epsilon: Positive = 0.001
    center: Flag = True
    scale: Flag = True
    beta_initializer: Scheme = default_scheme("zeros")
    gamma_initializer: Scheme = default_scheme("ones")
    moving_mean_initializer: Scheme = default_scheme("zeros")
    moving_variance_initializer: Scheme = default_scheme("ones")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        channels = batch_axis(known_size(x, axis_of(self.axis, x)))
        yield from scale_and_center(self, channels)
        yield state("moving_mean", self.moving_mean_initializer, channels)
        yield state("moving_variance", self.moving_variance_initializer, channels)

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        order, shape = orders[0], shapes[0]
        if order == CHANNELS_LAST and shape is not None:  # an input normalized over axis 1 has its channels there
            return order if self.axis in (-1, len(shape) - 1) else UNKNOWN
        return super().channel_order(orders, shapes, output)

    def torch(self, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
        yield from affine(shapes, shapes["moving_mean"], order)
        yield features("running_mean", "moving_mean", shapes["moving_mean"], order)
        yield features("running_var", "moving_variance", shapes["moving_variance"], order)
        # torch counts the batches; Keras has no such parameter
        yield TorchTensor("num_batches_tracked", Arrangement(()), "int64", synthetic=True)


class LayerNormalization(Layer):
    """Normalization of each example over one or more axes: gamma * (x - mean) / sqrt(variance + epsilon) + beta.

    Ba et al. (2016).
    """

    torch_takes_flat = True
    axis: Axes = (-1,)
    epsilon: Positive = 0.001
    center: Flag = True
    scale: Flag = True
    beta_initializer: Scheme = default_scheme("zeros")
    gamma_initializer: Scheme = default_scheme("ones")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        # Keras sorts the axes as they are written, so -1 comes before 1.
        sizes = [batch_axis(known_size(x, axis)) for axis in axes_of(sorted(self.axis), x)]
        yield from scale_and_center(self, *sizes)

    def torch(self, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
        if shapes:
            yield from affine(shapes, next(iter(shapes.values())), order)


class GroupNormalization(Layer):
    """Normalization of each example over groups of channels; with groups -1, each channel is a group.

    Wu and He (2018).
    """

    groups: Annotated[int, IntegerType("a positive whole number, or -1", -1)] = 32
    axis: Integer = -1
    epsilon: Positive = 0.001
    center: Flag = True
    scale: Flag = True
    beta_initializer: Scheme = default_scheme("zeros")
    gamma_initializer: Scheme = default_scheme("ones")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        channels = known_size(x, axis_of(self.axis, x))
        groups = channels if self.groups == -1 else self.groups
        if groups == 0 or channels % groups:
            raise ShapeError(f"groups ({groups}) must divide the {channels} input channels")
        yield from scale_and_center(self, batch_axis(channels))

    def torch(self, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
        if shapes:
            yield from affine(shapes, next(iter(shapes.values())), order)


class RMSNormalization(Layer):
    """Division by the root mean square over one or more axes: scale * x / sqrt(mean(x^2) + epsilon).

    Zhang and Sennrich (2019).
    """

    torch_takes_flat = True
    axis: Axes = (-1,)
    epsilon: Positive = 1e-6

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        sizes = [batch_axis(known_size(x, axis)) for axis in axes_of(sorted(self.axis), x)]
        yield norm("scale", default_scheme("ones"), *sizes)

    def torch(self, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
        yield features("weight", "scale", shapes["scale"], order)


class UnitNormalization(Layer):
    """Division by the L2 norm over one or more axes."""

    axis: Axes = (-1,)

    def output(self, x: Sizes) -> Sizes:
        axes_of(self.axis, x)
        return x
