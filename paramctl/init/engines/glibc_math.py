"""The logarithm, sine and cosine in float32 of the GNU C library, since its version 2.28.

They compute in float64, and round the result once. The library has two builds of each, with and without fused
multiply-adds; for the arguments of torch's and TensorFlow's normal numbers, both and this module give the same values,
which was tried for each of the 2^24 arguments.

Source: Arm, optimized routines, logf and sincosf.
"""

from __future__ import annotations

import numpy as np

from paramctl.core.dtypes import Array

LN2 = float.fromhex("0x1.62e42fefa39efp-1")
CENTERS = np.array(
    [
        *map(float.fromhex, ("0x1.661ec79f8f3bep+0", "0x1.571ed4aaf883dp+0", "0x1.49539f0f010bp+0")),
        *map(float.fromhex, ("0x1.3c995b0b80385p+0", "0x1.30d190c8864a5p+0", "0x1.25e227b0b8eap+0")),
        *map(float.fromhex, ("0x1.1bb4a4a1a343fp+0", "0x1.12358f08ae5bap+0", "0x1.0953f419900a7p+0", "0x1p+0")),
        *map(float.fromhex, ("0x1.e608cfd9a47acp-1", "0x1.ca4b31f026aap-1", "0x1.b2036576afce6p-1")),
        *map(float.fromhex, ("0x1.9c2d163a1aa2dp-1", "0x1.886e6037841edp-1", "0x1.767dcf5534862p-1")),
    ]
)
"""1 / c for the center c of each sixteenth of an octave."""
LOGS = np.array(
    [
        *map(float.fromhex, ("-0x1.57bf7808caadep-2", "-0x1.2bef0a7c06ddbp-2", "-0x1.01eae7f513a67p-2")),
        *map(float.fromhex, ("-0x1.b31d8a68224e9p-3", "-0x1.6574f0ac07758p-3", "-0x1.1aa2bc79c81p-3")),
        *map(float.fromhex, ("-0x1.a4e76ce8c0e5ep-4", "-0x1.1973c5a611cccp-4", "-0x1.252f438e10c1ep-5", "0x0p+0")),
        *map(float.fromhex, ("0x1.aa5aa5df25984p-5", "0x1.c5e53aa362eb4p-4", "0x1.526e57720db08p-3")),
        *map(float.fromhex, ("0x1.bc2860d22477p-3", "0x1.1058bc8a07ee1p-2", "0x1.4043057b6ee09p-2")),
    ]
)
"""log(c)"""
LOG = tuple(map(float.fromhex, ("-0x1.00ea348b88334p-2", "0x1.5575b0be00b6ap-2", "-0x1.ffffef20a4123p-2")))
LOWEST = 0x3F330000
"""The bits of the lowest number of the octave that needs no exponent, about 0.7."""

HALF_PI = float.fromhex("0x1.921fb54442d18p0")
QUARTERS = float.fromhex("0x1.45f306dc9c883p-1")
"""2 / pi"""
COS = tuple(
    map(
        float.fromhex,
        ("-0x1.ffffffd0c621cp-2", "0x1.55553e1068f19p-5", "-0x1.6c087e89a359dp-10", "0x1.99343027bf8c3p-16"),
    )
)
SIN = tuple(map(float.fromhex, ("-0x1.555545995a603p-3", "0x1.1107605230bc4p-7", "-0x1.994eb3774cf24p-13")))


def logf(x: Array) -> Array:
    """Return the natural logarithm of positive float32 numbers, which must not be subnormal or infinite."""
    bits = x.view(np.int32)
    octave = bits - np.int32(LOWEST)
    sixteenth = (octave >> 19) & 15
    octave >>= 23
    r = (bits - (octave << 23)).view(np.float32) * CENTERS.take(sixteenth)
    r -= 1
    base = LOGS.take(sixteenth)
    base += octave * LN2
    base += r
    square = r * r
    result = LOG[1] * r
    result += LOG[2]
    result += LOG[0] * square
    result *= square
    result += base
    rounded: Array = result.astype(np.float32)
    return rounded


def sin_cosf(x: Array) -> tuple[Array, Array]:
    """Return the sine and cosine of float32 numbers from 0 to 120."""
    angle = x.astype(np.float64)
    quarter = np.floor(angle * QUARTERS + 0.5)
    angle -= quarter * HALF_PI
    turns = quarter.astype(np.int32)
    square = angle * angle
    cube = angle * square
    fourth = square * square
    sin = (angle + cube * SIN[0]) + (cube * square) * (SIN[1] + square * SIN[2])
    cos = (1 + square * COS[0] + fourth * COS[1]) + (fourth * square) * (COS[2] + square * COS[3])
    odd = (turns & 1).astype(bool)
    both = np.where(odd, cos, sin).astype(np.float32), np.where(odd, sin, cos).astype(np.float32)
    np.negative(both[0], out=both[0], where=(turns & 2).astype(bool))
    np.negative(both[1], out=both[1], where=((turns + 1) & 2).astype(bool))
    return both
