"""Tally: the statistics of one piece of an array, of any dtype, with NaN and infinities counted separately."""

from __future__ import annotations

from functools import cache
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.inspect.moments import Moments, moments_of


class Tally(NamedTuple):
    """Counts and moments of consecutive values of an array.

    parts: the moments of the finite values; of complex values, those of the real and of the imaginary parts.
    first: the index of the first value that is NaN or infinite, among these values; None if all are finite.
    """

    size: int
    parts: tuple[Moments, ...]
    zeros: int
    nan: int = 0
    inf: int = 0
    first: int | None = None

    def join(self, later: Tally) -> Tally:
        """Return the tally of both together."""
        first = later.first if later.first is None else self.size + later.first
        return Tally(
            self.size + later.size,
            tuple(one.join(other) for one, other in zip(self.parts, later.parts, strict=True)),
            self.zeros + later.zeros,
            self.nan + later.nan,
            self.inf + later.inf,
            first if self.first is None else self.first,
        )


EMPTY = Tally(0, (Moments(),), 0)
"""The tally of no values."""


def tally(values: Array) -> Tally:
    """Return the tally of a flat array of any dtype, which must not be empty."""
    with np.errstate(all="ignore"):
        values = widened(values)
        zeros = values.size - int(np.count_nonzero(values != 0))
        if values.dtype.kind != "c":
            ends = _ends(values)
            # NaN and infinities propagate into the ends, so finite ends prove that all values are finite.
            if isfinite(ends[0]) and isfinite(ends[1]):
                return Tally(values.size, (moments_of(values, *ends),), zeros)
        finite, nan = np.isfinite(values), int(np.count_nonzero(np.isnan(values)))
        kept = values[finite]
        parts = (kept.real, kept.imag) if values.dtype.kind == "c" else (kept,)
        moments = tuple(moments_of(part, *_ends(part)) if part.size else Moments() for part in parts)
        first = None if kept.size == values.size else int(finite.argmin())
        return Tally(values.size, moments, zeros, nan, values.size - kept.size - nan, first)


def _ends(values: Array) -> tuple[Any, Any]:
    return values.min().item(), values.max().item()


def widened(values: Array) -> Array:
    """Return the values, exactly, in a dtype in which NumPy computes fast."""
    dtype = values.dtype
    if dtype.kind == "b":
        return values.view(np.uint8)
    if dtype.kind not in "fV" or dtype.itemsize > 2:
        return values
    if dtype == numpy_dtype("bfloat16"):
        return values.astype(np.float32)
    # float16 and float8: a table lookup is several times as fast as their casts.
    return np.take(_every_value(dtype), values.view(f"u{dtype.itemsize}"), mode="clip")


@cache
def _every_value(dtype: np.dtype[Any]) -> Array:
    """Return the value of each bit pattern of a small dtype, as float32."""
    patterns = np.arange(1 << 8 * dtype.itemsize).astype(f"u{dtype.itemsize}")
    return patterns.view(dtype).astype(np.float32)
