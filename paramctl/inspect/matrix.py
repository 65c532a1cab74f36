"""Matrices: arrays as the matrices by which their layers multiply, read in slabs of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import frexp, prod
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.core.parameter import Axis
from paramctl.inspect.tally import Tally, widened
from paramctl.source.base import SelectedValues

LOADED = 1 << 23
"""The number of values to hold at once: 64 MiB as float64."""

LARGEST_POWER = 1000
"""Two to a smaller power is well within the range of float64."""

NOT_A_MATRIX = "not a matrix"


class Sides(NamedTuple):
    """The axes of an array that index independent kernels, the rows of each, and its columns."""

    kernels: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]


def sides_of(axes: Sequence[Axis]) -> Sides | str:
    """Return the sides of an array with these axes, or why it is not a matrix.

    Two axes are a matrix, unless both index outputs, as in the bias of attention heads. Of more axes, the outputs are
    the columns, the inputs and the receptive field the rows; a batch axis indexes kernels of their own.
    """
    roles = [axis.role for axis in axes]
    if len(axes) < 2 or all(role == "out" for role in roles):
        return NOT_A_MATRIX
    if len(axes) == 2:
        return Sides((), (0,), (1,))
    if "unknown" in roles:
        return "the file does not record which axes are inputs"
    kernels, rows, columns = (
        tuple(axis for axis, role in enumerate(roles) if role in which)
        for which in (("batch",), ("in", "field"), ("out",))
    )
    return Sides(kernels, rows, columns) if rows and columns else NOT_A_MATRIX


class Matrices(NamedTuple):
    """The kernels of an array, each a matrix, whose values are scaled by a power of two to at most 1.

    axes: the places among the array's axes of those that the selection keeps. exponent: of the scale.
    """

    selected: SelectedValues
    axes: tuple[int, ...]
    sides: Sides
    exponent: int

    @classmethod
    def of(cls, selected: SelectedValues, counts: Tally) -> Matrices | str:
        """Return the matrices of selected values, or why they are not matrices."""
        axes = tuple(number for number, dropped in enumerate(selected.selection.dropped) if not dropped)
        parameter = selected.source.model.parameters[selected.path]
        sides = sides_of([parameter.axes[number] for number in axes])
        if isinstance(sides, str):
            return sides
        if not selected.selection.size:
            return "empty"
        if counts.nan or counts.inf:
            return "has NaN or infinities"
        largest = max(max(abs(part.minimum), abs(part.maximum)) for part in counts.parts)
        return cls(selected, axes, sides, frexp(largest)[1] if largest else 0)

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows and of columns of each."""
        return self._size(self.sides.rows), self._size(self.sides.columns)

    @property
    def in_order(self) -> bool:
        """True if the values of each kernel are those of its matrix, or of its transpose, in C order."""
        _, rows, columns = self.sides
        return max(rows) < min(columns) or max(columns) < min(rows)

    def _size(self, axes: Sequence[int]) -> int:
        return prod(len(self.selected.selection.ranges[self.axes[axis]]) for axis in axes)

    def load(self) -> Array:
        """Return all kernels in one array: kernel, row, column."""
        shape = self.selected.selection.shape
        values = np.concatenate([self._scaled(piece) for piece in self.selected.pieces()]).reshape(shape)
        return values.transpose(*self.sides.kernels, *self.sides.rows, *self.sides.columns).reshape(-1, *self.shape)

    def kernels(self) -> Iterator[Kernel]:
        """Yield each kernel, whose axes must be in order."""
        ranges = self.selected.selection.ranges
        places = [self.axes[axis] for axis in self.sides.kernels]
        for indices in product(*(ranges[place] for place in places)):
            chosen = list(ranges)
            for place, index in zip(places, indices, strict=True):
                chosen[place] = range(index, index + 1)
            _, rows, columns = self.sides
            first, last = (rows, columns) if max(rows) < min(columns) else (columns, rows)
            upper, lower = (tuple(self.axes[axis] for axis in side) for side in (first, last))
            yield Kernel(self, tuple(chosen), upper, lower, self._size(first))

    def scaled(self, ranges: tuple[range, ...]) -> Array:
        """Return the scaled values of a part of the array, flat."""
        return np.concatenate([self._scaled(piece) for piece in self.selected.pieces(ranges)])

    def _scaled(self, values: Array) -> Array:
        wide = widened(values)
        numbers = wide.astype(np.complex128 if wide.dtype.kind == "c" else np.float64)
        parts = numbers.view(np.float64)
        if abs(self.exponent) < LARGEST_POWER:
            parts *= 2.0**-self.exponent  # as exact as ldexp, and several times as fast
        else:
            np.ldexp(parts, -self.exponent, out=parts)
        return numbers


class Kernel(NamedTuple):
    """One matrix that is read in slabs: of whole rows in stored order, or of whole columns.

    ranges: of the array. upper, lower: the axes of the rows, and those of the columns. rows: the number of rows.
    """

    matrices: Matrices
    ranges: tuple[range, ...]
    upper: tuple[int, ...]
    lower: tuple[int, ...]
    rows: int

    @property
    def columns(self) -> int:
        return prod(map(len, self.ranges)) // self.rows

    @property
    def bytes(self) -> int:
        """The size of the scaled values."""
        is_complex = self.matrices.selected.dtype.startswith("complex")
        return self.rows * self.columns * (16 if is_complex else 8)

    def row_slabs(self) -> Iterator[Array]:
        """Yield matrices of consecutive rows."""
        for ranges in _slabs(self.ranges, self.upper):
            yield self.matrices.scaled(ranges).reshape(-1, self.columns)

    def long_slabs(self) -> Iterator[Array]:
        """Yield matrices of consecutive rows, or columns as rows if the matrix is wider than high."""
        if self.rows >= self.columns:
            yield from self.row_slabs()
            return
        for ranges in _slabs(self.ranges, self.lower):
            yield self.matrices.scaled(ranges).reshape(self.rows, -1).T


def _slabs(ranges: tuple[range, ...], axes: Sequence[int]) -> Iterator[tuple[range, ...]]:
    """Yield parts of an array, of a bounded number of values if they can be cut at these axes, in C order of them."""
    axis, *others = axes
    whole = ranges[axis]
    step = LOADED // 4 * len(whole) // prod(map(len, ranges))
    for start in range(0, len(whole), max(step, 1)):
        part = (*ranges[:axis], whole[start : start + max(step, 1)], *ranges[axis + 1 :])
        yield from _slabs(part, others) if not step and others else [part]
