"""Activations that Keras has as layers, with options or parameters."""

from collections.abc import Iterator

from paramctl.core.parameter import Parameter, batch_axis, weight
from paramctl.declare.option_types import Axes, NonNegative, Number, Scheme
from paramctl.model.layers.base import Layer, default_scheme
from paramctl.model.layers.order import Order
from paramctl.model.layers.shapes import ShapeError, Sizes, axes_of, known_size
from paramctl.model.layers.torch import NoCounterpart, Shapes, TorchTensor, features, same


class ReLU(Layer):
    """min(x, max_value) for x >= threshold, negative_slope * (x - threshold) below it."""

    max_value: NonNegative | None = None
    negative_slope: NonNegative = 0.0
    threshold: NonNegative = 0.0


class LeakyReLU(Layer):
    """x for x >= 0, negative_slope * x below 0."""

    negative_slope: NonNegative = 0.3


class PReLU(Layer):
    """x for x >= 0, alpha * x below 0; alpha is learned for each position. He et al. (2015).

    Positions along shared_axes share one alpha.
    """

    torch_takes_flat = True
    alpha_initializer: Scheme = default_scheme("zeros")
    shared_axes: Axes | None = None

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        shared = self.shared_axes or ()
        if not all(1 <= axis < len(x) for axis in shared):
            raise ShapeError(f"shared_axes must be between 1 and {len(x) - 1}")
        sizes = [1 if axis in shared else known_size(x, axis) for axis in range(1, len(x))]
        yield weight("alpha", self.alpha_initializer, *map(batch_axis, sizes))

    def torch(self, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
        shape = shapes["alpha"]  # (1, 1, channels) with shared_axes [1, 2]
        if any(size != 1 for size in shape[:-1]):
            raise NoCounterpart("torch.nn.PReLU has one slope per channel, so shared_axes must name all other axes")
        if len(shape) == 1:
            yield features("weight", "alpha", shape, order)
        else:
            yield same("weight", "alpha", shape[-1:])


class ELU(Layer):
    """x for x >= 0, alpha * (exp(x) - 1) below 0. Clevert et al. (2016)."""

    alpha: Number = 1.0


class Softmax(Layer):
    """exp(x) / sum(exp(x)) over one or more axes."""

    axis: Axes = (-1,)

    def output(self, x: Sizes) -> Sizes:
        axes_of(self.axis, x)
        return x
