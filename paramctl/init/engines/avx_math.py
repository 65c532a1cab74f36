"""The logarithm, sine and cosine of torch's normal numbers on processors with AVX2 and FMA.

torch computes them in float32 by the polynomials of the Cephes library, 8 values at once, with fused multiply-adds. The
arguments are multiples of 2^-24 from 0 to 1, so each function has 2^24 of them, and all were compared with an
exact evaluation: here a fused step is a product and a sum in float64, rounded to float32, which could round twice but
never does for these arguments.

Source: Moshier, Cephes Mathematical Library, logf and sinf; Pommier's arrangement of them in avx_mathfun.h.
"""

from __future__ import annotations

from math import frexp, pi

import numpy as np

from paramctl.core.dtypes import Array


def _constants(dtype: type, *values: float) -> list[Array]:
    """Return numbers, rounded to float32, as arrays: NumPy takes these faster than it converts a number."""
    return [np.array(np.float32(value) if dtype is np.float64 else value, dtype) for value in values]


def _with_large(first: Array, *others: Array) -> tuple[Array, list[tuple[Array, Array]]]:
    """Return coefficients of a polynomial, each of the last ones with a number that rounds sums to float32.

    A sum with such a coefficient has its exponent, for all arguments. In float64, a sum with 1.5 2^(52 + k) has no
    bits below 2^k, so adding and subtracting it rounds to the last bit of float32, and only once.
    """
    large = [np.array(1.5 * 2.0 ** (frexp(value)[1] + 28)) for value in others]
    return first, [(value + number, number) for value, number in zip(others, large, strict=True)]


FIRST, *LOG = _constants(
    np.float64,
    *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
    *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)
SIN = _with_large(*_constants(np.float64, -1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1))
COS = _with_large(*_constants(np.float64, 2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2))
MINUS_HALF_PI = np.array(-2 * sum(_constants(np.float64, 0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8)))
"""Cephes adds it in three steps, of which only the last rounds."""
(HALF_64,) = _constants(np.float64, 0.5)
LN2_LOW, LN2_HIGH, STEP = _constants(np.float32, -2.12194440e-4, 0.693359375, float(np.float32(2 * pi)) * 2**-24)
HALF, ONE, MINUS_TWO, BIAS = _constants(np.float32, 0.5, 1, -2, 127 + 24)
FULL, EIGHTH, FRACTION, SIGN = _constants(np.int32, 1 << 24, 1 << 21, (1 << 23) - 1, -1 << 31)
ROOT_HALF, ONE_LESS = _constants(np.int32, 0x3F3504F3, 0x3F800000 - 0x3F3504F3)
"""The bits of the square root of 1/2 in float32, and the difference to those of 1."""
EXPONENT, EIGHTHS, NEXT, LAST = _constants(np.int32, 23, 22, 30, 31)


class Scratch:
    """Arrays for intermediate results, which save their allocation for every piece of a block."""

    def __init__(self, size: int) -> None:
        self.integers = tuple(np.empty((2, size), np.int32))
        self.singles = tuple(np.empty((4, size), np.float32))
        self.doubles = tuple(np.empty((3, size), np.float64))


def radius(steps: Array, out: Array, scratch: Scratch) -> None:
    """Write ``sqrt(-2 log(1 - steps / 2^24))`` into ``out``, in float32. steps: int32 in [0, 2^24)."""
    bits, exponents = (array[: out.size] for array in scratch.integers)
    e, m, z, y = (array[: out.size] for array in scratch.singles)
    m64, y64, z64 = (array[: out.size] for array in scratch.doubles)
    np.subtract(FULL, steps, bits)
    out[...] = bits  # 2^24 times the argument, which only changes the exponent
    np.add(out.view(np.int32), ONE_LESS, bits)
    np.right_shift(bits, EXPONENT, exponents)
    e[...] = exponents
    np.subtract(e, BIAS, e)
    np.bitwise_and(bits, FRACTION, bits)
    np.add(bits, ROOT_HALF, bits)
    np.subtract(bits.view(np.float32), ONE, m)  # the argument is (1 + m) 2^e, with 1 + m in [sqrt(1/2), sqrt(2))
    m64[...] = m
    np.multiply(m64, FIRST, y64)
    for coefficient in LOG:
        np.add(y64, coefficient, y64)
        y[...] = y64
        y64[...] = y
        np.multiply(y64, m64, y64)
    y[...] = y64
    y64[...] = y
    np.multiply(m, m, z)
    z64[...] = z
    np.multiply(y64, z64, y64)
    np.multiply(e, LN2_LOW, y)
    z64[...] = y
    np.add(y64, z64, y64)
    y[...] = y64
    np.multiply(z, HALF, z)
    np.subtract(y, z, y)
    np.add(m, y, m)
    np.multiply(e, LN2_HIGH, e)
    np.add(m, e, m)
    np.multiply(m, MINUS_TWO, m)
    np.sqrt(m, out)


def sin_cos(steps: Array, sin: Array, cos: Array, scratch: Scratch) -> None:
    """Write the sine and cosine of ``2 pi steps / 2^24`` into arrays of float32. steps: int32 in [0, 2^24)."""
    quarter, mask = (array[: steps.size] for array in scratch.integers)
    theta, x, z, differing = (array[: steps.size] for array in scratch.singles)
    x64, y64, z64 = (array[: steps.size] for array in scratch.doubles)
    np.add(steps, EIGHTH, quarter)  # the angle is a number of quarter turns, and x in [-pi/4, pi/4]
    np.right_shift(quarter, EIGHTHS, quarter)
    theta[...] = steps
    np.multiply(theta, STEP, theta)
    x64[...] = quarter
    np.multiply(x64, MINUS_HALF_PI, x64)
    y64[...] = theta
    np.add(x64, y64, x64)
    x[...] = x64
    x64[...] = x
    np.multiply(x, x, z)
    z64[...] = z
    _polynomial(SIN, z64, y64, sin)
    np.multiply(y64, x64, y64)
    np.add(y64, x64, y64)
    sin[...] = y64
    _polynomial(COS, z64, y64, cos)
    np.multiply(y64, z64, y64)
    np.multiply(z64, HALF_64, z64)
    np.subtract(y64, z64, y64)
    cos[...] = y64
    np.add(cos, ONE, cos)
    _turn(sin.view(np.int32), cos.view(np.int32), quarter, mask, differing.view(np.int32))


def _polynomial(coefficients: tuple[Array, list[tuple[Array, Array]]], z: Array, y: Array, rounded: Array) -> None:
    """Write ``((a z + b) z + c) z`` into ``y``, rounded to float32 after each step. rounded: the same in float32."""
    first, others = coefficients
    np.multiply(z, first, y)
    for shifted, large in others:
        np.add(y, shifted, y)
        np.subtract(y, large, y)
        np.multiply(y, z, y)
    rounded[...] = y
    y[...] = rounded


def _turn(sin: Array, cos: Array, quarter: Array, mask: Array, differing: Array) -> None:
    """Turn angles by quarter turns, on the bits of their sines and cosines."""
    np.left_shift(quarter, LAST, mask)
    np.right_shift(mask, LAST, mask)  # all bits where the number of quarter turns is odd: there, exchange them
    np.bitwise_xor(sin, cos, differing)
    np.bitwise_and(differing, mask, differing)
    np.bitwise_xor(sin, differing, sin)
    np.bitwise_xor(cos, differing, cos)
    np.bitwise_and(mask, SIGN, mask)
    np.bitwise_xor(cos, mask, cos)
    np.left_shift(quarter, NEXT, quarter)
    np.bitwise_and(quarter, SIGN, quarter)
    np.bitwise_xor(sin, quarter, sin)
    np.bitwise_xor(cos, quarter, cos)
