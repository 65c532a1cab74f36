"""The logarithm, sine and cosine of torch's normal numbers on processors with AVX2 and FMA.

torch computes them in float32 by the polynomials of the Cephes library, 8 values at once, with fused multiply-adds. The
arguments are multiples of 2^-24 from 0 to 1, so there are 2^24 of each function, and all of them were compared with an
exact evaluation: here a fused step is a product and a sum in float64, rounded to float32, which could round twice but
never does for these arguments.

Source: Moshier, Cephes Mathematical Library, logf and sinf; Pommier's arrangement of them in avx_mathfun.h.
"""

from __future__ import annotations

from math import frexp, pi

import numpy as np

from paramctl.core.dtypes import Array


def _float32(*values: float) -> tuple[float, ...]:
    return tuple(float(np.float32(value)) for value in values)


FIRST, *LOG = _float32(
    *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
    *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)
LN2_LOW, LN2_HIGH = _float32(-2.12194440e-4, 0.693359375)
SIN = _float32(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
COS = _float32(2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
HALF_PI = 2 * sum(_float32(0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8))
"""Cephes subtracts it in three steps, of which only the last rounds."""

ONE, ROOT_HALF = 0x3F800000, 0x3F3504F3
"""The bits of 1 and of the square root of 1/2, in float32."""
EXPONENT, FRACTION = 23, (1 << 23) - 1
SIGN = np.int32(-1 << 31)


class Scratch:
    """Arrays for intermediate results, which save their allocation for every piece of a block."""

    def __init__(self, size: int) -> None:
        self.integers = tuple(np.empty((2, size), np.int32))
        self.singles = tuple(np.empty((4, size), np.float32))
        self.doubles = tuple(np.empty((3, size), np.float64))


def _assign(out: Array, values: Array) -> None:
    np.copyto(out, values, casting="unsafe")


def radius(steps: Array, out: Array, scratch: Scratch) -> None:
    """Write ``sqrt(-2 log(1 - steps / 2^24))`` into ``out``, in float32. steps: int32 in [0, 2^24)."""
    bits, exponents = (array[: out.size] for array in scratch.integers)
    e, m, z, y = (array[: out.size] for array in scratch.singles)
    m64, y64, z64 = (array[: out.size] for array in scratch.doubles)
    np.subtract(1 << 24, steps, out=bits)
    _assign(out, bits)  # 2^24 times the argument, which only changes the exponent
    np.add(out.view(np.int32), ONE - ROOT_HALF, out=bits)
    np.right_shift(bits, EXPONENT, out=exponents)
    _assign(e, exponents)
    e -= 127 + 24
    bits &= FRACTION
    bits += ROOT_HALF
    np.subtract(bits.view(np.float32), 1, out=m)  # the argument is (1 + m) 2^e, with 1 + m in [sqrt(1/2), sqrt(2))
    np.multiply(m, m, out=z)
    _assign(m64, m)
    np.multiply(m64, FIRST, out=y64)
    for coefficient in LOG[:-1]:
        y64 += coefficient
        _assign(y, y64)
        _assign(y64, y)
        y64 *= m64
    y64 += LOG[-1]
    _assign(y, y64)
    y *= m
    _assign(y64, y)
    _assign(z64, z)
    y64 *= z64
    np.multiply(e, np.float32(LN2_LOW), out=y)
    _assign(z64, y)
    y64 += z64
    _assign(y, y64)
    z *= 0.5
    y -= z
    m += y
    e *= np.float32(LN2_HIGH)
    m += e
    m *= -2
    np.sqrt(m, out=out)


def sin_cos(steps: Array, sin: Array, cos: Array, scratch: Scratch) -> None:
    """Write the sine and cosine of ``2 pi steps / 2^24`` into arrays of float32. steps: int32 in [0, 2^24)."""
    quarter, mask = (array[: steps.size] for array in scratch.integers)
    theta, x, z, differing = (array[: steps.size] for array in scratch.singles)
    x64, y64, z64 = (array[: steps.size] for array in scratch.doubles)
    np.add(steps, 1 << 21, out=quarter)  # the angle is a number of quarter turns, and x in [-pi/4, pi/4]
    quarter >>= 22
    _assign(theta, steps)
    theta *= np.float32(float(np.float32(2 * pi)) * 2**-24)
    _assign(x64, quarter)
    x64 *= -HALF_PI
    _assign(y64, theta)
    x64 += y64
    _assign(x, x64)
    _assign(x64, x)
    np.multiply(x, x, out=z)
    _assign(z64, z)
    _polynomial(SIN, z64, y64, sin)
    y64 *= x64
    y64 += x64
    _assign(sin, y64)
    _polynomial(COS, z64, y64, cos)
    y64 *= z64
    z64 *= 0.5
    y64 -= z64
    _assign(cos, y64)
    cos += 1
    _turn(sin.view(np.int32), cos.view(np.int32), quarter, mask, differing.view(np.int32))


def _polynomial(coefficients: tuple[float, ...], z: Array, y: Array, rounded: Array) -> None:
    """Write ``((a z + b) z + c) z`` into ``y``, rounded to float32 after each step. rounded: the same in float32."""
    first, *others = coefficients
    np.multiply(z, first, out=y)
    for coefficient in others:
        # The sum has the exponent of the coefficient for each z, so a large number rounds it to float32, and only once.
        large = 1.5 * 2.0 ** (frexp(coefficient)[1] + 28)
        y += coefficient + large
        y -= large
        y *= z
    _assign(rounded, y)
    _assign(y, rounded)


def _turn(sin: Array, cos: Array, quarter: Array, mask: Array, differing: Array) -> None:
    """Turn angles by quarter turns, on the bits of their sines and cosines."""
    np.left_shift(quarter, 31, out=mask)
    mask >>= 31  # all bits where the number of quarter turns is odd: there, exchange them
    np.bitwise_xor(sin, cos, out=differing)
    differing &= mask
    sin ^= differing
    cos ^= differing
    mask &= SIGN
    cos ^= mask
    quarter <<= 30
    quarter &= SIGN
    sin ^= quarter
    cos ^= quarter
