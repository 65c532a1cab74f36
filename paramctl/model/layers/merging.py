"""Layers that merge several inputs, named with ``from``."""

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, ClassVar

from paramctl.declare.option_types import Flag, Integer, IntegerType, ListType
from paramctl.model.layers.base import Layer
from paramctl.model.layers.call import Array, Call, NotComputed
from paramctl.model.layers.functions import unit
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


def aligned(inputs: Sequence[Array], rank: int = 0) -> list[Array]:
    """Return arrays with equal numbers of axes: shorter ones get axes of size 1 after the batch axis."""
    rank = max(rank, *(len(x.shape) for x in inputs))
    return [x.reshape((*x.shape[:1], *(1,) * (rank - len(x.shape)), *x.shape[1:])) for x in inputs]


def _each_value(x: Array, mask: Array | None) -> Array | None:
    """Return a mask of steps as one that broadcasts over the values of each step."""
    if mask is None or len(mask.shape) == len(x.shape) - 1:
        return None if mask is None else mask[..., None]
    raise NotComputed(f"a mask must have one axis less than its input (got the mask {mask.shape} for {x.shape})")


def _each_mask(inputs: Sequence[Array], masks: Sequence[Array | None]) -> list[Array | None]:
    """Return the mask of each input, aligned as its values are; None for each without masks."""
    if not any(mask is not None for mask in masks):
        return [None] * len(inputs)
    rank = max(len(x.shape) for x in inputs)
    each = map(_each_value, inputs, masks)
    return [None if mask is None else aligned([mask], rank)[0] for mask in each]


class Elementwise(Layer, abstract=True):
    """An elementwise merge of its inputs, with broadcasting."""

    arity: ClassVar[int | None] = None
    keeps_mask = True
    operation: ClassVar[str]
    """The function of two arrays, in an array namespace, that merges them."""

    def output(self, *inputs: Sizes) -> Sizes:
        return broadcast(inputs)

    def compute(self, call: Call, *inputs: Array) -> Array:
        output: Array = reduce(getattr(call.xp, self.operation), aligned(inputs))
        return output

    def output_mask(self, call: Call, *inputs: Array) -> Array | None:
        """Return the steps that any input has, if all have masks."""
        if not call.masks or any(mask is None for mask in call.masks):
            return None
        try:
            steps: Array = reduce(or_, call.masks)
        except ValueError:
            shapes = " and ".join(str(mask.shape) for mask in call.masks if mask is not None)
            raise NotComputed(f"the masks of the inputs must have equal shapes (got {shapes})") from None
        return steps

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        return elementwise(orders, shapes)


class Add(Elementwise):
    """Sum of its inputs, elementwise, with broadcasting."""

    operation = "add"


class Average(Elementwise):
    """Mean of its inputs, elementwise, with broadcasting."""

    operation = "add"

    def compute(self, call: Call, *inputs: Array) -> Array:
        return super().compute(call, *inputs) / len(inputs)


class Extremum(Elementwise, abstract=True):
    """The maximum or minimum of its inputs, of which a masked step does not count."""

    def compute(self, call: Call, *inputs: Array) -> Array:
        """Return the extremum. A step that is masked in all inputs has the value of the last, as in Keras."""
        xp, masks = call.xp, _each_mask(inputs, call.masks)
        (output, *others), (seen, *known) = aligned(inputs), masks
        for x, mask in zip(others, known, strict=True):
            # no number is neutral for both, so a masked value is replaced by the other side's
            x = x if mask is None else xp.where(mask, x, output)
            output = getattr(xp, self.operation)(output if seen is None else xp.where(seen, output, x), x)
            seen = None if mask is None or seen is None else mask | seen
        return output


class Maximum(Extremum):
    """Maximum of its inputs, elementwise, with broadcasting."""

    operation = "maximum"


class Minimum(Extremum):
    """Minimum of its inputs, elementwise, with broadcasting."""

    operation = "minimum"


class Subtract(Elementwise):
    """First input minus the second, elementwise, with broadcasting."""

    operation = "subtract"
    arity = 2


class Multiply(Elementwise):
    """Product of its inputs, elementwise, with broadcasting."""

    operation = "multiply"

    def compute(self, call: Call, *inputs: Array) -> Array:
        """Return the product. A masked step counts as 1, and is 0 where it is masked in all inputs, as in Keras."""
        xp, masks = call.xp, _each_mask(inputs, call.masks)
        # 1 changes no product
        pairs = zip(aligned(inputs), masks, strict=True)
        product = super().compute(call, *(x if mask is None else xp.where(mask, x, 1) for x, mask in pairs))
        return product if any(mask is None for mask in masks) else xp.where(reduce(or_, masks), product, 0)


class Concatenate(Layer):
    """Concatenation of its inputs along an axis; their sizes along all other axes must be equal."""

    torch_options = options(axis=IN_CODE)
    keeps_mask = True
    arity = None
    axis: Integer = -1

    def macs(self, *inputs: Sizes) -> int | None:
        # along axis 0, later layers have the examples of all inputs, so no number is that of one example
        return None if axis_of(self.axis, inputs[0]) == 0 else 0

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

    def compute(self, call: Call, *inputs: Array) -> Array:
        return call.xp.concatenate(inputs, axis=self.axis)

    def output_mask(self, call: Call, *inputs: Array) -> Array | None:
        """Return the steps of which any value is not masked; an input without a mask has all steps."""
        xp = call.xp
        if all(mask is None for mask in call.masks):
            return None
        masks = [
            xp.ones(x.shape, "bool") if mask is None else xp.broadcast_to(_each_value(x, mask), x.shape)
            for x, mask in zip(inputs, call.masks, strict=True)
        ]
        return xp.any(xp.concatenate(masks, axis=self.axis), axis=-1)

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

    def compute(self, call: Call, a: Array, b: Array) -> Array:
        xp, axes = call.xp, (axis_of(self.axes[0], a.shape), axis_of(self.axes[-1], b.shape))
        if self.normalize:
            a, b = (unit(xp, x, axis, 1e-7) for x, axis in zip((a, b), axes, strict=True))
        shape = self.output(a.shape, b.shape)
        size = a.shape[axes[0]]
        # with three axes each, the product of matrices of an example is one call of BLAS
        rows = xp.reshape(xp.moveaxis(a, axes[0], -1), (a.shape[0], -1, size))
        columns = xp.reshape(xp.moveaxis(b, axes[1], 1), (b.shape[0], size, -1))
        return xp.reshape(rows @ columns, shape)

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        if set(orders) == {PLAIN}:
            return PLAIN
        has_axes = all(shape is not None and len(shape) > 2 for shape in [*shapes, output])
        return ANY_AXES if has_axes and UNKNOWN not in orders else UNKNOWN
