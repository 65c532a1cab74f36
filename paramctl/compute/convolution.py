"""Convolution and its adjoints, over any number of spatial axes: the windows' values times the kernel, by BLAS.

The sums of ``y * convolution(x, kernel)``, of ``x * transposed_convolution(y, kernel)`` and of ``kernel *
kernel_gradient(x, y)`` are one number, linear in each of the three arrays. So the derivatives of each operation are
the two others.

Arrays have the batch axis first and the channels last. A kernel has the shape (window..., channels of a group,
filters), and the filters of a group are neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from paramctl.compute.products import multiplication
from paramctl.compute.windows import add_windows, blocks, window_bytes, window_values
from paramctl.core.dtypes import Array
from paramctl.model.layers.spatial import Window

Adjoint: TypeAlias = Callable[[Array], Array]


def convolution(x: Array, kernel: Array, bias: Array | None, window: Window, groups: int = 1) -> Array:
    """Return the sum of x times the kernel over each window, plus the bias, if it is given."""
    # an integer array would make float64 of float32
    x = x if x.dtype.kind == "f" else x.astype(kernel.dtype)
    multiply = multiplication(kernel, groups)
    shape = (len(x), *window.counts(x.shape[1:-1]))
    y = np.empty((*shape, kernel.shape[-1]), np.result_type(x, kernel))
    for block in blocks(shape, window_bytes(x, window)):
        values = window_values(x, window, block, channels_first=multiply.channels_first)
        multiply.forward(values, y[block])
        if bias is not None:
            y[block] += bias
    return y


def transposed_convolution(y: Array, kernel: Array, window: Window, space: Sequence[int], groups: int = 1) -> Array:
    """Return the adjoint of `convolution` with respect to x: y times the kernel, added up where windows overlap.

    space: the spatial sizes of x.
    """
    if max(window.strides) == 1:  # adding up where windows overlap would be slower
        return convolution(y, _turned(kernel, groups), None, _opposite(window, y.shape[1:-1], space), groups)
    multiply = multiplication(kernel, groups)
    x = np.zeros((len(y), *space, kernel.shape[-2] * groups), np.result_type(y, kernel))
    for block in blocks(y.shape[:-1], window_bytes(x, window)):
        add_windows(x, multiply.backward(y[block]), window, block)
    return x


def _turned(kernel: Array, groups: int) -> Array:
    """Return the kernel with which a convolution is the adjoint: its windows reversed, its channels exchanged."""
    *sizes, channels, filters = kernel.shape
    by_group: Array = np.flip(kernel, tuple(range(len(sizes)))).reshape(*sizes, channels, groups, filters // groups)
    turned: Array = np.swapaxes(by_group, -1, -3).reshape(*sizes, filters // groups, groups * channels)
    return turned


def _opposite(window: Window, counts: Sequence[int], space: Sequence[int]) -> Window:
    """Return the windows over the results of others, without strides. counts: the results. space: the sizes of x."""
    axes = zip(window.reaches, window.margins, counts, space, strict=True)
    margins = tuple((reach - 1 - before, n + before - count) for reach, (before, _), count, n in axes)
    return window._replace(margins=margins)


def kernel_gradient(x: Array, y: Array, window: Window, groups: int = 1) -> Array:
    """Return the adjoint of `convolution` with respect to the kernel: x times y, added up over all windows."""
    kernel = np.zeros((*window.sizes, x.shape[-1] // groups, y.shape[-1]), np.result_type(x, y))
    multiply = multiplication(kernel, groups)
    for block in blocks(y.shape[:-1], window_bytes(x, window)):
        values = window_values(x, window, block, channels_first=multiply.channels_first)
        kernel += multiply.gradient(values, y[block])
    return kernel


def _by_input(result: Array, x: Array, kernel: Array, bias: Array | None, window: Window, groups: int = 1) -> Adjoint:
    return lambda vector: transposed_convolution(vector, kernel, window, x.shape[1:-1], groups)


def _by_kernel(result: Array, x: Array, kernel: Array, bias: Array | None, window: Window, groups: int = 1) -> Adjoint:
    return lambda vector: kernel_gradient(x, vector, window, groups)


def _by_bias(result: Array, *arguments: Any) -> Adjoint:
    return lambda vector: vector.sum(axis=tuple(range(vector.ndim - 1)))


def _transposed_by_input(
    result: Array, y: Array, kernel: Array, window: Window, space: Sequence[int], groups: int = 1
) -> Adjoint:
    return lambda vector: convolution(vector, kernel, None, window, groups)


def _transposed_by_kernel(
    result: Array, y: Array, kernel: Array, window: Window, space: Sequence[int], groups: int = 1
) -> Adjoint:
    return lambda vector: kernel_gradient(vector, y, window, groups)


CONVOLUTION_DERIVATIVES = {
    "convolution": (_by_input, _by_kernel, _by_bias),
    "transposed_convolution": (_transposed_by_input, _transposed_by_kernel),
}
"""From the result and the arguments of an operation to the product of a vector with its derivative by each array."""
