"""Layers that merge several inputs, named by ``from``."""

from typing import Annotated, ClassVar

from paramctl.declare.option_types import Flag, Integer, IntegerType, ListType
from paramctl.model.layers.base import Layer, ShapeError, Sizes, axis_of


def common_shape(shapes: tuple[Sizes, ...]) -> Sizes:
    """The shape that all inputs have; a size not known agrees with any."""
    merged = list(shapes[0])
    for shape in shapes[1:]:
        if len(shape) != len(merged):
            raise ShapeError("the outputs it merges must have one shape")
        for axis, size in enumerate(shape):
            if merged[axis] is None:
                merged[axis] = size
            elif size not in (None, merged[axis]):
                raise ShapeError("the outputs it merges must have one shape")
    return tuple(merged)


def broadcast(shapes: tuple[Sizes, ...]) -> Sizes:
    """The shape to which all inputs are stretched: an axis of size 1 to the others' size.

    Where the numbers of axes differ, axes of size 1 come after the batch.
    """
    most = max(map(len, shapes))
    aligned = [(*shape[:1], *(1,) * (most - len(shape)), *shape[1:]) for shape in shapes]
    return tuple(map(_stretched, zip(*aligned, strict=True)))


def _stretched(sizes: Sizes) -> int | None:
    wide = {size for size in sizes if size not in (1, None)}
    if len(wide) > 1:
        raise ShapeError("the outputs it merges must have equal sizes, or size 1, along each axis")
    return wide.pop() if wide else None if None in sizes else 1


class Elementwise(Layer, abstract=True):
    """Merges its inputs value by value; an axis of size 1 is stretched to the others' size."""

    arity: ClassVar[int | None] = None

    def output(self, *inputs: Sizes) -> Sizes:
        return broadcast(inputs)


class Add(Elementwise):
    """The sum of its inputs; an axis of size 1 is stretched."""


class Average(Elementwise):
    """The mean of its inputs; an axis of size 1 is stretched."""


class Maximum(Elementwise):
    """The greatest of its inputs at each place; an axis of size 1 is stretched."""


class Minimum(Elementwise):
    """The least of its inputs at each place; an axis of size 1 is stretched."""


class Subtract(Elementwise):
    """Its first input less its second; an axis of size 1 is stretched."""

    arity = 2


class Multiply(Elementwise):
    """The product of its inputs; an axis of size 1 is stretched."""


class Concatenate(Layer):
    """Its inputs one after another along an axis; along the others they have one size."""

    arity = None
    axis: Integer = -1

    def output(self, *inputs: Sizes) -> Sizes:
        axis = axis_of(self.axis, inputs[0])
        if len({len(shape) for shape in inputs}) > 1:
            raise ShapeError("the outputs it merges must have one number of axes")
        try:
            rest = common_shape(tuple(shape[:axis] + shape[axis + 1 :] for shape in inputs))
        except ShapeError:
            raise ShapeError(f"the outputs it merges must have one size along every axis but {axis}") from None
        sizes = [shape[axis] for shape in inputs]
        joined = None if None in sizes else sum(size for size in sizes if size is not None)
        return (*rest[:axis], joined, *rest[axis:])


class Dot(Layer):
    """The sum of products of two inputs along an axis of each, the batch kept; normalize gives cosines."""

    arity = 2
    axes: Annotated[tuple[int, ...], ListType(IntegerType("an axis"), "an axis, or a list of one for each input", 2)]
    normalize: Flag = False

    def output(self, a: Sizes, b: Sizes) -> Sizes:
        axes = axis_of(self.axes[0], a), axis_of(self.axes[-1], b)
        if 0 in axes:
            raise ShapeError("it cannot sum over the batch axis")
        if None not in (a[axes[0]], b[axes[1]]) and a[axes[0]] != b[axes[1]]:
            raise ShapeError(f"the axes {axes[0]} and {axes[1]} along which it sums must have one size")
        rest = (*a[: axes[0]], *a[axes[0] + 1 :], *b[1 : axes[1]], *b[axes[1] + 1 :])
        return rest if len(rest) > 1 else (*rest, 1)
