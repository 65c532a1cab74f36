"""Sums and maxima of windows, and their adjoints, over any number of spatial axes.

Arrays have the batch axis first and the channels last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np

from paramctl.compute.windows import (
    Block,
    add_windows,
    blocks,
    covered_values,
    window_bytes,
    window_counts,
    window_values,
)
from paramctl.core.dtypes import Array
from paramctl.model.layers.spatial import Window


def window_sums(x: Array, window: Window) -> Array:
    """Return the sum of x over each window."""
    return _reduced(x, window, np.add, 0)


def spread_sums(y: Array, window: Window, space: Sequence[int]) -> Array:
    """Return the adjoint of `window_sums`: each y at all positions of its window, added up.

    space: the spatial sizes of x.
    """
    x = np.zeros((len(y), *space, y.shape[-1]), y.dtype)
    rank = len(space)
    for block in blocks(y.shape[:-1], window_bytes(x, window)):
        part = np.expand_dims(y[block], [*range(1 + rank, 1 + 2 * rank)])
        values = np.broadcast_to(part, (*part.shape[: 1 + rank], *window.sizes, y.shape[-1]))
        add_windows(x, values, window, block)
    return x


def window_maxima(x: Array, window: Window) -> Array:
    """Return the maximum of x over each window. Its derivative is that of `at_maxima(x, x, window)`."""
    return _reduced(x, window, np.maximum, _least(x))


def at_maxima(x: Array, values: Array, window: Window) -> Array:
    """Return the values at the first position of each window that has the window's maximum of x."""
    y = np.zeros((len(x), *window.counts(x.shape[1:-1]), x.shape[-1]), values.dtype)
    for block, chosen in _first_maxima(x, window):
        for tap, here in chosen:
            y[block] = np.where(here, _tap(window_values(values, window, block), tap), y[block])
    return y


def from_maxima(x: Array, y: Array, window: Window) -> Array:
    """Return the adjoint of `at_maxima` with respect to the values: each y at one position of its window, added up."""
    values = np.zeros(x.shape, y.dtype)
    for block, chosen in _first_maxima(x, window):
        spread = np.zeros((*y[block].shape[:-1], *window.sizes, y.shape[-1]), y.dtype)
        for tap, here in chosen:
            _tap(spread, tap)[...] = np.where(here, y[block], 0)
        add_windows(values, spread, window, block)
    return values


POOLING_DERIVATIVES = {
    "window_sums": (lambda result, x, window: lambda vector: spread_sums(vector, window, x.shape[1:-1]),),
    "window_maxima": (lambda result, x, window: lambda vector: from_maxima(x, vector, window),),
}
"""From the result and the arguments of an operation to the product of a vector with its derivative by the array."""


def _reduced(x: Array, window: Window, combine: Callable[..., Array], padding: float) -> Array:
    """Return the values of each window combined, axis by axis, because a window is a box."""
    shape = (len(x), *window.counts(x.shape[1:-1]))
    y = np.empty((*shape, x.shape[-1]), x.dtype)
    for block in blocks(shape, window_bytes(x, window)):
        part = covered_values(x, window, block, padding)
        axes = zip(window_counts(block), window.sizes, window.rates, window.strides, strict=True)
        for axis, (count, size, rate, stride) in enumerate(axes, 1):
            first, *others = (_every(part, axis, tap * rate, count, stride) for tap in range(size))
            # one position is a view, and into the last axis' result the others are combined in place
            part = first.copy() if not others else combine(first, others[0])
            for other in others[1:]:
                combine(part, other, out=part)
        y[block] = part
    return y


def _every(x: Array, axis: int, start: int, count: int, stride: int) -> Array:
    """Return this many positions along an axis, from start on, a stride apart."""
    return x[(slice(None),) * axis + (slice(start, start + (count - 1) * stride + 1, stride),)]


def _first_maxima(x: Array, window: Window) -> Iterator[tuple[Block, Iterator[tuple[tuple[int, ...], Array]]]]:
    """Yield for each block each position in a window, and at which windows it is the first that has the maximum."""
    shape = (len(x), *window.counts(x.shape[1:-1]))
    maxima = window_maxima(x, window)
    for block in blocks(shape, window_bytes(x, window)):
        yield block, _firsts(window_values(x, window, block, _least(x)), maxima[block], window)


def _firsts(values: Array, maxima: Array, window: Window) -> Iterator[tuple[tuple[int, ...], Array]]:
    pending = np.ones(maxima.shape, bool)
    for tap in product(*map(range, window.sizes)):
        here = pending & (_tap(values, tap) == maxima)
        pending &= ~here
        yield tap, here


def _tap(values: Array, tap: tuple[int, ...]) -> Array:
    """Return the values at one position of the windows."""
    return values[(slice(None),) * (1 + len(tap)) + tap]


def _least(x: Array) -> float:
    """Return the value below all others of the dtype: that of padding, which is never a maximum."""
    return np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf
