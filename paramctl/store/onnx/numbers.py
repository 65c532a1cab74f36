"""Readers of values that are not in the file as they are in memory: varints, and several values in a byte."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.errors import InputError
from paramctl.store.contents import Reader
from paramctl.store.io.protobuf import MAX_VARINT
from paramctl.store.location import Location

BLOCK = 1 << 18
"""Bytes of varints between two positions whose number of values before them is known."""


class Varints(NamedTuple):
    """A range of varints.

    size: their number. dtype: of their values. If it is a floating-point dtype, they are the bits of its values.
    """

    start: int
    stop: int
    size: int
    dtype: str


class VarintReader:
    """A reader of packed varints. The first read of an array counts those of each block. Safe for threads."""

    def __init__(self, location: Location, ranges: Mapping[str, Varints]) -> None:
        self.location, self.ranges = location, ranges
        self.counts: dict[str, Array] = {}
        self.lock = threading.Lock()

    def read(self, path: str, start: int, stop: int) -> Array:
        """Return values from one index to another. Raises InputError for a damaged array."""
        place = self.ranges[path]
        if start == stop:
            return np.empty(0, numpy_dtype(place.dtype))
        counts = self._counts(path)
        first = int(np.searchsorted(counts, start, "right")) - 1
        last = int(np.searchsorted(counts, stop, "left"))
        begin = place.start + first * BLOCK
        lead = min(MAX_VARINT, begin - place.start)  # the first value of a block may begin before it
        end = min(place.stop, place.start + last * BLOCK)
        data = np.frombuffer(self.location.read(begin - lead, end - begin + lead), np.uint8)
        # the numbers that end in the lead, and those of the first block before the range
        skipped = int(np.count_nonzero(data[:lead] < 0x80)) + start - int(counts[first])
        numbers = self._decode(data, path)[skipped : skipped + stop - start]
        return _typed(numbers, place.dtype)

    def _counts(self, path: str) -> Array:
        """Return the number of values that end before each block of an array, and before the array's end."""
        with self.lock:
            if path not in self.counts:
                place = self.ranges[path]
                counts = [0]
                ends = True
                for offset in range(place.start, place.stop, BLOCK):
                    data = np.frombuffer(self.location.read(offset, min(BLOCK, place.stop - offset)), np.uint8)
                    counts.append(counts[-1] + int(np.count_nonzero(data < 0x80)))
                    ends = bool(data.size) and bool(data[-1] < 0x80)
                if counts[-1] != place.size or not ends:
                    rule = f"{path} must have {place.size:,} values (got {counts[-1]:,})"
                    raise InputError(f"{self.location.name}: {rule}")
                self.counts[path] = np.array(counts)
            return self.counts[path]

    def _decode(self, data: Array, path: str) -> Array:
        """Return the varints that end in these bytes. Raises InputError for one of more than ten bytes."""
        ends = np.flatnonzero(data < 0x80)
        starts = np.concatenate([np.zeros(1, ends.dtype), ends[:-1] + 1])
        sizes = ends - starts + 1
        longest = int(sizes.max(initial=0))
        if longest > MAX_VARINT:
            raise InputError(f"{self.location.name}: {path} has a number of more than 64 bits")
        numbers = np.zeros(ends.size, np.uint64)
        # one step for each byte of the longest number, not for each number: most have one or two bytes
        for byte in range(longest):
            has_byte = sizes > byte
            part = (data[starts[has_byte] + byte] & 0x7F).astype(np.uint64)
            numbers[has_byte] |= part << np.uint64(7 * byte)
        return numbers


def _typed(numbers: Array, dtype: str) -> Array:
    """Return numbers of 64 bits as values of a dtype. Those of a floating-point dtype are its bits."""
    target = numpy_dtype(dtype)
    if target.kind in "iub":
        integers: Array = numbers.astype(target)  # a negative number has the low bits of the smaller integer
        return integers
    bits: Array = numbers.astype(np.dtype(f"u{target.itemsize}"))
    return bits.view(target)


class BitReader:
    """A reader of integers of 2 or 4 bits, the first of a byte in its low bits, from a reader of the bytes.

    bits: of a value, by path, negative for signed integers.
    """

    def __init__(self, inner: Reader, bits: Mapping[str, int]) -> None:
        self.inner, self.bits = inner, bits

    def read(self, path: str, start: int, stop: int) -> Array:
        width = abs(self.bits[path])
        first = start * width // 8
        data = self.inner.read(path, first, -(-stop * width // 8))
        shifts = np.arange(0, 8, width, dtype=np.uint8)
        values = ((data.view(np.uint8)[:, None] >> shifts) & np.uint8((1 << width) - 1)).reshape(-1)
        values = values[start - first * 8 // width :][: stop - start]
        if self.bits[path] > 0:
            return values
        # flips the sign bit and takes it off again: 0b1111 of 4 bits becomes -1
        sign = np.uint8(1 << (width - 1))
        return ((values ^ sign) - sign).view(np.int8)


class PackedReader:
    """A reader of packed values, which are copied without being decoded, from a reader of the bytes."""

    def __init__(self, inner: Reader, bits: int) -> None:
        self.inner, self.bits = inner, bits

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.inner.read(path, start * self.bits // 8, stop * self.bits // 8).view("V1")
