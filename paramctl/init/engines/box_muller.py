"""torch's normal numbers from the words of its generator: runs of 16 values, and single pairs for small tensors.

A run takes 16 uniform numbers: the first 8 give the radii of points in the plane, the others their angles. Its first 8
values are the points' first coordinates, and the others the second ones. A tensor of fewer than 16 values takes one
pair at a time instead, in float64.

Source: Box and Muller (1958), "A note on the generation of random normal deviates".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.init.engines import avx_math
from paramctl.init.engines.avx_math import Scratch
from paramctl.init.engines.fused import fma32, fma64
from paramctl.init.engines.glibc_math import logf, sin_cosf

RUN = 16
HALF_RUN = "V32"
"""8 values of float32, which NumPy copies at once."""
STEPS = (1 << 24) - 1
"""The bits of a word that make a float32 uniform number."""
AT_ONCE = 1 << 16
"""The number of values to compute at once, while they are in the processor's cache."""


def normals(words: Array, mean: float, stddev: float, fused: bool) -> Array:
    """Return normal numbers in float32, one for each of a multiple of 16 words.

    fused: True for torch on processors with AVX2 and FMA, which has a logarithm and a sine of its own; False for the
    C library's.
    """
    values = np.empty(words.size, np.float32)
    scratch = Scratch(min(AT_ONCE, words.size) // 2)
    for begin in range(0, words.size, AT_ONCE):
        piece = values[begin : begin + AT_ONCE]
        _standard(words[begin : begin + AT_ONCE], piece, scratch, fused)
        if mean:
            piece[:] = fma32(piece, stddev, mean)
        elif stddev != 1:
            piece *= np.float32(stddev)
    return values


def _standard(words: Array, out: Array, scratch: Scratch, fused: bool) -> None:
    """Write standard normal numbers into ``out``."""
    halves = words.view(HALF_RUN).reshape(-1, 2)
    steps = np.empty(words.size // 2, np.int32)
    radius, sin, cos = np.empty((3, steps.size), np.float32)
    for half in (0, 1):
        np.copyto(steps.view(HALF_RUN), halves[:, half])
        steps &= STEPS
        if half == 0:
            zeros = not steps.all()
            _radius(steps, radius, scratch, fused)
        else:
            _sin_cos(steps, sin, cos, scratch, fused)
    cos *= radius
    sin *= radius
    if zeros:  # a radius of 0 times a negative number is -0, to which torch adds the mean
        cos += 0.0
        sin += 0.0
    pairs = out.view(HALF_RUN).reshape(-1, 2)
    pairs[:, 0], pairs[:, 1] = cos.view(HALF_RUN), sin.view(HALF_RUN)


def _radius(steps: Array, out: Array, scratch: Scratch, fused: bool) -> None:
    if fused:
        avx_math.radius(steps, out, scratch)
    else:
        np.sqrt(-2 * logf(((1 << 24) - steps).astype(np.float32) * np.float32(2**-24)), out=out)


def _sin_cos(steps: Array, sin: Array, cos: Array, scratch: Scratch, fused: bool) -> None:
    if fused:
        avx_math.sin_cos(steps, sin, cos, scratch)
    else:
        sin[:], cos[:] = sin_cosf((steps * (2 * math.pi * 2**-24)).astype(np.float32))


def normals64(words: Array, mean: float, stddev: float) -> Array:
    """Return normal numbers in float64, one for each two of a multiple of 32 words, with the C library's functions."""
    uniform = uniform64(words).reshape(-1, 2, RUN // 2)
    radius = np.sqrt(-2 * np.array([*map(math.log, (1 - uniform[:, 0]).ravel().tolist())]))
    angles = (2 * math.pi * uniform[:, 1]).ravel().tolist()
    points = np.array([*map(math.cos, angles), *map(math.sin, angles)]).reshape(2, -1)
    points *= radius
    values = points.reshape(2, -1, RUN // 2).transpose(1, 0, 2).reshape(-1)
    return fma64(values, stddev, mean) if mean else values * stddev + 0.0  # no -0, as in torch


def uniform64(words: Array) -> Array:
    """Return numbers in [0, 1) in float64, one for each two words."""
    uniform: Array = steps64(words).astype(np.float64)
    uniform *= 2.0**-53
    return uniform


def steps64(words: Array) -> Array:
    """Return the integers in [0, 2^53), in int64, that two words each make. The first word has the high bits."""
    pairs = words.astype("<u4", copy=False).view("<u8")
    steps = pairs << 32
    steps &= (1 << 53) - 1
    steps |= pairs >> 32
    return steps.view(np.int64)


def pair(words: Sequence[int] | Array) -> tuple[float, float]:
    """Return two standard normal numbers from 4 words, as torch draws them for tensors of fewer than 16 values."""
    first, second = uniform64(np.asarray(words, np.uint32)).tolist()
    radius, angle = math.sqrt(-2 * math.log1p(-second)), 2 * math.pi * first
    return radius * math.cos(angle), radius * math.sin(angle)
