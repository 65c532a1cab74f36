"""Layers that move values without changing them."""

from math import prod
from typing import Annotated

from paramctl.declare.option_types import Axes, Count, Integer, IntegerType, ListType
from paramctl.model.layers.base import Layer, ShapeError, Sizes, axis_of
from paramctl.model.layers.spatial import DataFormat

Target = Annotated[
    tuple[int, ...],
    ListType(IntegerType("a size", -1), "a list of sizes, one of which may be -1"),
]


class Flatten(Layer):
    """All axes but the batch become one; channels_first moves the first of them to the end before."""

    data_format: DataFormat = "channels_last"

    def output(self, x: Sizes) -> Sizes:
        sizes = [size for size in x[1:] if size is not None]
        return (x[0], prod(sizes) if len(sizes) == len(x) - 1 else None)


class Reshape(Layer):
    """Other axes for the same values, the batch apart; one size may be -1, for the rest."""

    target_shape: Target

    def output(self, x: Sizes) -> Sizes:
        target = self.target_shape
        if target.count(-1) > 1 or 0 in target:
            raise ShapeError("its target_shape may hold one -1 and no 0")
        fixed = prod(size for size in target if size != -1)
        known = [size for size in x[1:] if size is not None]
        if len(known) < len(x) - 1:
            return (x[0], *(None if size == -1 else size for size in target))
        total = prod(known)
        if total % fixed or (-1 not in target and total != fixed):
            raise ShapeError(f"it cannot make {list(target)} of {total:,} values")
        return (x[0], *(total // fixed if size == -1 else size for size in target))


class Permute(Layer):
    """The axes in another order, counted from 1, the batch apart: [2, 1] transposes a matrix."""

    dims: Axes

    def output(self, x: Sizes) -> Sizes:
        if sorted(self.dims) != list(range(1, len(x))):
            raise ShapeError(f"its dims must be the numbers 1 to {len(x) - 1} in some order")
        return (x[0], *(x[axis] for axis in self.dims))


class RepeatVector(Layer):
    """A vector n times, as the steps of a sequence."""

    input_axes = "batch, features"
    n: Count

    def output(self, x: Sizes) -> Sizes:
        return (x[0], self.n, x[1])


class Take(Layer):
    """One position along an axis, which then goes: index 0 of axis 1 is a sequence's first. Not in Keras."""

    in_keras = False
    index: Integer
    axis: Integer = 1

    def output(self, x: Sizes) -> Sizes:
        axis = axis_of(self.axis, x)
        size = x[axis]
        if axis == 0:
            raise ShapeError("it cannot take from the batch axis")
        if size is not None and not -size <= self.index < size:
            raise ShapeError(f"its index {self.index} is outside axis {axis}, which has {size}")
        return x[:axis] + x[axis + 1 :]
