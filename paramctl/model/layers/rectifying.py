"""Activations that are layers in Keras, with options or parameters of their own."""

from collections.abc import Iterator

from paramctl.core.parameter import Parameter, batch_axis, weight
from paramctl.declare.option_types import Axes, NonNegative, Number, Scheme
from paramctl.model.layers.base import Layer, ShapeError, Sizes, axes_of, default_scheme, known_size


class ReLU(Layer):
    """max(x, threshold), cut off at max_value."""

    max_value: NonNegative | None = None
    negative_slope: NonNegative = 0.0
    threshold: NonNegative = 0.0


class LeakyReLU(Layer):
    """x, and negative_slope * x below 0."""

    negative_slope: NonNegative = 0.3


class PReLU(Layer):
    """x, and alpha * x below 0, alpha being learned for each position; shared_axes share one. He et al. (2015)."""

    alpha_initializer: Scheme = default_scheme("zeros")
    shared_axes: Axes | None = None

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        shared = self.shared_axes or ()
        if not all(1 <= axis < len(x) for axis in shared):
            raise ShapeError(f"its shared_axes are numbers from 1 to {len(x) - 1}")
        sizes = [1 if axis in shared else known_size(x, axis) for axis in range(1, len(x))]
        yield weight("alpha", self.alpha_initializer, *map(batch_axis, sizes))


class ELU(Layer):
    """x, and alpha * (exp(x) - 1) below 0. Clevert et al. (2016)."""

    alpha: Number = 1.0


class Softmax(Layer):
    """exp(x) / sum(exp(x)) along one axis or several."""

    axis: Axes = (-1,)

    def output(self, x: Sizes) -> Sizes:
        axes_of(self.axis, x)
        return x
