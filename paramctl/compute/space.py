"""The array namespace of NumPy, with the operations that layers need beyond its functions.

A layer calls ``xp.exp(x)`` or ``xp.relu(x)`` without knowing whose arrays they are. A namespace for gradients has the
same names: it replaces NumPy's functions by its library's, and registers the derivatives of the operations here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np

from paramctl.compute import recurrence, special
from paramctl.compute.convolution import CONVOLUTION_DERIVATIVES, convolution, transposed_convolution
from paramctl.compute.pooling import POOLING_DERIVATIVES, window_maxima, window_sums
from paramctl.core.dtypes import Array


class NumPySpace:
    """NumPy's functions, and further operations on its arrays."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    convolution = staticmethod(convolution)
    transposed_convolution = staticmethod(transposed_convolution)
    window_sums = staticmethod(window_sums)
    window_maxima = staticmethod(window_maxima)

    def relu(self, x: Array) -> Array:
        """Return max(x, 0). Its derivative at 0 is 0."""
        return np.maximum(x, 0)

    def linear(self, x: Array, kernel: Array, bias: Array | None = None) -> Array:
        """Return x @ kernel + bias over the last axis of x, as one product of matrices."""
        *rows, features = x.shape
        matrix = np.reshape(x, (prod(rows), features))
        # an integer array would make float64 of float32
        output = (matrix if matrix.dtype.kind == "f" else matrix.astype(kernel.dtype)) @ kernel
        if bias is not None:
            output += bias
        return output.reshape((*rows, kernel.shape[1]))

    def lstm(self, inputs: Array, kernel: Array, mask: Array | None = None) -> Array:
        """Return the outputs of a whole sequence; see recurrence.lstm."""
        return recurrence.lstm(inputs, kernel, mask)

    def negative_part(self, x: Array) -> Array:
        """Return min(x, 0). Its derivative at 0 is 1."""
        return np.minimum(x, 0)

    def sigmoid(self, x: Array) -> Array:
        """Return s = 1 / (1 + exp(-x)). Its derivative is s * (1 - s)."""
        return special.sigmoid(x)

    def silu(self, x: Array) -> Array:
        """Return x * sigmoid(x)."""
        return special.silu(x)

    def gelu(self, x: Array) -> Array:
        """Return x * Phi(x), where Phi is the standard normal CDF."""
        return special.gelu(x)

    def gelu_tanh(self, x: Array) -> Array:
        """Return x * Phi(x) by an approximation of Phi, the standard normal CDF; see special.gelu_tanh."""
        return special.gelu_tanh(x)

    def softplus(self, x: Array) -> Array:
        """Return log(1 + exp(x)). Its derivative is sigmoid(x)."""
        y = np.exp(-np.abs(x))
        y = np.log1p(y, out=y)
        y += np.maximum(x, 0)
        return y

    def erf(self, x: Array) -> Array:
        """Return the error function. Its derivative is 2 / sqrt(pi) * exp(-x^2)."""
        return special.erf(x)

    def sparsemax(self, x: Array, axis: int = -1) -> Array:
        """Return the projection of the vectors along an axis onto the probability simplex."""
        return special.sparsemax(x, axis)


NUMPY = NumPySpace()


def _linear_by_kernel(result: Array, x: Array, kernel: Array, bias: Array | None = None) -> Callable[[Array], Array]:
    rows, (features, units) = prod(x.shape[:-1]), kernel.shape
    return lambda vector: x.reshape((rows, features)).T @ vector.reshape((rows, units))


def _silu_slope(silu: Array, sigmoid: Array) -> Array:
    slope: Array = sigmoid + silu * (1 - sigmoid)
    return slope


Product = Callable[..., Callable[[Array], Array]]
"""From the result of an operation and its arguments to the product of a vector with the derivative by one of them."""

DERIVATIVES: dict[str, tuple[Product, ...]] = {
    "linear": (
        lambda result, x, kernel, bias=None: lambda vector: vector @ kernel.T,
        _linear_by_kernel,
        lambda result, x, kernel, bias: lambda vector: vector.reshape((-1, vector.shape[-1])).sum(axis=0),
    ),
    "lstm": (
        lambda result, inputs, kernel, mask=None: partial(recurrence.lstm_by_inputs, result, inputs, kernel, mask),
        lambda result, inputs, kernel, mask=None: partial(recurrence.lstm_by_kernel, result, inputs, kernel, mask),
    ),
    "relu": (lambda result, x: lambda vector: vector * (x > 0),),
    **CONVOLUTION_DERIVATIVES,
    **POOLING_DERIVATIVES,
    "sigmoid": (lambda result, x: lambda vector: vector * (result * (1 - result)),),
    "negative_part": (lambda result, x: lambda vector: vector * (x <= 0),),
    "silu": (lambda result, x: lambda vector: vector * _silu_slope(result, NUMPY.sigmoid(x)),),
    "gelu": (lambda result, x: lambda vector: vector * special.gelu_slope(x),),
    "gelu_tanh": (lambda result, x: lambda vector: vector * special.gelu_tanh_slope(x),),
    "softplus": (lambda result, x: lambda vector: vector * NUMPY.sigmoid(x),),
    "erf": (lambda result, x: lambda vector: vector * (1.1283791670955126 * np.exp(-x * x)),),  # 2 / sqrt(pi)
    "sparsemax": (lambda result, x, axis: partial(special.sparsemax_by_x, result, axis=axis),),
}
"""The products for each argument that is differentiated, by the name of an operation of NumPySpace."""
