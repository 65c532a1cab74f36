"""The parts of an array to read for a selection of its values: few reads, of little more than the selection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from paramctl.core.dtypes import Array

BLOCK_SIZE = 1 << 18
"""The number of values that are read, written, and compared at once."""
MIN_RUN = 256
"""The number of values of a row that are worth a separate read from a disk."""
MAX_GAP = 1 << 14
"""The number of values that are not selected, and yet read, to save another request to a server."""


class Part(NamedTuple):
    """A part of an array, contiguous in C order, and a selection of its values.

    offset: of the part's first value in the array. shape: of the part. ranges: of the selection in it, none empty.
    """

    offset: int
    shape: Sequence[int]
    ranges: Sequence[range]

    @property
    def span(self) -> tuple[int, int]:
        """The first selected value in the part, and the one after the last."""
        low, high = _span(self.shape, self.ranges)
        return low, high

    def take(self, values: Array) -> Array:
        """Return the selected values, flat, of those in the span."""
        start, stop = self.span
        size = prod(self.shape)
        if stop - start < size:
            import numpy as np  # for values alone: a header is read without it

            whole: Array = np.empty(size, values.dtype)
            whole[start:stop] = values
            values = whole
        # a range that counts down to -1 ends before the first value, which a slice writes as None
        slices = (slice(r.start, r.stop if r.stop >= 0 else None, r.step) for r in self.ranges)
        return values.reshape(self.shape)[tuple(slices)].reshape(-1)


def read_parts(shape: Sequence[int], ranges: Sequence[range], near: int, offset: int = 0) -> Iterator[Part]:
    """Yield the parts of an array that have the selected values, in C order, each of about a block at most.

    Args:
        shape: of the array, or of the part at a flat offset.
        ranges: of the selection.
        near: read the values between selected ones if they are fewer. 0 for a disk, where the size of rows counts.
    """
    size = prod(shape)
    if not size or not all(map(len, ranges)):
        return
    # a small part, unless it is a vector of which less than a quarter is selected: read all of it, then pick
    is_small = size <= BLOCK_SIZE and (len(shape) != 1 or 4 * len(ranges[0]) >= size)
    if is_small and (near <= 0 or len(shape) < 2 or size // shape[0] <= near):
        yield Part(offset, shape, ranges)
        return
    first, row = ranges[0], size // shape[0]
    if row > BLOCK_SIZE // 2 or _is_narrow(shape[1:], ranges[1:], near):
        for index in first:
            yield from read_parts(shape[1:], ranges[1:], near, offset + index * row)
        return
    count = max(1, BLOCK_SIZE // row // abs(first.step))
    for start in range(0, len(first), count):
        group = first[start : start + count]
        low, high = min(group[0], group[-1]), max(group[0], group[-1]) + 1
        shifted = range(group.start - low, group.stop - low, group.step)
        yield Part(offset + low * row, (high - low, *shape[1:]), (shifted, *ranges[1:]))


def _is_narrow(row: Sequence[int], ranges: Sequence[range], near: int) -> bool:
    """Return whether a selection of each row is better read alone than with the rest of the row."""
    size = prod(row)
    if near <= 0:
        return MIN_RUN <= prod(map(len, ranges)) < size // 32
    low, high = _span(row, ranges)
    return size - (high - low) > near


def _span(shape: Sequence[int], ranges: Sequence[range]) -> tuple[int, int]:
    """Return the flat indexes of the first selected value, and of the one after the last."""
    low = high = 0
    for length, selected in zip(shape, ranges, strict=True):
        low = low * length + min(selected[0], selected[-1])
        high = high * length + max(selected[0], selected[-1])
    return low, high + 1
