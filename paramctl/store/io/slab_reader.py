"""Arrays without an extent, in another order or compressed, read in C order from any place.

They are read in slabs of some megabytes: one read call for each value, or one pass over the file for each block, would
be slow. The last two slabs are kept: threads ask for neighboring blocks, and a comparison reads two arrays in step. A
compressed array in C order is treated as an array of one axis.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.store.io.fortran_order import ArrayBytes, Slab, Strips, divide, in_c_order, load_slab

SLAB = 24 << 20
"""Bytes of a slab. Two are kept."""

RAW = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64, 16: np.complex128}
"""Dtypes that move values of each size unchanged: arithmetic on floats could alter the bits of a NaN."""


class Slabbed(Protocol):
    """An array with at least one value, which is read in slabs."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def source(self) -> ArrayBytes: ...

    def load(self, strips: Strips, slab: Slab, values: Array) -> Array:
        """Read a slab into flat values of its size. Return a view of them as an array in C order."""


class SlabArray(NamedTuple):
    """An array in Fortran order with at least one value."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    source: ArrayBytes

    def load(self, strips: Strips, slab: Slab, values: Array) -> Array:
        load_slab(self.source, strips, slab, values.reshape(strips.columns, slab.length))
        # in the file, the axes run in reverse: reshaped in reverse and transposed, the buffer is a view in C order
        return values.reshape(*reversed(strips.after), slab.length).T


class SlabReader:
    """A reader of arrays in slabs, with two buffers, for one thread at a time."""

    def __init__(self, arrays: Mapping[str, Slabbed]) -> None:
        self.arrays = arrays
        self.kept: OrderedDict[tuple[str, Slab], tuple[Array, Array]] = OrderedDict()
        """The last slabs, oldest first: the buffer of each, and the slab as a view in C order."""
        self.open: OrderedDict[str, ArrayBytes] = OrderedDict()
        """The sources of the last two arrays, which may be read on."""
        self.waiting: list[tuple[str, int, int]] = []
        self.busy = False
        self.changed = threading.Condition()

    def read(self, path: str, start: int, stop: int) -> Array:
        """Return the values start to stop in C order, in the machine's byte order."""
        array = self.arrays[path]
        # the division depends only on the array, so equal places always give equal slabs, which the cache finds
        strips = divide(array.shape, SLAB // array.dtype.itemsize)
        values: Array = np.empty(stop - start, RAW[array.dtype.itemsize])
        done = 0
        with self._turn(path, start):
            while start + done < stop:
                slab = strips.slab_at(start + done)
                begin = (slab.row * strips.size + slab.first) * strips.columns  # of the slab, in C order
                end = begin + slab.length * strips.columns
                for part in in_c_order(self._slab(path, strips, slab), start + done - begin, min(stop, end) - begin):
                    values[done : done + part.size].reshape(part.shape)[...] = part
                    done += part.size
        result = values.view(array.dtype)
        return result if result.dtype.isnative else result.astype(result.dtype.newbyteorder("="))

    @contextmanager
    def _turn(self, path: str, start: int) -> Iterator[None]:
        """Wait until no thread reads, and no waiting thread wants an earlier block.

        In the order of arrival, threads would evict each other's slabs and load them again and again.
        """
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

    def _slab(self, path: str, strips: Strips, slab: Slab) -> Array:
        """Return a slab as an array in C order, kept or loaded into the older buffer."""
        key = (path, slab)
        if key not in self.kept:
            buffer = self.kept.popitem(last=False)[1][0] if len(self.kept) > 1 else np.empty(SLAB, np.uint8)
            raw = np.dtype(RAW[self.arrays[path].dtype.itemsize])
            size = strips.columns * slab.length * raw.itemsize
            # kept only after it is loaded: a failed read must not leave a slab of stale values
            self.kept[key] = buffer, self._open(path).load(strips, slab, buffer[:size].view(raw))
        self.kept.move_to_end(key)
        return self.kept[key][1]

    def _open(self, path: str) -> Slabbed:
        """Return an array. Only the sources of the last two stay open: a compressed one may hold a temporary file."""
        array = self.arrays[path]
        self.open[path] = array.source
        self.open.move_to_end(path)
        if len(self.open) > 2:
            self.open.popitem(last=False)[1].close()
        return array
