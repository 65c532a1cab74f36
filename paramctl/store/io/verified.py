"""A reader that checks arrays against their checksums as their values are read, in any order, by any threads."""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from paramctl.core.dtypes import Array
from paramctl.errors import InputError
from paramctl.store.io.crc32c import checksum, combine
from paramctl.store.io.extents import ExtentReader


class Checked(NamedTuple):
    """An array that has a checksum. reader: of its values. size: in bytes. name: for errors, with the file."""

    reader: ExtentReader
    size: int
    checksum: int
    name: str


class VerifiedReader:
    """A reader of arrays with checksums, each at an extent. Safe to share between threads.

    Each byte is checksummed the first time that it is read. The read that completes an array raises InputError if the
    checksum differs, and so does every later read. Values of which the rest is not read are not checked.
    """

    def __init__(self, arrays: Mapping[str, Checked]) -> None:
        self.arrays = arrays
        self.coverage = {path: Coverage(array.size) for path, array in arrays.items()}

    def read(self, path: str, start: int, stop: int) -> Array:
        array, coverage = self.arrays[path], self.coverage[path]
        values = array.reader.read(path, start, stop)
        if coverage.whole is None:
            dtype = array.reader.extents[path].numpy_dtype
            # the checksum is that of the bytes in the file, whose order may not be the machine's
            data = values.astype(dtype, copy=False).view("u1").data
            first = start * dtype.itemsize
            # a byte counts once, however often it is read, or the pieces would not add up to the whole
            for begin, end in coverage.claim(first, first + len(data)):
                coverage.settle(begin, end, checksum(data[begin - first : end - first]))
        if coverage.whole not in (None, array.checksum):
            raise InputError(f"{array.name} does not match its CRC-32C checksum")
        return values


class Coverage:
    """The parts of an array that were read, with the checksum of each run of them. whole: the checksum of all."""

    def __init__(self, size: int) -> None:
        self.size, self.whole = size, None if size else checksum(b"")
        self.runs: list[tuple[int, int, int | None]] = []
        """(start, stop, checksum), in order. The checksum is None while a thread computes it."""
        self.lock = threading.Lock()

    def claim(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of a range that nothing has covered. The caller must settle each."""
        with self.lock:
            gaps = list(self._gaps(start, stop)) if self.whole is None else []
            for gap in gaps:
                # an array may be read by several threads, and each byte by one of them
                insort(self.runs, (*gap, None), key=_start)
        return gaps

    def settle(self, start: int, stop: int, value: int) -> None:
        """Record the checksum of a claimed part."""
        with self.lock:
            place = bisect_right(self.runs, start, key=_start) - 1
            self.runs[place] = (start, stop, value)
            # with the next run first, because a join moves the runs behind it
            self._join(place)
            self._join(place - 1)
            first, last, joined = self.runs[0]
            if (first, last) == (0, self.size) and joined is not None:
                self.whole = joined

    def _gaps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        place = max(0, bisect_right(self.runs, start, key=_start) - 1)
        while start < stop and place < len(self.runs):
            begin, end, _ = self.runs[place]
            if start < begin:
                yield start, min(begin, stop)
            start = max(start, end)
            place += 1
        if start < stop:
            yield start, stop

    def _join(self, place: int) -> None:
        """Join a run and the next, if they meet."""
        if not 0 <= place < len(self.runs) - 1:
            return
        (start, middle, first), (begin, stop, second) = self.runs[place : place + 2]
        if middle == begin and first is not None and second is not None:
            self.runs[place : place + 2] = [(start, stop, combine(first, second, stop - begin))]


def _start(run: tuple[int, int, int | None]) -> int:
    return run[0]
