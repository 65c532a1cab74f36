"""Layers that reshape, permute, repeat or select values, without changing them."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Annotated

from paramctl.declare.option_types import Axes, Count, Integer, IntegerType, ListType
from paramctl.model.layers.base import Layer
from paramctl.model.layers.order import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    EITHER,
    OPEN,
    PLAIN,
    UNKNOWN,
    Order,
    TorchInput,
    after_flatten,
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

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        order, shape = orders[0], shapes[0]
        if output is None or shape is None:
            return PLAIN if order == PLAIN else UNKNOWN
        if output == shape:
            return order
        if len(output) == 2 and order.flat is None:
            return after_flatten(order, shape)
        if order == PLAIN:
            return PLAIN if len(output) == 2 else OPEN
        if order.flat is not None:  # the inverse of flattening
            return CHANNELS_LAST if tuple(output[1:]) == order.sizes else UNKNOWN
        if order == CHANNELS_FIRST:  # torch code has the same axes before, so it reshapes them as Keras does
            return CHANNELS_FIRST if output[1] == shape[1] else UNKNOWN
        return EITHER if order in (CHANNELS_LAST, EITHER) and output[-1] == shape[-1] else UNKNOWN

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        if not x.has_axes and len(self.target_shape) > 1:
            yield "reshape to the sizes in Keras, and only then move the channels to axis 1"


class Permute(Layer):
    """Permutation of the axes, counted from 1 after the batch: [2, 1] transposes a matrix."""

    torch_options = options(dims=IN_CODE)
    dims: Axes

    def output(self, x: Sizes) -> Sizes:
        if sorted(self.dims) != list(range(1, len(x))):
            raise ShapeError(f"dims must be a permutation of 1 to {len(x) - 1}")
        return (x[0], *(x[axis] for axis in self.dims))

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        order, rank, dims = orders[0], len(self.dims), self.dims
        if order == PLAIN or dims == tuple(range(1, rank + 1)):
            return order
        if order == CHANNELS_LAST:  # channels moved to the front, or a transposed image
            return CHANNELS_FIRST if dims == (rank, *range(1, rank)) else order if dims[-1] == rank else UNKNOWN
        if order == CHANNELS_FIRST and dims == (*range(2, rank + 1), 1):
            return EITHER  # torch code may leave the channels first
        return order if order == CHANNELS_FIRST and dims[0] == 1 else UNKNOWN

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

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        order = orders[0]
        is_vector = output is not None and len(output) == 2
        return PLAIN if order == PLAIN or (order.flat is None and order != UNKNOWN and is_vector) else UNKNOWN
