"""Losses: the values of an array that another dtype cannot hold, counted in pieces that join."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype, smallest_normal, to_native


class Losses(NamedTuple):
    """The values that a cast would change by more than rounding.

    overflow: finite values that become infinite, NaN, or the end of a range of integers.
    zero, subnormal: values other than 0 that become 0, and those that become smaller than the smallest normal number.
    inexact: integers that are rounded, fractions that are cut, and imaginary parts that are dropped.
    first_overflow, first_inexact: the indices of the first such values.
    """

    dtype: str
    overflow: int = 0
    zero: int = 0
    subnormal: int = 0
    inexact: int = 0
    first_overflow: int | None = None
    first_inexact: int | None = None

    def join(self, later: Losses, size: int) -> Losses:
        """Return the losses of both together. size: the number of values before the later ones."""
        return Losses(
            self.dtype,
            self.overflow + later.overflow,
            self.zero + later.zero,
            self.subnormal + later.subnormal,
            self.inexact + later.inexact,
            earlier(self.first_overflow, later.first_overflow, size),
            earlier(self.first_inexact, later.first_inexact, size),
        )


def earlier(first: int | None, later: int | None, size: int) -> int | None:
    """Return the first of two indices, the second counted from the end of ``size`` values before it."""
    return first if first is not None or later is None else size + later


def losses_of(values: Array, dtype: str) -> Losses:
    """Return the losses of a cast of values to a dtype."""
    target = numpy_dtype(dtype)
    if values.dtype == target or not values.size:
        return Losses(dtype)
    with np.errstate(all="ignore"):
        numbers = values.view(np.uint8) if values.dtype.kind == "b" else to_native(values)
        inexact = np.zeros(numbers.shape, np.bool_)
        if numbers.dtype.kind == "c" and target.kind != "c":
            inexact, numbers = numbers.imag != 0, np.ascontiguousarray(numbers.real)
        if target.kind in "iub":
            overflow, cut = _integer_losses(numbers, target)
            return _counted(dtype, overflow, inexact | cut)
        result = to_native(numbers.astype(target))
        finite = np.isfinite(numbers)
        overflow = finite & ~np.isfinite(result)
        if numbers.dtype.kind in "iu":
            return _counted(dtype, overflow, ~overflow & ~_equals(numbers, result.real))
        zero = finite & (numbers != 0) & (result == 0)
        subnormal = (result != 0) & (np.abs(result) < smallest_normal(dtype))
        return _counted(dtype, overflow, inexact, zero, subnormal)


def _counted(dtype: str, overflow: Array, inexact: Array, *underflow: Array) -> Losses:
    zero, subnormal = [int(np.count_nonzero(part)) for part in underflow] or [0, 0]
    counts = [int(np.count_nonzero(part)) for part in (overflow, inexact)]
    firsts = [int(part.argmax()) if count else None for part, count in zip((overflow, inexact), counts, strict=True)]
    return Losses(dtype, counts[0], zero, subnormal, counts[1], *firsts)


def _integer_losses(numbers: Array, target: np.dtype[Any]) -> tuple[Array, Array]:
    """Return which numbers are beyond the range of integers or booleans, and which of the others have a fraction."""
    low, high = (0, 1) if target.kind == "b" else (int(np.iinfo(target).min), int(np.iinfo(target).max))
    if numbers.dtype.kind in "iu":
        own = np.iinfo(numbers.dtype)
        beyond = (numbers < max(low, int(own.min))) | (numbers > min(high, int(own.max)))
        return beyond, np.zeros(numbers.shape, np.bool_)
    # a fraction is cut, so 255.5 is within uint8; float64 has no 2^63 - 1, and rounds it up to 2^63
    whole = np.trunc(numbers.astype(np.float64))
    inside = (whole >= low) & (whole <= high if high < 2**53 else whole < float(high))
    return ~inside, inside & (whole != numbers)


def _equals(integers: Array, numbers: Array) -> Array:
    """Return which floating-point numbers equal the integers that they were cast from."""
    wide = numbers.astype(np.float64)
    if integers.dtype.itemsize < 8:
        return np.asarray(wide == integers.astype(np.float64))
    # rounded up to 2^63 or 2^64, which the integers do not have
    beyond = wide >= float(np.iinfo(integers.dtype).max)
    return np.asarray(~beyond & (np.where(beyond, 0, wide).astype(integers.dtype) == integers))
