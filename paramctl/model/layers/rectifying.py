"""Activations that Keras has as layers, with options or parameters."""

from collections.abc import Iterator, Sequence
from math import prod

from paramctl.core.parameter import Parameter, batch_axis, weight
from paramctl.declare.option_types import Axes, NonNegative, Number, Scheme
from paramctl.model.layers.base import Layer, default_scheme
from paramctl.model.layers.call import Array, Call, NotComputed
from paramctl.model.layers.functions import exponential_below, leaky, rectified, softmax
from paramctl.model.layers.order import Order, TorchInput, around_axis, required_around_axis
from paramctl.model.layers.shapes import ShapeError, Sizes, axes_of, known_size
from paramctl.model.layers.torch import NoCounterpart, Shapes, TorchTensor, check_channel_axis, features, moved_axes
from paramctl.model.layers.torch_draws import InitCall, constant
from paramctl.model.layers.torch_options import CARRIED, IN_CODE, argument, options, remark


class ReLU(Layer):
    """min(x, max_value) for x > threshold, negative_slope * (x - threshold) up to it."""

    torch_module = "ReLU"
    keeps_mask = True
    torch_options = options(
        max_value=remark("torch.nn.ReLU has no max_value {}"),
        negative_slope=remark("torch.nn.ReLU has no negative_slope {}", 0.0),
        threshold=remark("torch.nn.ReLU has no threshold {}", 0.0),
    )
    max_value: NonNegative | None = None
    negative_slope: NonNegative = 0.0
    threshold: NonNegative = 0.0

    def compute(self, call: Call, x: Array) -> Array:
        return rectified(call.xp, x, self.negative_slope, self.max_value, self.threshold)


class LeakyReLU(Layer):
    """x for x >= 0, negative_slope * x below 0."""

    torch_module = "LeakyReLU"
    keeps_mask = True
    torch_options = options(negative_slope=argument("negative_slope", 0.01))
    negative_slope: NonNegative = 0.3

    def compute(self, call: Call, x: Array) -> Array:
        return leaky(call.xp, x, self.negative_slope)


class PReLU(Layer):
    """x for x >= 0, alpha * x below 0; alpha is learned for each position. He et al. (2015).

    Positions along shared_axes share one alpha.
    """

    torch_module = "PReLU"
    keeps_mask = True
    torch_options = options(shared_axes=CARRIED)
    torch_takes_flat = True
    alpha_initializer: Scheme = default_scheme("zeros")
    shared_axes: Axes | None = None

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        shared = self.shared_axes or ()
        if not all(1 <= axis < len(x) for axis in shared):
            raise ShapeError(f"shared_axes must be between 1 and {len(x) - 1}")
        sizes = [1 if axis in shared else known_size(x, axis) for axis in range(1, len(x))]
        yield weight("alpha", self.alpha_initializer, *map(batch_axis, sizes))

    def compute(self, call: Call, x: Array) -> Array:
        return leaky(call.xp, x, call.parameters["alpha"])

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        axes = self._own_axes(shapes[0]) if shapes[0] is not None else []
        return around_axis(orders[0], axes[0], shapes[0]) if len(axes) == 1 else orders[0]

    def required_order(self, shape: Sizes) -> Order | None:
        axes = self._own_axes(shape)
        return required_around_axis(axes[0], shape) if len(axes) == 1 else None

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        shape = shapes["alpha"]  # (1, 1, channels) with shared_axes [1, 2]
        axes = [axis for axis, size in enumerate(shape, 1) if size != 1]
        if len(axes) > 1:
            raise NoCounterpart("torch.nn.PReLU has one slope per channel, so shared_axes must name all other axes")
        if axes:
            check_channel_axis("PReLU", axes[0], TorchInput(x.order, (None, *shape)))
        yield features("weight", "alpha", axes or [1], x, (prod(shape),))

    def torch_draws(self, tensors: Shapes) -> Iterator[InitCall]:
        yield constant("weight", 0.25)

    def _own_axes(self, shape: Sizes) -> list[int]:
        """Return the axes along which slopes differ."""
        return [axis for axis in range(1, len(shape)) if axis not in (self.shared_axes or ())]


class ELU(Layer):
    """x for x >= 0, alpha * (exp(x) - 1) below 0. Clevert et al. (2016)."""

    torch_module = "ELU"
    keeps_mask = True
    torch_options = options(alpha=argument("alpha", 1.0))
    alpha: Number = 1.0

    def compute(self, call: Call, x: Array) -> Array:
        return exponential_below(call.xp, x, self.alpha)


class Softmax(Layer):
    """exp(x) / sum(exp(x)) over one or more axes."""

    torch_module = "Softmax"
    keeps_mask = True
    torch_options = options(axis=IN_CODE)
    axis: Axes = (-1,)

    def output(self, x: Sizes) -> Sizes:
        axes_of(self.axis, x)
        return x

    def compute(self, call: Call, x: Array) -> Array:
        xp, mask = call.xp, call.mask
        if mask is None:
            return softmax(xp, x, self.axis)
        # Keras aligns the last axes of the mask and the input, whatever they are
        aligned = zip(mask.shape[::-1], x.shape[::-1], strict=False)
        if len(mask.shape) > len(x.shape) or any(size not in (1, of_x) for size, of_x in aligned):
            rule = "the mask of the input must have the sizes of the input's last axes, or 1"
            raise NotComputed(f"{rule} (got the mask {mask.shape} for {x.shape})")
        return xp.where(mask, softmax(xp, xp.where(mask, x, -1e9), self.axis), 0)

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        yield from moved_axes(self.axis, x)
