"""Products of windows with a kernel, and their adjoints: by matrices, or channel by channel.

The values of windows have the shape (examples, windows..., positions in a window..., channels), as in windows.py. The
windows' results, y, have (examples, windows..., filters).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

from paramctl.core.dtypes import Array

MOST_MULTIPLIERS = 8
"""The number of kernels for each channel up to which a depthwise convolution is a sum over positions."""


FEW_CHANNELS = 8
"""The number of channels of a group up to which copying along the channels is slow."""


class Product(Protocol):
    """The product with one kernel."""

    @property
    def channels_first(self) -> bool:
        """True if it is faster with values whose positions are neighbours in memory."""

    def forward(self, values: Array, y: Array) -> None:
        """Assign to y the sum of values times the kernel over each window."""

    def backward(self, y: Array) -> Array:
        """Return y times the kernel, as values of windows: the adjoint of `forward` with respect to the values."""

    def gradient(self, values: Array, y: Array) -> Array:
        """Return values times y, as a kernel: the adjoint of `forward` with respect to the kernel."""


def multiplication(kernel: Array, groups: int) -> Product:
    """Return the product with a kernel: (window..., channels of a group, filters)."""
    *_, channels, filters = kernel.shape
    if channels == 1 < groups and filters <= groups * MOST_MULTIPLIERS:
        return _ByChannel(kernel.reshape(*kernel.shape[:-2], groups, -1))
    return _ByMatrix(kernel, groups)


@dataclass(frozen=True, slots=True)
class _ByMatrix:
    """A product of two matrices for each group: (groups, windows, values) and (groups, values, filters)."""

    kernel: Array
    groups: int

    @property
    def channels_first(self) -> bool:
        channels = self.kernel.shape[-2]
        return bool(channels == 1 if self.groups == 1 else channels <= FEW_CHANNELS)

    def forward(self, values: Array, y: Array) -> None:
        if self.groups == 1 and y.flags.c_contiguous:
            filters = y.shape[-1]
            np.matmul(self._of_one_group(values), self.kernel.reshape(-1, filters), out=y.reshape(-1, filters))
        else:
            products = self._windows(values) @ self._matrices(self.kernel)
            y[...] = np.moveaxis(products, 0, 1).reshape(y.shape)

    def backward(self, y: Array) -> Array:
        products = self._matrices(y) @ self._matrices(self.kernel).swapaxes(1, 2)
        *sizes, channels, _ = self.kernel.shape
        values = products.reshape(self.groups, *y.shape[:-1], *sizes, channels)
        return np.moveaxis(values, 0, -2).reshape(*y.shape[:-1], *sizes, -1)

    def gradient(self, values: Array, y: Array) -> Array:
        products = self._windows(values).swapaxes(1, 2) @ self._matrices(y)
        return np.moveaxis(products, 0, 1).reshape(self.kernel.shape)

    def _matrices(self, array: Array) -> Array:
        """Return a matrix for each group of filters: all other axes are the rows."""
        return np.moveaxis(array.reshape(-1, self.groups, array.shape[-1] // self.groups), 1, 0)

    def _of_one_group(self, values: Array) -> Array:
        """Return the matrix of windows if all channels are one group."""
        first = values.ndim // 2  # of the axes of the positions
        count = prod(values.shape[:first])
        if self.channels_first:
            axes = (*range(first, values.ndim), *range(first))
            return values.transpose(axes).reshape(-1, count).T
        return values.reshape(count, -1)

    def _windows(self, values: Array) -> Array:
        """Return a matrix of windows for each group of channels."""
        if self.groups == 1:
            return self._of_one_group(values)[None]
        rank = values.ndim // 2 - 1
        count, size = prod(values.shape[: 1 + rank]), prod(values.shape[1 + rank :]) // self.groups
        grouped = values.reshape(*values.shape[:-1], self.groups, -1)
        if self.channels_first:
            # Copying along the rows of the image is several times faster than along a few channels.
            moved = np.moveaxis(grouped, [-2, *range(1 + rank)], [0, *range(-1 - rank, 0)])
            return moved.reshape(self.groups, size, count).swapaxes(1, 2)
        return np.moveaxis(grouped, -2, 0).reshape(self.groups, count, size)


@dataclass(frozen=True, slots=True)
class _ByChannel:
    """A sum over the positions of a window, for each channel by itself.

    kernel: (window..., channels, multiplier).
    """

    kernel: Array

    @property
    def channels_first(self) -> bool:
        return False

    def forward(self, values: Array, y: Array) -> None:
        rank = self.kernel.ndim - 2
        *outer, width, channels = *values.shape[: 1 + rank], values.shape[-1]
        taps = [*range(1 + rank, 1 + 2 * rank)]
        axes = [[*range(1 + rank), *taps, 1 + 2 * rank], [*taps, 1 + 2 * rank], [*range(1 + rank), 1 + 2 * rank]]
        kernels = np.moveaxis(self.kernel, -1, 0)
        *strides, step = values.strides
        if strides[rank] == channels * step:
            # The windows of a row and their channels are one run of values, which is several times faster.
            del strides[rank]
            shape = (*outer, *self.kernel.shape[:rank], width * channels)
            values = as_strided(values, shape, (*strides, step), writeable=False)
            row = (*kernels.shape[:-1], width, channels)
            kernels = np.broadcast_to(kernels[..., None, :], row).reshape(*kernels.shape[:-1], -1)
            axes = [[axis for axis in part if axis != rank] for part in axes]
        multiplier = len(kernels)
        for number, kernel in enumerate(kernels):
            total = np.einsum(values, axes[0], kernel, axes[1], axes[2])
            y[..., number::multiplier] = total.reshape(*outer, width, channels)

    def backward(self, y: Array) -> Array:
        outer, taps, pair = self._axes(y)
        values = np.einsum(self._by_channel(y), [*outer, *pair], self.kernel, [*taps, *pair], [*outer, *taps, pair[0]])
        return np.asarray(values)

    def gradient(self, values: Array, y: Array) -> Array:
        outer, taps, pair = self._axes(y)
        kernel = np.einsum(values, [*outer, *taps, pair[0]], self._by_channel(y), [*outer, *pair], [*taps, *pair])
        return np.reshape(kernel, (*self.kernel.shape[:-2], 1, -1))

    def _by_channel(self, y: Array) -> Array:
        return y.reshape(*y.shape[:-1], *self.kernel.shape[-2:])

    def _axes(self, y: Array) -> tuple[list[int], list[int], list[int]]:
        """Return einsum's numbers of the axes: examples and windows; positions; channels and multiplier."""
        rank = y.ndim - 2
        numbers = [*range(3 + 2 * rank)]
        return numbers[: 1 + rank], numbers[1 + rank : 1 + 2 * rank], numbers[1 + 2 * rank :]
