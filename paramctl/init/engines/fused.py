"""Fused multiply-adds, as a processor with FMA computes them: ``x * y + z`` rounded once.

The product of two float32 numbers is exact in float64, and their sum with a third is rounded to 53 bits. Rounding that
again to 24 bits gives another value only if the sum is exactly between two float32 numbers, and was not exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from paramctl.core.dtypes import Array

DISCARDED = (1 << 29) - 1
"""The bits of a float64 number that float32 does not have."""
HALFWAY = 1 << 28
"""Their value exactly between two float32 numbers."""
SPLIT = 2.0**27 + 1


def fma32(x: Array, y: float, z: float) -> Array:
    """Return ``x * y + z`` for float32 numbers, rounded once to float32."""
    product = x.astype(np.float64)
    product *= y
    total = product + z
    between = np.flatnonzero((total.view(np.int64) & DISCARDED) == HALFWAY)
    if between.size:
        rounded = total[between]
        error = _error_of_sum(product[between], z, rounded)
        towards = np.nextafter(rounded, np.copysign(np.inf, error))
        total[between] = np.where(error == 0, rounded, towards)
    return total.astype(np.float32)


def fma64(x: Array, y: float, z: float) -> Array:
    """Return ``x * y + z`` for float64 numbers, rounded once, except where the last error is itself a tie.

    Source: Dekker (1971), "A floating-point technique for extending the available precision".
    """
    product: Array = x * y
    total: Array = product + z
    high, low = _halves(x)
    y_high, y_low = _halves(np.float64(y))
    error = ((high * y_high - product) + high * y_low + low * y_high) + low * y_low
    rounded: Array = total + (error + _error_of_sum(product, z, total))
    return rounded


def _error_of_sum(x: Array, z: float, total: Array) -> Array:
    """Return ``x + z - total`` exactly, for their rounded sum. Source: Knuth, TAOCP 2, section 4.2.2."""
    part = total - x
    error: Array = (x - (total - part)) + (z - part)
    return error


def _halves(x: Any) -> tuple[Any, Any]:
    """Return the high and the low 26 bits of float64 numbers."""
    scaled = SPLIT * x
    high = scaled - (scaled - x)
    return high, x - high
