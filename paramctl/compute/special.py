"""Functions that NumPy lacks: the error function as rational functions, activations by blocks, and sparsemax."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from paramctl.core.dtypes import Array

BLOCK = 16384
"""The values that are computed at once, so that each step of a polynomial finds them in the cache."""

Coefficients = tuple[Sequence[float], Sequence[float]]
"""Of a numerator and of a denominator, from the highest power down."""

SINGLE = (
    *(1.4184738577121408e-07, -5.668384975684571e-06, 8.763673010265233e-05, -6.197829435806556e-04),
    *(-1.9183295715287916e-04, 1.0276905682464237e-01, 1.1283792741825078),
)
"""atanh(erf(x)) / x in x^2, for |x| <= 4, because NumPy's tanh is fast: fitted by reweighted least squares, to 1e-7 of
erf."""

SMALL: Coefficients = (
    (
        *(1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2),
        *(3.77485237685302021e2, 3.20937758913846947e3),
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
"""erf(x) / x in x^2, for |x| <= 0.46875. This and the next two are by Cody (1969), Rational Chebyshev approximations
for the error function, Mathematics of Computation 23."""

MIDDLE: Coefficients = (
    (
        *(2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1),
        *(2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3),
        1.23033935479799725e3,
    ),
    (
        *(1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3),
        *(3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
    ),
)
"""exp(x^2) * (1 - erf(x)) in x, for 0.46875 <= x <= 4."""

LARGE: Coefficients = (
    (
        *(1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1),
        *(1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
    ),
    (
        *(1.0, 2.56852019228982242, 1.87295284992346047, 5.27905102951428412e-1),
        *(6.05183413124413191e-2, 2.33520497626869185e-3),
    ),
)
"""(1 / sqrt(pi) - x * exp(x^2) * (1 - erf(x))) * x^2 in 1 / x^2, for x >= 4."""


_INNER = 0.7978845608028654  # sqrt(2 / pi)
_CUBIC = _INNER * 0.044715


def erf(x: Array) -> Array:
    """Return the error function of each value, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to the value.

    The relative error is at most 3e-7 in float32, and 6e-16 in float64. Other dtypes are computed in float64.
    """
    return by_blocks(_erf, x)


def gelu(x: Array) -> Array:
    """Return x * Phi(x), where Phi is the standard normal CDF, (1 + erf(x / sqrt(2))) / 2."""
    return by_blocks(lambda values: values * _normal_cdf(values), x)


def gelu_tanh(x: Array) -> Array:
    """Return 0.5 * x * (1 + tanh(u)), where u = sqrt(2 / pi) * (x + 0.044715 * x^3). Hendrycks and Gimpel (2016)."""
    return by_blocks(_gelu_tanh, x)


def gelu_tanh_slope(x: Array) -> Array:
    """Return the derivative of gelu_tanh, (1 + t) / 2 + x * (1 - t^2) * u' / 2, where t = tanh(u)."""
    square = x * x
    t = np.tanh(x * (_INNER + _CUBIC * square))
    slope: Array = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (_INNER + 3 * _CUBIC * square)
    return slope


def gelu_slope(x: Array) -> Array:
    """Return the derivative of gelu, Phi(x) + x * phi(x)."""
    density = 0.3989422804014327 * np.exp(-0.5 * x * x)  # 1 / sqrt(2 pi)
    slope: Array = by_blocks(_normal_cdf, x) + x * density
    return slope


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x))."""
    with np.errstate(over="ignore"):  # the inverse of infinity is 0, the value of the limit
        return by_blocks(_sigmoid, x)


def silu(x: Array) -> Array:
    """Return x * sigmoid(x)."""
    with np.errstate(over="ignore"):
        return by_blocks(lambda values: values * _sigmoid(values), x)


def by_blocks(function: Callable[[Array], Array], x: Array) -> Array:
    """Return a function of each value. Only blocks of values have intermediate results, which stay in the cache."""
    values = x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)
    if values.size <= BLOCK:
        return function(values)
    flat = values.reshape(-1)
    result = np.empty_like(flat)
    for start in range(0, flat.size, BLOCK):
        result[start : start + BLOCK] = function(flat[start : start + BLOCK])
    return result.reshape(x.shape)


def _sigmoid(x: Array) -> Array:
    y = np.negative(x)
    np.exp(y, out=y)
    y += 1
    return np.reciprocal(y, out=y)


def _gelu_tanh(x: Array) -> Array:
    y = x * x
    y *= _CUBIC
    y += _INNER
    y *= x
    np.tanh(y, out=y)
    y += 1
    y *= x
    y *= 0.5
    return y


def _normal_cdf(x: Array) -> Array:
    y = _erf(x * 0.7071067811865476)  # sqrt(1 / 2)
    y += 1
    y *= 0.5
    return y


def _erf(x: Array) -> Array:
    return _single(x) if x.dtype == np.float32 else _double(x)


def _ratio(x: Array, coefficients: Coefficients) -> Array:
    """Return a rational function of each value, by Horner's rule in place."""
    top, bottom = (_polynomial(x, each) for each in coefficients)
    top /= bottom
    return top


def _polynomial(x: Array, coefficients: Sequence[float]) -> Array:
    y = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        y += coefficient
        y *= x
    y += coefficients[-1]
    return y


def _single(x: Array) -> Array:
    # from 4 on erf is 1 in float32, but NumPy's tanh is 1 only from 10 on, and the polynomial times 4.2 is 10.7
    bounded = np.clip(x, -4.2, 4.2)
    y = _polynomial(bounded * bounded, SINGLE)
    y *= bounded
    return np.tanh(y, out=y)


def _double(x: Array) -> Array:
    size = np.minimum(np.abs(x), 6)  # at 6, erf is 1 - 2e-17
    y = size * _ratio(np.minimum(size, 0.46875) ** 2, SMALL)
    middle, large = (size > 0.46875) & (size <= 4), size > 4
    inner, outer = size[middle], size[large]
    y[middle] = 1 - np.exp(-inner * inner) * _ratio(inner, MIDDLE)
    inverse = 1 / (outer * outer)
    # 1 / sqrt(pi)
    y[large] = 1 - np.exp(-outer * outer) / outer * (0.5641895835477563 - inverse * _ratio(inverse, LARGE))
    signed: Array = np.copysign(y, x)
    return signed


def sparsemax(x: Array, axis: int = -1) -> Array:
    """Return the Euclidean projection onto the probability simplex along an axis: max(x - t, 0), whose sum is 1.

    Martins and Astudillo (2016), From softmax to sparsemax, algorithm 1.
    """
    shifted = x - np.max(x, axis=axis, keepdims=True)  # so that the sums of large values are exact
    descending = -np.sort(-shifted, axis=axis)
    rank = np.cumsum(np.ones_like(x), axis=axis)
    sums = np.cumsum(descending, axis=axis) - 1
    count = np.sum(descending * rank > sums, axis=axis, keepdims=True)
    # NaN has no rank; it is the result
    threshold = np.take_along_axis(sums, np.maximum(count, 1) - 1, axis=axis) / count.astype(x.dtype)
    projection: Array = np.maximum(shifted - threshold, 0)
    return projection


def sparsemax_by_x(result: Array, vector: Array, axis: int = -1) -> Array:
    """Return the product of a vector with the derivative of sparsemax: on the support, less its mean there."""
    support = result > 0
    mean = (vector * support).sum(axis=axis, keepdims=True) / support.sum(axis=axis, keepdims=True, dtype=vector.dtype)
    product: Array = support * (vector - mean)
    return product
