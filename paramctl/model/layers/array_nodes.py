"""The syntax tree of an expression of arrays: each node gives its shape without arrays, and computes with them.

The semantics are NumPy's. The batch is the first axis of an input, and of each result that keeps it there: a parameter
broadcasts against the axes after it, but never along it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from paramctl.model.layers.call import Array
from paramctl.model.layers.shapes import ShapeError, Sizes, axes_of, axis_of, product, total


class Value(NamedTuple):
    """The facts about a result.

    sizes: its shape. batched: True if its first axis is the batch. mixes: True if it depends on several examples at
    once. macs: the multiply-accumulates of its matrix products; None if a size is unknown.
    """

    sizes: Sizes
    batched: bool = False
    mixes: bool = False
    macs: int | None = 0


class Node:
    """A part of an expression. text: its text, for errors. parts: the nodes that it applies to."""

    text: str
    parts: tuple[Node, ...]

    def infer(self, names: Mapping[str, Value]) -> Value:
        """Return the facts about the result, given those of each name. Raises ShapeError if the shapes do not fit."""
        parts = [part.infer(names) for part in self.parts]
        try:
            return self.combine(parts)
        except ShapeError as error:
            shapes = " and ".join(str(part.sizes) for part in parts)
            raise ShapeError(f"{self.text}: {error}: {shapes}") from None

    def combine(self, parts: Sequence[Value]) -> Value:
        """Return the facts about the result, given those of its parts."""
        raise NotImplementedError

    def compute(self, xp: Any, names: Mapping[str, Array]) -> Array:
        """Return the result with the functions of an array namespace. Its shape is that of `infer`."""
        return self.apply(xp, *(part.compute(xp, names) for part in self.parts))

    def apply(self, xp: Any, *parts: Array) -> Array:
        """Return the result, given those of its parts."""
        raise NotImplementedError


def result(parts: Sequence[Value], sizes: Sizes, batched: bool, macs: int | None = 0) -> Value:
    """Return the facts about the result of an operation. It mixes examples if it moves or sums their axis."""
    mixes = any(part.mixes for part in parts) or (not batched and any(part.batched for part in parts))
    return Value(sizes, batched, mixes, total(macs, *(part.macs for part in parts)))


def broadcast(shapes: Sequence[Sizes]) -> Sizes:
    """Return the shape to which shapes broadcast. Raises ShapeError if they do not."""
    rank = max(map(len, shapes))
    sizes = []
    for column in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True):
        known = {size for size in column if size not in (None, 1)}
        if len(known) > 1:
            raise ShapeError("the shapes do not broadcast")
        # an unknown size must fit a known one
        sizes.append(known.pop() if known else None if None in column else 1)
    return tuple(sizes)


def elementwise(parts: Sequence[Value]) -> Value:
    """Return the facts about a result with a value for each element, broadcast."""
    sizes = broadcast([part.sizes for part in parts])
    batches = {len(part.sizes) for part in parts if part.batched}
    if not batches:
        return result(parts, sizes, False)
    if batches != {len(sizes)}:
        raise ShapeError("the batch is the first axis, so an array may not have more axes than an input")
    fixed = [part.sizes[0] for part in parts if not part.batched and len(part.sizes) == len(sizes) and not part.mixes]
    if {*fixed} - {1}:
        raise ShapeError("a parameter may not have the axis of the batch; give it the size 1")
    batch = next(part.sizes[0] for part in parts if part.batched)
    return result(parts, (batch if batch is None else sizes[0], *sizes[1:]), True)


@dataclass(eq=False, repr=False)
class Number(Node):
    """A number, which takes the dtype of the arrays around it."""

    text: str
    value: float
    parts = ()

    def infer(self, names: Mapping[str, Value]) -> Value:
        return Value(())

    def compute(self, xp: Any, names: Mapping[str, Array]) -> Array:
        return self.value


@dataclass(eq=False, repr=False)
class Name(Node):
    """An input or a parameter."""

    text: str
    parts = ()

    def infer(self, names: Mapping[str, Value]) -> Value:
        return names[self.text]

    def compute(self, xp: Any, names: Mapping[str, Array]) -> Array:
        return names[self.text]


@dataclass(eq=False, repr=False)
class Elementwise(Node):
    """An operation on each element, such as + or exp. operation: from the namespace and the parts."""

    text: str
    parts: tuple[Node, ...]
    operation: Callable[..., Array]

    def combine(self, parts: Sequence[Value]) -> Value:
        return elementwise(parts)

    def apply(self, xp: Any, *parts: Array) -> Array:
        return self.operation(xp, *parts)


@dataclass(eq=False, repr=False)
class Product(Node):
    """A matrix product, a @ b: it sums over the last axis of a and the last but one of b."""

    text: str
    parts: tuple[Node, ...]

    def combine(self, parts: Sequence[Value]) -> Value:
        (a, b) = parts
        if not a.sizes or not b.sizes:
            raise ShapeError("a matrix product requires arrays with axes")
        rows, columns = a.sizes[-2:-1], b.sizes[-1:] if len(b.sizes) > 1 else ()
        inner = {a.sizes[-1], b.sizes[-2] if len(b.sizes) > 1 else b.sizes[0]}
        if len(inner - {None}) > 1:
            raise ShapeError("the last axis of the first must have the size of the last but one of the second")
        stacks = [part._replace(sizes=part.sizes[:-2], batched=part.batched and len(part.sizes) > 2) for part in parts]
        stack = elementwise(stacks)
        sizes = (*stack.sizes, *rows, *columns)
        # the rows of a may be the examples; b's rows are summed, and rows after a stack are not the first axis
        rows_first = a.batched and len(a.sizes) == 2 and not stack.sizes
        moved = (a.batched and len(a.sizes) < 3 and not rows_first) or (b.batched and len(b.sizes) < 3)
        length = next(iter(inner - {None}), None)
        return result(parts, sizes, (rows_first or stack.batched) and not moved, product(length, *sizes))

    def apply(self, xp: Any, *parts: Array) -> Array:
        a, b = parts
        # one product of matrices is faster than a stack of them
        return xp.linear(a, b) if len(b.shape) == 2 and len(a.shape) > 1 else a @ b


@dataclass(eq=False, repr=False)
class Activated(Node):
    """An activation function. function: with its options."""

    text: str
    parts: tuple[Node, ...]
    function: Any

    def combine(self, parts: Sequence[Value]) -> Value:
        (x,) = parts
        sizes = self.function.output(x.sizes)
        axes = vars(self.function).get("axis")
        along = () if axes is None else axes_of([axes] if isinstance(axes, int) else axes, x.sizes)
        output = result(parts, sizes, x.batched)
        return output._replace(mixes=output.mixes or (x.batched and 0 in along))

    def apply(self, xp: Any, *parts: Array) -> Array:
        array: Array = self.function.compute(xp, *parts)
        return array


@dataclass(eq=False, repr=False)
class Reduced(Node):
    """The mean, sum, largest or least value over axes; None is all. name: of the function in the namespace."""

    text: str
    parts: tuple[Node, ...]
    name: str
    axis: tuple[int, ...] | None
    keepdims: bool

    def combine(self, parts: Sequence[Value]) -> Value:
        (x,) = parts
        axes = range(len(x.sizes)) if self.axis is None else axes_of(self.axis, x.sizes)
        if self.name in ("max", "min") and any(x.sizes[axis] == 0 for axis in axes):
            raise ShapeError(f"an axis of size 0 has no {self.name}")
        kept = [(axis, size) for axis, size in enumerate(x.sizes) if self.keepdims or axis not in axes]
        sizes = tuple(1 if axis in axes else size for axis, size in kept)
        return result(parts, sizes, x.batched and 0 not in axes)

    def apply(self, xp: Any, *parts: Array) -> Array:
        array: Array = getattr(xp, self.name)(*parts, axis=self.axis, keepdims=self.keepdims)
        return array


@dataclass(eq=False, repr=False)
class Transposed(Node):
    """The axes in another order; None reverses them."""

    text: str
    parts: tuple[Node, ...]
    axes: tuple[int, ...] | None

    def combine(self, parts: Sequence[Value]) -> Value:
        (x,) = parts
        axes = [*reversed(range(len(x.sizes)))] if self.axes is None else axes_of(self.axes, x.sizes)
        if len(axes) != len(x.sizes):
            raise ShapeError(f"transpose requires all {len(x.sizes)} axes")
        return result(parts, tuple(x.sizes[axis] for axis in axes), x.batched and axes[0] == 0)

    def apply(self, xp: Any, *parts: Array) -> Array:
        return xp.transpose(*parts, self.axes)


@dataclass(eq=False, repr=False)
class Reshaped(Node):
    """The values of each example in another shape; one size may be -1."""

    text: str
    parts: tuple[Node, ...]
    shape: tuple[int, ...]

    def combine(self, parts: Sequence[Value]) -> Value:
        (x,) = parts
        if not x.batched:
            raise ShapeError("reshape requires an array with the batch as its first axis")
        count, known = product(*x.sizes[1:]), product(*(size for size in self.shape if size != -1)) or 0
        if count is not None and (count % known if -1 in self.shape and known else count != known):
            raise ShapeError(f"{count} values of an example do not fit the shape {self.shape}")
        free = None if count is None or not known else count // known
        return result(parts, (x.sizes[0], *(free if size == -1 else size for size in self.shape)), True)

    def apply(self, xp: Any, *parts: Array) -> Array:
        (x,) = parts
        sizes = self.combine([Value(x.shape, True)]).sizes
        return xp.reshape(x, sizes)


@dataclass(eq=False, repr=False)
class Concatenated(Node):
    """Arrays, one after another along an axis."""

    text: str
    parts: tuple[Node, ...]
    axis: int

    def combine(self, parts: Sequence[Value]) -> Value:
        if len({len(part.sizes) for part in parts}) > 1:
            raise ShapeError("concatenate requires arrays with the same number of axes")
        batched = all(part.batched for part in parts)
        is_constant = any(not part.batched and not part.mixes for part in parts)
        if is_constant and any(part.batched for part in parts):
            raise ShapeError("concatenate requires arrays with the batch as their first axis, or none of them")
        axis = axis_of(self.axis, parts[0].sizes)
        columns = [*zip(*(part.sizes for part in parts), strict=True)]
        sizes: list[int | None] = []
        for number, column in enumerate(columns):
            known = {size for size in column if size is not None}
            if number != axis and len(known) > 1:
                raise ShapeError(f"the sizes must be equal except along axis {axis}")
            sizes.append(total(*column) if number == axis else next(iter(known), None))
        return result(parts, tuple(sizes), batched and axis != 0)

    def apply(self, xp: Any, *parts: Array) -> Array:
        return xp.concatenate(list(parts), axis=self.axis)


Index = int | slice | None


@dataclass(eq=False, repr=False)
class Indexed(Node):
    """Items of an array: integers, slices, None for a new axis of size 1, and one ... for all other axes."""

    text: str
    parts: tuple[Node, ...]
    before: tuple[Index, ...]
    after: tuple[Index, ...]
    """The indices before the ..., and those after it; without one, it is at the end."""

    def combine(self, parts: Sequence[Value]) -> Value:
        (x,) = parts
        taken = sum(index is not None for index in (*self.before, *self.after))
        if taken > len(x.sizes):
            raise ShapeError(f"{taken} indices are too many for {len(x.sizes)} axes")
        full = [slice(None)] * (len(x.sizes) - taken)
        indices = [*self.before, *full, *self.after]
        sizes: list[int | None] = []
        left = [*x.sizes]
        for index in indices:
            if index is None:
                sizes.append(1)
            elif isinstance(index, slice):
                sizes.append(_sliced(left.pop(0), index))
            else:
                size = left.pop(0)
                if size is not None and not -size <= index < size:
                    raise ShapeError(f"index {index} is out of range for an axis of size {size}")
        return result(parts, tuple(sizes), x.batched and bool(indices) and indices[0] == slice(None))

    def apply(self, xp: Any, *parts: Array) -> Array:
        (x,) = parts
        return x[(*self.before, ..., *self.after)]


def _sliced(size: int | None, index: slice) -> int | None:
    """Return the size of a slice of an axis."""
    if size is None:
        return None
    return len(range(*index.indices(size)))
