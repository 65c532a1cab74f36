"""The values of jax.random on a CPU: uniform, normal, and normal truncated at 2 standard deviations.

Any part of an array can be drawn alone. Values have the dtype in which they are drawn: float32, bfloat16 or float16.
A half type has few values, because JAX draws as many bits as its mantissa has: 128 in bfloat16, 1024 in float16.
"""

from __future__ import annotations

from collections.abc import Callable
from math import erf, sqrt

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.init.engines.fused import fma32
from paramctl.init.engines.threefry import STRIDE, RandomBits
from paramctl.init.engines.xla import erf_inv

DTYPES = ("float32", "bfloat16", "float16")
"""The dtypes in which values can be drawn. float64 would need JAX's 64-bit types, which are off by default."""

MANTISSA = {"float32": 23, "bfloat16": 7, "float16": 10}
BITS = {"float32": 32, "bfloat16": 8, "float16": 16}
"""The random bits of one value. A mantissa of 7 bits needs no more than 8."""

TRUNCATED = 2.0


def uniform(source: RandomBits, start: int, stop: int, dtype: str, low: float = 0.0, high: float = 1.0) -> Array:
    """Return the values of jax.random.uniform from one index to another."""
    return _by_strides(source, start, stop, dtype, lambda bits: _uniform(bits, dtype, low, high))


def normal(source: RandomBits, start: int, stop: int, dtype: str) -> Array:
    """Return the values of jax.random.normal from one index to another."""
    number = numpy_dtype(dtype).type
    low = float(np.nextafter(number(-1), number(0)))
    return _by_strides(source, start, stop, dtype, lambda bits: _quantile(_uniform(bits, dtype, low, 1.0), dtype))


def truncated_normal(source: RandomBits, start: int, stop: int, dtype: str) -> Array:
    """Return the values of jax.random.truncated_normal between -2 and 2, from one index to another."""
    number = numpy_dtype(dtype).type
    last = float(number(erf(float(number(TRUNCATED / float(number(sqrt(2))))))))
    bound = np.nextafter(number(TRUNCATED), number(0))

    def truncated(bits: Array) -> Array:
        values = _quantile(_uniform(bits, dtype, -last, last), dtype)
        clipped: Array = np.clip(values, -bound, bound)
        return clipped

    return _by_strides(source, start, stop, dtype, truncated)


def _by_strides(source: RandomBits, start: int, stop: int, dtype: str, function: Callable[[Array], Array]) -> Array:
    """Return a function of the random bits, computed for few values at once."""
    values = np.empty(stop - start, numpy_dtype(dtype))
    for begin in range(start, stop, STRIDE):
        end = min(begin + STRIDE, stop)
        values[begin - start : end - start] = function(source.draw(begin, end, BITS[dtype]))
    return values


def _uniform(bits: Array, dtype: str, low: float, high: float) -> Array:
    """Return uniform values in a dtype, from as many random bits as BITS has for it."""
    number = numpy_dtype(dtype).type
    least, width = float(number(low)), float(number(number(high) - number(low)))
    fraction = (bits >> np.uint32(BITS[dtype] - MANTISSA[dtype])).astype(np.float32)
    fraction *= np.float32(2.0 ** -MANTISSA[dtype])
    if dtype == "float32":
        values = fma32(fraction, width, least)
    else:  # XLA computes each operation in float32, and rounds its result
        product = (fraction * np.float32(width)).astype(number).astype(np.float32)
        values = (product + np.float32(least)).astype(number)
    bounded: Array = np.maximum(values, number(low))
    return bounded


def _quantile(values: Array, dtype: str) -> Array:
    """Return the standard normal quantiles of values that are uniform between -1 and 1."""
    number = numpy_dtype(dtype).type
    quantiles: Array = erf_inv(values).astype(number, copy=False) * number(sqrt(2))
    return quantiles
