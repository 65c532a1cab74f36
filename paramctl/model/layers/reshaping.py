"""Layers that reshape, permute, repeat or select values, without changing them."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Annotated

from paramctl.declare.option_types import Axes, Count, Integer, IntegerType, ListType
from paramctl.model.layers.base import Layer
from paramctl.model.layers.call import Array, Call
from paramctl.model.layers.order import (
    ANY_AXES,
    CHANNELS_FIRST,
    CHANNELS_LAST,
    EITHER,
    OPEN,
    PLAIN,
    UNKNOWN,
    Order,
    TorchInput,
    after_flatten,
    for_features_last,
)
from paramctl.model.layers.shapes import ShapeError, Sizes, axis_of
from paramctl.model.layers.spatial import DataFormat
from paramctl.model.layers.torch_options import CARRIED, IN_CODE, options

Target = Annotated[
    tuple[int, ...],
    ListType(IntegerType("a size", -1), "a list of sizes, one of which may be -1"),
]


class Flatten(Layer):
    """Flattening of all axes except the batch; with channels_first, axis 1 is first moved to the end."""

    torch_options = options(data_format=CARRIED)
    data_format: DataFormat = "channels_last"

    def output(self, x: Sizes) -> Sizes:
        sizes = [size for size in x[1:] if size is not None]
        return (x[0], prod(sizes) if len(sizes) == len(x) - 1 else None)

    def compute(self, call: Call, x: Array) -> Array:
        if self.data_format == "channels_first" and len(x.shape) > 2:
            x = call.xp.moveaxis(x, 1, -1)  # so that dense layers after either format have the same kernel
        return call.xp.reshape(x, self.output(x.shape))

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        return after_flatten(orders[0], shapes[0], self.data_format == "channels_first")

    def required_order(self, shape: Sizes) -> Order | None:
        return CHANNELS_FIRST if self.data_format == "channels_first" and len(shape) > 2 else None


class Reshape(Layer):
    """Reshaping of all axes except the batch; one size may be -1, which is inferred."""

    torch_options = options(target_shape=IN_CODE)
    target_shape: Target

    def output(self, x: Sizes) -> Sizes:
        target = self.target_shape
        if target.count(-1) > 1 or 0 in target:
            raise ShapeError("target_shape must have at most one -1, and no 0")
        fixed = prod(size for size in target if size != -1)
        known = [size for size in x[1:] if size is not None]
        if len(known) < len(x) - 1:
            return (x[0], *(None if size == -1 else size for size in target))
        total = prod(known)
        if total % fixed or (-1 not in target and total != fixed):
            raise ShapeError(f"target_shape {list(target)} must fit the {total:,} values of the input")
        return (x[0], *(total // fixed if size == -1 else size for size in target))

    def compute(self, call: Call, x: Array) -> Array:
        return call.xp.reshape(x, self.output(x.shape))

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        order, shape = orders[0], shapes[0]
        if output is None or shape is None:
            return PLAIN if order == PLAIN else UNKNOWN
        if output == shape:
            return order
        values = after_flatten(order, shape)
        if len(output) == 2:
            return values
        if order == CHANNELS_FIRST and output[1] == shape[1]:
            return CHANNELS_FIRST
        if values == PLAIN:  # torch has the same values in the same order, so it reshapes them as Keras does
            return OPEN
        if values.flat == tuple(output[1:]):  # the inverse of flattening
            return CHANNELS_LAST
        return EITHER if order in (CHANNELS_LAST, EITHER) and output[-1] == shape[-1] else UNKNOWN

    def required_order(self, shape: Sizes) -> Order | None:
        # an input of two axes has no channels that torch code would move before it adds an axis
        return for_features_last(shape) if len(self.target_shape) >= len(shape) else None

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        flat = x.order.flat
        if flat is not None and len(self.target_shape) == len(flat):
            if all(size in (-1, known) for size, known in zip(self.target_shape, flat, strict=True)):
                yield f"reshape to {flat[-1:] + flat[:-1]}: torch flattens the channels first"
        elif flat is None and not x.has_axes and len(self.target_shape) > 1:
            yield "reshape to the sizes in Keras, and only then move the channels to axis 1"


class Permute(Layer):
    """Permutation of the axes, counted from 1 after the batch: [2, 1] transposes a matrix."""

    torch_options = options(dims=IN_CODE)
    dims: Axes

    def output(self, x: Sizes) -> Sizes:
        if sorted(self.dims) != list(range(1, len(x))):
            raise ShapeError(f"dims must be a permutation of 1 to {len(x) - 1}")
        return (x[0], *(x[axis] for axis in self.dims))

    def compute(self, call: Call, x: Array) -> Array:
        return call.xp.transpose(x, (0, *self.dims))

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        order, rank, dims = orders[0], len(self.dims), self.dims
        if order == PLAIN or dims == tuple(range(1, rank + 1)):
            return order
        if order == CHANNELS_LAST:  # channels moved to the front, or a transposed image
            return CHANNELS_FIRST if dims == (rank, *range(1, rank)) else order if dims[-1] == rank else ANY_AXES
        if order == CHANNELS_FIRST and dims == (*range(2, rank + 1), 1):
            return EITHER  # torch code may leave the channels first
        return order if order == UNKNOWN or (order == CHANNELS_FIRST and dims[0] == 1) else ANY_AXES

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        if self.channel_order([x.order], [x.shape], None) == CHANNELS_FIRST != x.order:
            yield "torch has these axes already, so leave it out"


class RepeatVector(Layer):
    """Vector repeated n times, as the steps of a sequence."""

    torch_options = options(n=IN_CODE)
    input_axes = "batch, features"
    n: Count

    def output(self, x: Sizes) -> Sizes:
        return (x[0], self.n, x[1])

    def compute(self, call: Call, x: Array) -> Array:
        return call.xp.repeat(x[:, None], self.n, axis=1)


class Take(Layer):
    """One position along an axis, without the axis: index 0 of axis 1 is the first step.
    Not in Keras."""

    torch_options = options(index=IN_CODE, axis=IN_CODE)
    in_keras = False
    index: Integer
    axis: Integer = 1

    def output(self, x: Sizes) -> Sizes:
        axis = axis_of(self.axis, x)
        size = x[axis]
        if axis == 0:
            raise ShapeError("axis must not be the batch axis")
        if size is not None and not -size <= self.index < size:
            raise ShapeError(f"index {self.index} is out of range for axis {axis} of size {size}")
        return x[:axis] + x[axis + 1 :]

    def compute(self, call: Call, x: Array) -> Array:
        return x[(*(slice(None),) * axis_of(self.axis, x.shape), self.index)]

    def output_mask(self, call: Call, x: Array) -> Array | None:
        """Return the mask, unless a step is taken, which has none."""
        mask = call.mask
        return mask if mask is not None and axis_of(self.axis, x.shape) >= len(mask.shape) else None

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        if orders[0] in (PLAIN, UNKNOWN) or orders[0].flat is not None:
            return orders[0] if orders[0] == PLAIN else UNKNOWN
        return PLAIN if output is not None and len(output) == 2 else ANY_AXES
