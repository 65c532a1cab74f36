"""Windows that move over an array, in blocks of a few MB: their values as strided views, and the adjoint of that.

Arrays have the batch axis first and the channels last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

from paramctl.core.dtypes import Array
from paramctl.model.layers.spatial import Window

BLOCK_BYTES = 1 << 22
"""The values of the windows of a block: small enough for the cache, large enough for BLAS."""

Block: TypeAlias = tuple[slice, ...]
"""Some windows: a range of the batch axis, and of each spatial axis of the output."""


def blocks(shape: Sequence[int], window_bytes: int) -> Iterator[Block]:
    """Yield blocks that cover all windows.

    shape: the examples, and the windows along each axis. window_bytes: of the values of one window.
    """
    room = max(1, BLOCK_BYTES // max(1, window_bytes))
    axes = []
    # whole rows first, then whole examples, so that a block is one piece of the output where possible
    for count in reversed(shape):
        parts = -(-count // room)
        size = -(-count // parts) if parts else 1  # parts of equal size
        axes.append([slice(start, min(start + size, count)) for start in range(0, count, size)])
        room = max(1, room // max(1, size))
    yield from product(*reversed(axes))


def covered_values(x: Array, window: Window, block: Block, padding: float = 0.0) -> Array:
    """Return the part of x that a block's windows cover. padding: the value of positions beyond the ends of x."""
    inside, placed, extents = _covered(window, block, x.shape[1:-1])
    part = x[(block[0], *inside)]
    if part.shape[1:-1] == extents:
        return part
    padded = np.full((len(part), *extents, x.shape[-1]), padding, x.dtype)
    padded[(slice(None), *placed)] = part
    return padded


def window_values(x: Array, window: Window, block: Block, padding: float = 0.0, channels_first: bool = False) -> Array:
    """Return the values of a block's windows as a view: (examples, windows..., positions in a window..., channels).

    padding: as in `covered_values`. channels_first: make the positions neighbours in memory, not the channels.
    """
    part = covered_values(x, window, block, padding)
    if channels_first and x.shape[-1] > 1:
        part = np.moveaxis(np.ascontiguousarray(np.moveaxis(part, -1, 0)), 0, -1)
    examples, *axes, channels = part.strides
    counts = window_counts(block)
    steps = [size * stride for size, stride in zip(axes, window.strides, strict=True)]
    taps = [size * rate for size, rate in zip(axes, window.rates, strict=True)]
    shape = (len(part), *counts, *window.sizes, x.shape[-1])
    return as_strided(part, shape, (examples, *steps, *taps, channels), writeable=False)


def add_windows(x: Array, values: Array, window: Window, block: Block) -> None:
    """Add values to x at the positions of a block's windows: the adjoint of `window_values`.

    values: (examples, windows..., positions in a window..., channels).
    """
    inside, placed, extents = _covered(window, block, x.shape[1:-1])
    rank = len(extents)
    part = np.zeros((len(values), *extents, x.shape[-1]), x.dtype)
    counts = values.shape[1 : 1 + rank]
    for tap in product(*map(range, window.sizes)):
        axes = zip(tap, window.rates, window.strides, counts, strict=True)
        at = (slice(step * rate, step * rate + (n - 1) * stride + 1, stride) for step, rate, stride, n in axes)
        part[(slice(None), *at)] += values[(slice(None),) * (1 + rank) + tap]
    x[(block[0], *inside)] += part[(slice(None), *placed)]


def window_counts(block: Block) -> list[int]:
    """Return the number of a block's windows along each axis."""
    return [along.stop - along.start for along in block[1:]]


def window_bytes(x: Array, window: Window) -> int:
    """Return the number of bytes of one window of x."""
    return prod(window.sizes) * int(x.shape[-1]) * int(x.itemsize)


def _covered(window: Window, block: Block, space: Sequence[int]) -> tuple[list[slice], list[slice], tuple[int, ...]]:
    """Return the positions of x that a block's windows cover, their places among all positions, and the number of all.

    space: the spatial sizes of x. Other positions are padding.
    """
    inside, placed, extents = [], [], []
    for along, n, reach, stride, (before, _) in zip(
        block[1:], space, window.reaches, window.strides, window.margins, strict=True
    ):
        start, stop = along.start * stride - before, (along.stop - 1) * stride - before + reach
        low = min(max(start, 0), n)
        high = max(low, min(stop, n))
        inside.append(slice(low, high))
        placed.append(slice(low - start, high - start) if high > low else slice(0, 0))
        extents.append(stop - start)
    return inside, placed, tuple(extents)
