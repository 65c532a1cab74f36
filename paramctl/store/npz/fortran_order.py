"""Arrays that do not lie in C order, or only unfold from a stream, read in C order from any place to any other.

They are read a slab at a time: some megabytes of values that follow each other in C order. In Fortran's order a slab
is a strip across every column, and takes a run of each, so that there is neither a read for each value nor one of the
whole file for each block. The last two slabs are kept: threads, and whoever compares two arrays, ask for what lies
close together. An array in C order is one of a single axis here. An array of many slabs is passed over by each of
them, a page of the file for a run: what exceeds the memory for the page cache by far takes its time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple, Protocol

import numpy as np

from paramctl.core.dtypes import Array

SLAB = 24 << 20
"""How many bytes of values are kept at once, twice."""
PIECE = 4 << 20
"""How many bytes are read at once of which only some are wanted."""
NEAR = 16 << 10
"""Columns of at most so many bytes are read through, for that is quicker than a read of a run in each."""

RAW = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64, 16: np.complex128}
"""What moves the bytes of a value, by their number, and never looks at them."""


class Stored(Protocol):
    """The bytes of an array as they lie, from any place on; it is quickest to go on from where one was."""

    def fill(self, place: int, buffer: memoryview) -> None: ...

    def close(self) -> None:
        """Let go of what is only kept to go on; there is no going on, but all can be read again."""


class Strips(NamedTuple):
    """How an array in Fortran's order is cut into slabs: along one axis, ``many`` of its ``size`` places at once.

    before: the sizes of the axes that run faster in the file; a slab is at one place of them. after: of those that run
    slower, of which a slab has all.
    """

    before: tuple[int, ...]
    size: int
    many: int
    after: tuple[int, ...]

    def at(self, place: int) -> tuple[int, int, int]:
        """The slab that has a place in C order: its place in the axes before; where it begins and ends in its own."""
        tail = prod(self.after)
        row, within = divmod(place, self.size * tail)
        first = within // tail // self.many * self.many
        return row, first, min(first + self.many, self.size)


def strips(shape: tuple[int, ...], most: int) -> Strips:
    """Slabs of at most so many values, along the first axis of which that has at least a place."""
    sizes = tuple(size for size in shape if size != 1) or (1,)
    axis = next(axis for axis in range(len(sizes)) if prod(sizes[axis + 1 :]) <= most)
    many = min(sizes[axis], most // prod(sizes[axis + 1 :]))
    return Strips(sizes[:axis], sizes[axis], max(many, 1), sizes[axis + 1 :])


class StoredArray(NamedTuple):
    """An array where it lies: in Fortran's order, with at least one value."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored: Stored


class SlabReader:
    """Reads arrays by slabs, in two buffers, one thread at a time: of those that wait, whoever asks for the first."""

    def __init__(self, arrays: Mapping[str, StoredArray]) -> None:
        self.arrays = arrays
        self.kept: OrderedDict[tuple[str, int, int], tuple[Array, Array]] = OrderedDict()
        self.going: OrderedDict[str, Stored] = OrderedDict()
        self.waiting: list[tuple[str, int, int]] = []
        self.busy = False
        self.changed = threading.Condition()

    def read(self, path: str, start: int, stop: int) -> Array:
        """The values from one place to another in C order, in the machine's byte order."""
        array = self.arrays[path]
        cut = strips(array.shape, SLAB // array.dtype.itemsize)
        tail = prod(cut.after)
        values: Array = np.empty(stop - start, RAW[array.dtype.itemsize])
        done = 0
        with self._turn(path, start):
            while start + done < stop:
                row, first, last = cut.at(start + done)
                begin = (row * cut.size + first) * tail
                slab = self._slab(path, cut, row, first, last)
                until = min(stop, begin + (last - first) * tail)
                for piece in _in_c_order(slab, start + done - begin, until - begin):
                    values[done : done + piece.size].reshape(piece.shape)[...] = piece
                    done += piece.size
        found = values.view(array.dtype)
        return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))

    @contextmanager
    def _turn(self, path: str, start: int) -> Iterator[None]:
        """Alone, and before those who wait for what comes after: else many threads would ask for slabs to and fro."""
        turn = (path, start, threading.get_ident())
        with self.changed:
            self.waiting.append(turn)
            try:
                self.changed.wait_for(lambda: not self.busy and min(self.waiting) == turn)
                self.busy = True
            finally:
                self.waiting.remove(turn)
                self.changed.notify_all()
        try:
            yield
        finally:
            with self.changed:
                self.busy = False
                self.changed.notify_all()

    def _slab(self, path: str, cut: Strips, row: int, first: int, last: int) -> Array:
        key = (path, row, first)
        if key not in self.kept:
            buffer = self.kept.popitem(last=False)[1][0] if len(self.kept) > 1 else np.empty(SLAB, np.uint8)
            raw = RAW[self.arrays[path].dtype.itemsize]
            columns, many = prod(cut.after), last - first
            slab: Array = buffer[: columns * many * np.dtype(raw).itemsize].view(raw).reshape(columns, many)
            _load(self._going_on(path), cut, row, first, slab)
            self.kept[key] = buffer, slab.reshape(*reversed(cut.after), many).T
        self.kept.move_to_end(key)
        return self.kept[key][1]

    def _going_on(self, path: str) -> Stored:
        """The bytes of an array, which with those of another are kept open."""
        self.going[path] = self.arrays[path].stored
        self.going.move_to_end(path)
        if len(self.going) > 2:
            self.going.popitem(last=False)[1].close()
        return self.going[path]


def _load(stored: Stored, cut: Strips, row: int, first: int, slab: Array) -> None:
    """Read a slab, as its values lie in the file: for each column a run of them.

    A column is what the file has for one place of the axes after; in it, those wanted are ``lead`` values apart.
    """
    (columns, many), itemsize = slab.shape, slab.dtype.itemsize
    lead = prod(cut.before)
    column = lead * cut.size
    offset = _fortran_place(row, cut.before) + lead * first
    if lead == 1 and many == cut.size:
        stored.fill(0, _bytes(slab))
    elif column * itemsize <= (NEAR if lead == 1 else 4 * NEAR):
        at_once = min(max(1, PIECE // (column * itemsize)), columns)
        part = np.empty((at_once, column), slab.dtype)
        for begin in range(0, columns, at_once):
            some = part[: columns - begin]
            stored.fill(begin * column * itemsize, _bytes(some))
            slab[begin : begin + at_once] = some[:, offset : offset + lead * (many - 1) + 1 : lead]
    elif lead == 1:
        run, buffer = many * itemsize, _bytes(slab)
        for number in range(columns):
            stored.fill((number * column + offset) * itemsize, buffer[number * run : (number + 1) * run])
    else:
        at_once = max(1, PIECE // (lead * itemsize))
        part = np.empty(lead * (min(at_once, many) - 1) + 1, slab.dtype)
        for number in range(columns):
            for begin in range(0, many, at_once):
                wanted = slab[number, begin : begin + at_once]
                some = part[: lead * (wanted.size - 1) + 1]
                stored.fill((number * column + offset + begin * lead) * itemsize, _bytes(some))
                wanted[:] = some[::lead]


def _bytes(values: Array) -> memoryview:
    return values.reshape(-1).view(np.uint8).data


def _fortran_place(place: int, sizes: tuple[int, ...]) -> int:
    """A place counted in C order, as Fortran counts it."""
    found, scale = 0, prod(sizes)
    for size in reversed(sizes):
        scale //= size
        place, index = divmod(place, size)
        found += index * scale
    return found


def _in_c_order(view: Array, start: int, stop: int) -> Iterator[Array]:
    """Parts of an array that have, one after the other, its values from one place to another in C order."""
    if view.ndim < 2:
        yield view[start:stop]
        return
    row = view[0].size
    first, last = start // row, stop // row
    if start % row:
        yield from _in_c_order(view[first], start % row, min(row, stop - first * row))
        first += 1
    if first < last:
        yield view[first:last]
    if first <= last and stop % row:
        yield from _in_c_order(view[last], 0, stop % row)
