"""Strided views: arrays whose values are anywhere in a run of bytes, read in bounded memory.

A view has an offset, and a stride for each axis, both counted in values. A transposed matrix has strides (1, rows); an
array that is expanded along an axis has the stride 0 there.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.errors import InputError
from paramctl.store.io.fortran_order import PIECE, ArrayBytes, Slab, Strips
from paramctl.store.location import Location

NEAR = 16 << 10
"""Bytes between wanted values that are read too, because another read call would cost more."""


class FileBytes(NamedTuple):
    """A run of bytes of a file, not compressed. path: of the array, for errors."""

    file: Location
    begin: int
    path: str

    def fill(self, offset: int, buffer: memoryview) -> None:
        if self.file.read_into(self.begin + offset, buffer) < len(buffer):
            raise InputError(f"{self.file.name}: truncated within {self.path}")

    def close(self) -> None:
        """Do nothing: the file is the checkpoint's to close."""


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Return whether the values of a view follow each other in C order."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return prod(shape) == 0
        step *= size
    return True


def span_of(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Return the number of values from the first value of a view to its last; 0 for an empty view."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


class StridedArray(NamedTuple):
    """A view with at least one value, which SlabReader reads. offset and strides are counted in values."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    strides: tuple[int, ...]
    offset: int
    source: ArrayBytes

    def load(self, strips: Strips, slab: Slab, values: Array) -> Array:
        """Read a slab into flat values of its size. Return a view of them as an array in C order."""
        # a division into strips leaves out the axes of size 1
        axes = [(size, step) for size, step in zip(self.shape, self.strides, strict=True) if size != 1] or [(1, 0)]
        offset, row = self.offset, slab.row
        for size, stride in reversed(axes[: len(strips.before)]):
            row, index = divmod(row, size)
            offset += index * stride
        axis, *after = axes[len(strips.before) :]
        result = values.reshape(slab.length, *strips.after)
        strides = (axis[1], *(stride for _, stride in after))
        order = sorted(range(result.ndim), key=lambda number: -strides[number])
        gather(self.source, offset + slab.first * axis[1], [strides[n] for n in order], result.transpose(order))
        return result


def gather(source: ArrayBytes, offset: int, strides: Sequence[int], target: Array) -> None:
    """Read the values of a view into an array of its shape, which has an axis or more. The strides descend."""
    rest = span_of(target.shape[1:], strides[1:])
    is_near = _is_near(target.shape, strides, target.itemsize)
    if target.ndim > 1 and (not is_near or rest * target.itemsize > PIECE):
        for index, part in enumerate(target):
            gather(source, offset + index * strides[0], strides[1:], part)
        return
    step = max(1, (PIECE // target.itemsize - rest) // max(strides[0], 1) + 1) if is_near else 1
    for first in range(0, len(target), step):
        part = target[first : first + step]
        _fill(source, offset + first * strides[0], part, part.shape, strides)


def _is_near(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> bool:
    """Return whether all values are so near to each other that the bytes between them can be read too."""
    spans = (span_of(shape[axis + 1 :], strides[axis + 1 :]) for axis in range(len(shape)))
    return all(
        size == 1 or (step - span) * itemsize <= NEAR for size, step, span in zip(shape, strides, spans, strict=True)
    )


def _fill(source: ArrayBytes, offset: int, target: Array, shape: Sequence[int], strides: Sequence[int]) -> None:
    """Read a view, and the bytes between its values, into a buffer, and copy it to the target."""
    buffer = np.empty(span_of(shape, strides), target.dtype)
    source.fill(offset * target.itemsize, buffer.view(np.uint8).data)
    steps = [stride * target.itemsize for stride in strides]
    target[...] = np.lib.stride_tricks.as_strided(buffer, shape, steps, writeable=False)
