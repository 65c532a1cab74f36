"""Slabs of arrays in Fortran order: where their values are in the file, and how to read them with few calls.

A slab is a run of values that follow each other in C order. In Fortran order the first axis runs fastest, so a slab of
an array of shape (4, 3) takes a piece of each column. The slab of rows 1 and 2:

    in the array     in the file
    . . .            . 1 4 .  . 2 5 .  . 3 6 .
    1 2 3            column   column   column
    4 5 6
    . . .

In general a slab fixes an index on each of the first axes, takes a range of the next axis, and all of the others. The
indices of the others number its columns: they run slowest in the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple, Protocol

import numpy as np

from paramctl.core.dtypes import Array

PIECE = 4 << 20
"""Bytes to read at once where only some of them are wanted."""
NEAR = 16 << 10
"""Columns of at most this many bytes are read whole, which is faster than one read call for each."""


class ArrayBytes(Protocol):
    """The bytes of one array, in file order. Reading on from the last offset is fastest."""

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Read the bytes from an offset into a buffer."""

    def close(self) -> None:
        """Release what only makes reading on faster. Later reads still work."""


class Strips(NamedTuple):
    """A division of an array into slabs: along one axis, ``step`` of its ``size`` places in each.

    before: the sizes of the axes before it. A slab is at one place of them.
    after: the sizes of the axes after it. A slab has all of their places.
    """

    before: tuple[int, ...]
    size: int
    step: int
    after: tuple[int, ...]

    @property
    def columns(self) -> int:
        return prod(self.after)

    def slab_at(self, place: int) -> Slab:
        """Return the slab that contains a value, by the value's place in C order."""
        row, within = divmod(place, self.size * self.columns)
        first = within // self.columns // self.step * self.step
        return Slab(row, first, min(first + self.step, self.size))


class Slab(NamedTuple):
    """One slab: the place in the axes before, counted in C order, and the range of the axis itself."""

    row: int
    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first


def divide(shape: tuple[int, ...], most: int) -> Strips:
    """Return the division into slabs of at most ``most`` values.

    The axis is the first whose places are small enough, so that a slab spans as few axes before it as possible.
    """
    # (1000, 1, 3) and at most 30 values: slabs of 10 rows. Axes of size 1 do not change the order, so they are dropped.
    sizes = tuple(size for size in shape if size != 1) or (1,)
    axis = next(axis for axis in range(len(sizes)) if prod(sizes[axis + 1 :]) <= most)
    step = min(sizes[axis], most // prod(sizes[axis + 1 :]))
    return Strips(sizes[:axis], sizes[axis], max(step, 1), sizes[axis + 1 :])


class _Run(NamedTuple):
    """The values of a slab in every column: ``length`` of them, ``stride`` apart, from ``start`` on. All in values."""

    column: int
    start: int
    stride: int
    length: int

    @property
    def span(self) -> int:
        """The values from the first wanted one to the last."""
        return self.stride * (self.length - 1) + 1


def load_slab(source: ArrayBytes, strips: Strips, slab: Slab, values: Array) -> None:
    """Read a slab in file order, into an array of shape (columns, slab.length)."""
    stride = prod(strips.before)
    start = _fortran_place(slab.row, strips.before) + stride * slab.first
    run = _Run(stride * strips.size, start, stride, slab.length)
    column_bytes = run.column * values.itemsize
    if run.length == run.column:
        source.fill(0, _bytes(values))  # the slab is the whole array
    # with a stride, the bytes between the wanted values are read in any case, so whole columns pay off for longer
    elif column_bytes <= (NEAR if stride == 1 else 4 * NEAR):
        _load_whole_columns(source, run, values)
    elif stride == 1:
        _load_adjacent(source, run, values)
    else:
        _load_strided(source, run, values)


def _load_whole_columns(source: ArrayBytes, run: _Run, values: Array) -> None:
    """Read columns whole, several at once, and keep the wanted values: fewer calls for small columns."""
    columns, column_bytes = len(values), run.column * values.itemsize
    at_once = min(max(1, PIECE // column_bytes), columns)
    buffer = np.empty((at_once, run.column), values.dtype)
    for begin in range(0, columns, at_once):
        whole = buffer[: columns - begin]
        source.fill(begin * column_bytes, _bytes(whole))
        values[begin : begin + at_once] = whole[:, run.start : run.start + run.span : run.stride]


def _load_adjacent(source: ArrayBytes, run: _Run, values: Array) -> None:
    """Read the wanted values of each column with one call, directly into place: they are adjacent."""
    for number, wanted in enumerate(values):
        source.fill((number * run.column + run.start) * values.itemsize, _bytes(wanted))


def _load_strided(source: ArrayBytes, run: _Run, values: Array) -> None:
    """Read each column from the first wanted value to the last, in pieces, and keep every stride-th value."""
    at_once = max(1, PIECE // (run.stride * values.itemsize))
    buffer = np.empty(run.stride * (min(at_once, run.length) - 1) + 1, values.dtype)
    for number, column in enumerate(values):
        for begin in range(0, run.length, at_once):
            wanted = column[begin : begin + at_once]
            piece = buffer[: run.stride * (wanted.size - 1) + 1]
            source.fill((number * run.column + run.start + begin * run.stride) * values.itemsize, _bytes(piece))
            wanted[:] = piece[:: run.stride]


def in_c_order(view: Array, start: int, stop: int) -> Iterator[Array]:
    """Yield parts of an array that hold, one after the other, its values start to stop in C order.

    The parts are views, so that a slab in file order is copied only once.
    """
    if view.ndim < 2:
        yield view[start:stop]
        return
    # at most three parts on each level: the end of a row, whole rows, and the beginning of a row
    row = view[0].size
    first, last = start // row, stop // row
    if start % row:
        yield from in_c_order(view[first], start % row, min(row, stop - first * row))
        first += 1
    if first < last:
        yield view[first:last]
    if first <= last and stop % row:
        yield from in_c_order(view[last], 0, stop % row)


def _fortran_place(place: int, sizes: tuple[int, ...]) -> int:
    """Convert a place counted in C order to Fortran order: of shape (2, 3), place 1 is (0, 1), so it becomes 2."""
    result, scale = 0, prod(sizes)
    for size in reversed(sizes):
        scale //= size
        place, index = divmod(place, size)
        result += index * scale
    return result


def _bytes(values: Array) -> memoryview:
    return values.reshape(-1).view(np.uint8).data
