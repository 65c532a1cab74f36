"""Normalization."""

from collections.abc import Iterator
from typing import Annotated

from paramctl.core.parameter import Axis, Parameter, batch_axis, norm, state
from paramctl.declare.option_types import Axes, Flag, Integer, IntegerType, Positive, Scheme, UnitInterval
from paramctl.model.layers.base import Layer, ShapeError, Sizes, axes_of, axis_of, default_scheme, known_size


def scale_and_center(
    layer: "BatchNormalization | LayerNormalization | GroupNormalization", *axes: Axis
) -> Iterator[Parameter]:
    """gamma and beta, as far as a normalization has them."""
    if layer.scale:
        yield norm("gamma", layer.gamma_initializer, *axes)
    if layer.center:
        yield norm("beta", layer.beta_initializer, *axes)


class BatchNormalization(Layer):
    """Each channel to mean 0 and deviation 1 over the batch; keeps moving averages, which are not trained."""

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


class LayerNormalization(Layer):
    """Each example to mean 0 and deviation 1 over one axis or several."""

    axis: Axes = (-1,)
    epsilon: Positive = 0.001
    center: Flag = True
    scale: Flag = True
    beta_initializer: Scheme = default_scheme("zeros")
    gamma_initializer: Scheme = default_scheme("ones")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        axes = axes_of(sorted(self.axis), x)  # Keras' order: as numbers, so that -1 is first
        sizes = [batch_axis(known_size(x, axis)) for axis in axes]
        yield from scale_and_center(self, *sizes)


class GroupNormalization(Layer):
    """The channels in groups, each to mean 0 and deviation 1; -1 groups are as many as channels.

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
            raise ShapeError(f"its {groups} groups must divide its {channels} channels")
        yield from scale_and_center(self, batch_axis(channels))


class RMSNormalization(Layer):
    """Divides by the root of the mean of the squares, over one axis or several. Zhang and Sennrich (2019)."""

    axis: Axes = (-1,)
    epsilon: Positive = 1e-6

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        sizes = [batch_axis(known_size(x, axis)) for axis in axes_of(sorted(self.axis), x)]
        yield norm("scale", default_scheme("ones"), *sizes)


class UnitNormalization(Layer):
    """Divides by the norm over one axis or several."""

    axis: Axes = (-1,)

    def output(self, x: Sizes) -> Sizes:
        axes_of(self.axis, x)
        return x
