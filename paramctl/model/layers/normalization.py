"""Normalization layers."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

import paramctl.model.layers.flax as flax_modules
from paramctl.core.parameter import Axis, Parameter, batch_axis, norm, state
from paramctl.core.views import Arrangement
from paramctl.declare.option_types import Axes, Flag, Integer, IntegerType, Positive, Scheme, UnitInterval
from paramctl.model.layers.base import Layer, default_scheme
from paramctl.model.layers.call import Array, Call, NotComputed
from paramctl.model.layers.flax import FlaxModule
from paramctl.model.layers.functions import unit
from paramctl.model.layers.order import Order, TorchInput, after_normalized, around_axis, required_around_axis
from paramctl.model.layers.shapes import ShapeError, Sizes, axes_of, axis_of, known_size
from paramctl.model.layers.torch import (
    NoCounterpart,
    Shapes,
    TorchTensor,
    affine,
    check_channel_axis,
    features,
    moved_axes,
    normalized_axes,
    required_by_normalized,
)
from paramctl.model.layers.torch_draws import normalization
from paramctl.model.layers.torch_options import CARRIED, IN_CODE, argument, options

EPS = argument("eps", 1e-5)
"""The option epsilon of normalizations whose default in torch is 1e-5."""


def scale_and_center(
    layer: "BatchNormalization | LayerNormalization | GroupNormalization", *axes: Axis
) -> Iterator[Parameter]:
    """Yield gamma if the layer scales, and beta if it centers."""
    if layer.scale:
        yield norm("gamma", layer.gamma_initializer, *axes)
    if layer.center:
        yield norm("beta", layer.beta_initializer, *axes)


def along(xp: Any, parameter: Array, x: Array, axes: Sequence[int]) -> Array:
    """Return a parameter with one value for each place on axes of x, so that it broadcasts with x."""
    return xp.reshape(parameter, [size if axis in axes else 1 for axis, size in enumerate(x.shape)])


def mean_over(xp: Any, x: Array, axes: Sequence[int]) -> Array:
    """Return the mean over axes, which have size 1 in the result."""
    last = len(x.shape) - 1
    if last in axes or last < 3 or {*range(1, last)} - {*axes}:
        return xp.mean(x, axis=tuple(axes), keepdims=True)
    # over all positions of channels_last: a product of matrices takes a fraction of the time
    count = prod(x.shape[1:last])
    sums = xp.ones((1, count), x.dtype) @ xp.reshape(x, (x.shape[0], count, x.shape[last]))
    means = xp.reshape(sums / count, (x.shape[0], *(1,) * (last - 1), x.shape[last]))
    return xp.mean(means, axis=0, keepdims=True) if 0 in axes else means


def standardized(call: Call, epsilon: float, centered: Array, variance: Array, axes: Sequence[int]) -> Array:
    """Return gamma * centered / sqrt(variance + epsilon) + beta; a layer may lack gamma or beta. axes: of both.

    centered: the input less its mean, which is exact near the mean.
    """
    xp = call.xp
    factor = 1 / xp.sqrt(variance + epsilon)
    gamma, beta = (
        along(xp, call.parameters[name], centered, axes) if name in call.parameters else None
        for name in ("gamma", "beta")
    )
    # with one mean for each channel, gamma costs nothing
    if gamma is not None and factor.size <= gamma.size:
        factor, gamma = factor * gamma, None
    # NumPy computes one expression in place
    if gamma is not None:
        return centered * factor * gamma if beta is None else centered * factor * gamma + beta
    return centered * factor if beta is None else centered * factor + beta


class AroundChannels(Layer, abstract=True):
    """A normalization with parameters for each channel, whose axis is known: an input has its order."""

    keras_any_rank = False
    torch_draws = staticmethod(normalization)

    if TYPE_CHECKING:
        axis: int

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        return around_axis(orders[0], self.axis, shapes[0])

    def required_order(self, shape: Sizes) -> Order | None:
        return required_around_axis(self.axis, shape)


class OverAxes(Layer, abstract=True):
    """A normalization over one or more axes, with parameters for each place on them."""

    torch_draws = staticmethod(normalization)

    if TYPE_CHECKING:
        axis: tuple[int, ...]

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        return after_normalized(orders[0], self.axis, shapes[0])

    def required_order(self, shape: Sizes) -> Order | None:
        return required_by_normalized(self.axis, shape)


class BatchNormalization(AroundChannels):
    """Normalization of each channel over the batch: gamma * (x - mean) / sqrt(variance + epsilon) + beta.

    Keeps moving averages of mean and variance, which are not trained. Ioffe and Szegedy (2015).
    """

    torch_module = "BatchNorm{}d"
    keeps_mask = True
    torch_options = options(
        axis=CARRIED,
        epsilon=EPS,
        momentum=argument("momentum", 0.1, lambda momentum: round(1 - momentum, 12)),  # the weight of the new value
        center=CARRIED,
        scale=CARRIED,
    )
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

    def compute(self, call: Call, x: Array) -> Array:
        xp, axis, state, mask = call.xp, axis_of(self.axis, x.shape), call.parameters, call.mask
        if mask is not None and len(mask.shape) != len(x.shape) - 1:
            rule = "the mask of the input must have one axis less than the input"
            raise NotComputed(f"{rule} (got the mask {mask.shape} for {x.shape})")
        if not call.training or not call.trainable:  # in Keras, a frozen layer keeps its statistics even in training
            centered = x - along(xp, state["moving_mean"], x, [axis])
            return standardized(call, self.epsilon, centered, along(xp, state["moving_variance"], x, [axis]), [axis])
        mean, centered, variance = self._moments(call, x, [other for other in range(len(x.shape)) if other != axis])
        for name, value in (("moving_mean", mean), ("moving_variance", variance)):
            call.updates[name] = state[name] * self.momentum + xp.reshape(value, -1) * (1 - self.momentum)
        return standardized(call, self.epsilon, centered, variance, [axis])

    def _moments(self, call: Call, x: Array, axes: Sequence[int]) -> tuple[Array, Array, Array]:
        """Return the mean over axes, x less the mean, and the variance, of the steps that are not masked."""
        xp, mask = call.xp, call.mask
        if mask is None:
            mean = mean_over(xp, x, axes)
            centered = x - mean
            return mean, centered, mean_over(xp, xp.square(centered), axes)
        inside = xp.broadcast_to(mask[..., None], x.shape)
        # Keras adds its epsilon to the count, which may be 0
        count = xp.sum(inside, axis=tuple(axes), keepdims=True, dtype=x.dtype) + 1e-7
        mean = xp.sum(xp.where(inside, x, 0), axis=tuple(axes), keepdims=True) / count
        centered = x - mean
        squares = xp.where(inside, xp.square(centered), 0)
        return mean, centered, xp.sum(squares, axis=tuple(axes), keepdims=True) / count

    def torch_name(self, x: TorchInput) -> str:
        rank = max(len(x.shape) - 2, 1) if x.shape is not None else 1
        return self.torch_module.format(rank)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        check_channel_axis("BatchNorm", self.axis, x)
        if x.shape is not None and len(x.shape) > 5:
            raise NoCounterpart("torch.nn has no BatchNorm for more than three spatial axes")
        sizes = shapes["moving_mean"]
        yield from affine(shapes, [self.axis], x, sizes)
        yield features("running_mean", "moving_mean", [self.axis], x, sizes)
        yield features("running_var", "moving_variance", [self.axis], x, sizes)
        # torch counts the batches; Keras has no such parameter
        yield TorchTensor("num_batches_tracked", Arrangement(()), "int64", synthetic=True)

    def flax(self, shapes: Shapes) -> Iterator[FlaxModule]:
        return flax_modules.normalization("BatchNorm", shapes)


class LayerNormalization(OverAxes):
    """Normalization of each example over one or more axes: gamma * (x - mean) / sqrt(variance + epsilon) + beta.

    Ba et al. (2016).
    """

    torch_module = "LayerNorm"
    keeps_mask = True
    torch_options = options(axis=CARRIED, epsilon=EPS, center=CARRIED, scale=CARRIED)
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

    def compute(self, call: Call, x: Array) -> Array:
        xp, axes = call.xp, axes_of(self.axis, x.shape)
        centered = x - mean_over(xp, x, axes)
        return standardized(call, self.epsilon, centered, mean_over(xp, xp.square(centered), axes), axes)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        axes = normalized_axes("LayerNorm", self.axis, x)
        if shapes:
            yield from affine(shapes, axes, x, _sizes(axes, x) or next(iter(shapes.values())))

    def flax(self, shapes: Shapes) -> Iterator[FlaxModule]:
        return flax_modules.normalization("LayerNorm", shapes)


class GroupNormalization(AroundChannels):
    """Normalization of each example over groups of channels; with groups -1, each channel is a group.

    Wu and He (2018).
    """

    torch_module = "GroupNorm"
    keeps_mask = True
    torch_options = options(
        groups=argument("num_groups"),
        axis=CARRIED,
        epsilon=EPS,
        center=CARRIED,
        scale=CARRIED,
    )
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

    def compute(self, call: Call, x: Array) -> Array:
        xp, axis = call.xp, axis_of(self.axis, x.shape)
        spatial = [other for other in range(1, len(x.shape)) if other != axis]
        groups = x.shape[axis] if self.groups == -1 else self.groups
        size = x.shape[axis] // groups

        def over_groups(values: Array) -> Array:
            """Return the mean over positions and over the channels of each group, for each channel."""
            # groups of equal size have the mean of their channels' means
            channels = mean_over(xp, values, spatial)
            means = xp.mean(xp.reshape(channels, (-1, groups, size)), axis=2)
            return xp.reshape(xp.repeat(means, size, axis=1), channels.shape)

        centered = x - over_groups(x)
        return standardized(call, self.epsilon, centered, over_groups(xp.square(centered)), [axis])

    def torch_arguments(self, x: TorchInput) -> dict[str, Any]:
        arguments = super().torch_arguments(x)
        if self.groups == -1:
            arguments["num_groups"] = x.shape[self.axis] if x.shape is not None else "num_channels"
        return arguments

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        check_channel_axis("GroupNorm", self.axis, x)
        if shapes:
            yield from affine(shapes, [self.axis], x, next(iter(shapes.values())))

    def flax(self, shapes: Shapes) -> Iterator[FlaxModule]:
        return flax_modules.normalization("GroupNorm", shapes)


class RMSNormalization(OverAxes):
    """Division by the root mean square over one or more axes: scale * x / sqrt(mean(x^2) + epsilon).

    Zhang and Sennrich (2019).
    """

    torch_module = "RMSNorm"
    torch_options = options(axis=CARRIED, epsilon=argument("eps"))
    torch_takes_flat = True
    axis: Axes = (-1,)
    epsilon: Positive = 1e-6

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        sizes = [batch_axis(known_size(x, axis)) for axis in axes_of(sorted(self.axis), x)]
        yield norm("scale", default_scheme("ones"), *sizes)

    def compute(self, call: Call, x: Array) -> Array:
        xp, axes = call.xp, axes_of(self.axis, x.shape)
        square = xp.mean(x * x, axis=tuple(axes), keepdims=True)
        return x * (1 / xp.sqrt(square + self.epsilon)) * along(xp, call.parameters["scale"], x, axes)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        axes = normalized_axes("RMSNorm", self.axis, x)
        yield features("weight", "scale", axes, x, _sizes(axes, x) or shapes["scale"])

    def flax(self, shapes: Shapes) -> Iterator[FlaxModule]:
        return flax_modules.normalization("RMSNorm", shapes)


def _sizes(axes: Sequence[int], x: TorchInput) -> tuple[int, ...]:
    """Return the sizes of ascending axes, to which Keras reshapes gamma; () if the input's shape is unknown."""
    return tuple(known_size(x.shape, axis) for axis in axes) if x.shape is not None else ()


class UnitNormalization(Layer):
    """Division by the L2 norm over one or more axes."""

    torch_options = options(axis=IN_CODE)
    keeps_mask = True
    axis: Axes = (-1,)

    def output(self, x: Sizes) -> Sizes:
        axes_of(self.axis, x)
        return x

    def compute(self, call: Call, x: Array) -> Array:
        return unit(call.xp, x, self.axis, 1e-12)

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        yield from moved_axes(self.axis, x)
