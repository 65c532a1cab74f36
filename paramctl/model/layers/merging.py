"""Layers that merge several inputs, named with ``from``."""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

from paramctl.declare.option_types import Flag, Integer, IntegerType, ListType
from paramctl.model.layers.base import Layer
from paramctl.model.layers.order import ANY_AXES, PLAIN, UNKNOWN, Order, TorchInput, combined, elementwise
from paramctl.model.layers.shapes import ShapeError, Sizes, axis_of, product
from paramctl.model.layers.torch import moved_axes
from paramctl.model.layers.torch_options import IN_CODE, options


def common_shape(shapes: Sequence[Sizes]) -> Sizes:
    """Return the shape that all inputs share; an unknown size matches any. Raises ShapeError if they differ."""
    merged = list(shapes[0])
    for shape in shapes[1:]:
        if len(shape) != len(merged):
            raise ShapeError("the merged outputs must have the same shape")
        for axis, size in enumerate(shape):
            if merged[axis] is None:
                merged[axis] = size
            elif size not in (None, merged[axis]):
                raise ShapeError("the merged outputs must have the same shape")
    return tuple(merged)


def broadcast(shapes: Sequence[Sizes]) -> Sizes:
    """Return the shape to which all inputs broadcast, an axis of size 1 to the size of the others.

    As in Keras, shorter shapes get axes of size 1 after the batch axis: (None, 3) and (None, 2, 3) give (None, 2, 3).
    Raises ShapeError if sizes differ.
    """
    rank = max(map(len, shapes))
    aligned = [(*shape[:1], *(1,) * (rank - len(shape)), *shape[1:]) for shape in shapes]
    return tuple(map(_broadcast_size, zip(*aligned, strict=True)))


def _broadcast_size(sizes: Sizes) -> int | None:
    large = {size for size in sizes if size not in (1, None)}
    if len(large) > 1:
        raise ShapeError("the merged outputs must have equal sizes, or size 1, along each axis")
    return large.pop() if large else None if None in sizes else 1


class Elementwise(Layer, abstract=True):
    """An elementwise merge of its inputs, with broadcasting."""

    arity: ClassVar[int | None] = None

    def output(self, *inputs: Sizes) -> Sizes:
        return broadcast(inputs)

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        return elementwise(orders, shapes)


class Add(Elementwise):
    """Sum of its inputs, elementwise, with broadcasting."""


class Average(Elementwise):
    """Mean of its inputs, elementwise, with broadcasting."""


class Maximum(Elementwise):
    """Maximum of its inputs, elementwise, with broadcasting."""


class Minimum(Elementwise):
    """Minimum of its inputs, elementwise, with broadcasting."""


class Subtract(Elementwise):
    """First input minus the second, elementwise, with broadcasting."""

    arity = 2


class Multiply(Elementwise):
    """Product of its inputs, elementwise, with broadcasting."""


class Concatenate(Layer):
    """Concatenation of its inputs along an axis; their sizes along all other axes must be equal."""

    torch_options = options(axis=IN_CODE)
    arity = None
    axis: Integer = -1

    def output(self, *inputs: Sizes) -> Sizes:
        axis = axis_of(self.axis, inputs[0])
        if len({len(shape) for shape in inputs}) > 1:
            raise ShapeError("the merged outputs must have the same number of axes")
        # The axis itself may differ, so compare the shapes without it.
        try:
            rest = common_shape([shape[:axis] + shape[axis + 1 :] for shape in inputs])
        except ShapeError:
            raise ShapeError(f"the merged outputs must have equal sizes along every axis except {axis}") from None
        sizes = [shape[axis] for shape in inputs]
        total = None if None in sizes else sum(size for size in sizes if size is not None)
        return (*rest[:axis], total, *rest[axis:])

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        return combined(orders, output is not None and len(output) > 2)

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        yield from moved_axes([self.axis], x)


class Dot(Layer):
    """Dot products of two inputs along one axis of each, for each example; normalize gives cosine similarities."""

    torch_options = options(axes=IN_CODE, normalize=IN_CODE)
    arity = 2
    axes: Annotated[tuple[int, ...], ListType(IntegerType("an axis"), "an axis, or a list of one for each input", 2)]
    normalize: Flag = False

    def macs(self, a: Sizes, b: Sizes) -> int | None:
        summed = [a[axis_of(self.axes[0], a)], b[axis_of(self.axes[-1], b)]]  # both are equal, if known
        return product(*self.output(a, b)[1:], summed[1] if summed[0] is None else summed[0])

    def output(self, a: Sizes, b: Sizes) -> Sizes:
        axes = axis_of(self.axes[0], a), axis_of(self.axes[-1], b)
        if 0 in axes:
            raise ShapeError("axes must not include the batch axis")
        if None not in (a[axes[0]], b[axes[1]]) and a[axes[0]] != b[axes[1]]:
            rule = f"axis {axes[0]} of the first input and axis {axes[1]} of the second must have equal sizes"
            raise ShapeError(rule)
        rest = (*a[: axes[0]], *a[axes[0] + 1 :], *b[1 : axes[1]], *b[axes[1] + 1 :])
        return rest if len(rest) > 1 else (*rest, 1)  # two vectors give (batch, 1), as in Keras

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        if set(orders) == {PLAIN}:
            return PLAIN
        has_axes = all(shape is not None and len(shape) > 2 for shape in [*shapes, output])
        return ANY_AXES if has_axes and UNKNOWN not in orders else UNKNOWN
