"""The inverse error function with the bits that XLA gives on processors with fused multiply-adds.

Every step rounds to float32 as XLA's does. Values are kept in float64, where the product of two float32 is exact, so
that a multiplication and an addition round once to float32. They would round twice where the float64 sum is inexact
and halfway between two float32; for none of the values that jax.random's normal distributions give does that change a
bit: tests/interop compares all 2^23 of each.

Source of the polynomials: Giles (2012), "Approximating the erfinv function"; Moshier, Cephes (logf, log1p).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paramctl.core.dtypes import Array


def _words(*words: int) -> list[float]:
    """Return the float32 with these bits."""
    return [float(value) for value in np.array(words, np.uint32).view(np.float32)]


def _rounded(*values: float) -> list[float]:
    return [float(value) for value in np.array(values, np.float32)]


CENTER = _rounded(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 2.1858087e-04)
CENTER += _rounded(-1.25372503e-03, -4.17768164e-03, 2.46640727e-01, 1.50140941)
TAIL = _rounded(-2.00214257e-04, 1.00950558e-04, 1.34934322e-03, -3.67342844e-03, 5.73950773e-03)
TAIL += _rounded(-7.6224613e-03, 9.43887047e-03, 1.00167406, 2.83297682)
"""The polynomials of erf_inv(u) / u in w - 2.5 up to w = 5, and in sqrt(w) - 3 beyond, where w = -log(1 - u^2)."""

NUMERATOR = _rounded(4.527e-5)
NUMERATOR += _words(0x3EFF40C5, 0x40D284FA, 0x41EF4B9C, 0x4273CC76, 0x426473AD, 0x41A05101)
DENOMINATOR = _words(0x3F800000, 0x417101AD, 0x42A6185B, 0x435DC32D, 0x439A8CA3, 0x43586D8A, 0x42707982)
"""The rational function (log(1 + x) - x + x^2 / 2) / x^3 for small x."""
(SMALL,) = _words(0x3ED413CD)

LOG = _words(0x3D9021BB, 0xBDEBD1B8, 0x3DEF251A, 0xBDFE5D4F, 0x3E11E9BF, 0xBE2AAE50, 0x3E4CCEAC, 0xBE7FFFFC, 0x3EAAAAAA)
"""The polynomial of (log(1 + x) - x + x^2 / 2) / x^3, of which XLA computes each third alone."""
LOW, HIGH = _words(0xB95E8083, 0x3F318000)
"""log(2), in two parts."""
(ROOT_HALF,) = _rounded(0.5**0.5)


def erf_inv(values: Array) -> Array:
    """Return the inverse error function of float32 values between -1 and 1, as float32."""
    u = values.astype(np.float64)
    logarithm = _log1p(_round(-(u * u)))
    result = np.empty_like(u)
    # the tail has one value in three hundred
    near, far = _divided(logarithm > -5)
    result[near] = _polynomial(CENTER, _round(-2.5 - logarithm[near]))
    result[far] = _polynomial(TAIL, _round(_round(np.sqrt(-logarithm[far])) - 3))
    result *= u
    inverse: Array = result.astype(np.float32)
    return inverse


def _log1p(x: Array) -> Array:
    result = np.empty_like(x)
    near, far = _divided(x > -SMALL)
    result[near] = _log1p_near(x[near])
    result[far] = _log(_round(x[far] + 1))
    return result


def _log1p_near(x: Array) -> Array:
    square = _round(x * x)
    quotient = _round(_polynomial(NUMERATOR, x) / _polynomial(DENOMINATOR, x))
    cube = _round(_round(x * square) * quotient)
    cube -= 0.5 * square
    return _round(x + _round(cube))


def _log(values: Array) -> Array:
    """Return the natural logarithm of positive values."""
    mantissa, exponent = np.frexp(values)
    small = mantissa < ROOT_HALF
    x = np.where(small, mantissa + mantissa, mantissa) - 1
    exponent = exponent - small.astype(np.float64)
    square = _round(x * x)
    cube = _round(square * x)
    y = _polynomial(LOG[:3], x)
    for part in (_polynomial(LOG[3:6], x), _polynomial(LOG[6:], x), _round(exponent * LOW)):
        y = _round(y * cube + part)
    return _round(exponent * HIGH + _round(_round(x - 0.5 * square) + y))


def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    """Return a polynomial by Horner's rule with fused multiply-adds. coefficients: from that of the highest power."""
    result, rounded = np.full_like(x, coefficients[0]), np.empty(x.shape, np.float32)
    for coefficient in coefficients[1:]:
        result *= x
        result += coefficient
        rounded[...] = result
        result[...] = rounded
    return result


def _divided(chosen: Array) -> tuple[Array, Array]:
    """Return the indices of the chosen values and those of the others."""
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def _round(values: Array) -> Array:
    """Return float64 values, rounded to float32."""
    rounded: Array = values.astype(np.float32).astype(np.float64)
    return rounded
