"""Dtypes: NumPy's dtype for each name, and casts that report what they would lose."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from paramctl.core.parameter import PACKED_BITS

Array: TypeAlias = NDArray[Any]


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return NumPy's dtype for a name in ``parameter.DTYPE_BYTES``, and single bytes for one in PACKED_BITS."""
    if name in PACKED_BITS:  # bytes without a type, with which NumPy refuses to calculate
        return np.dtype("V1")
    if name == "bfloat16" or name.startswith("float8"):
        dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return dtype
    return np.dtype(name)


def compute_dtype(name: str) -> np.dtype[Any]:
    """Return the dtype in which values are computed before they are rounded to the named dtype."""
    return np.dtype(np.float64 if name == "float64" else np.float32)


def cast(values: Array, name: str) -> Array:
    """Return values in another dtype, rounded to nearest, or the same array if it has that dtype already.

    Raises OverflowError if a finite value would become infinite.
    """
    target = numpy_dtype(name)
    if values.dtype == target:
        return values
    with np.errstate(all="ignore"):
        result = values.astype(target)
        overflows = _may_overflow(values.dtype, target) and not _is_within(values, target)
        if overflows and not _keeps_finite(values, result):
            raise OverflowError(f"a value exceeds the range of {name}")
    return result


@cache
def _may_overflow(source: np.dtype[Any], target: np.dtype[Any]) -> bool:
    """Return True if a finite value of a dtype may be beyond the range of another.

    The range decides, not the size: bfloat16 and float16 both have 2 bytes, but end at 3.4e38 and 65504.
    """
    if target.kind in "iub":
        return False
    low, high = finite_range(source)
    lowest, highest = finite_range(target)
    return low < lowest or high > highest


def _is_within(values: Array, target: np.dtype[Any]) -> bool:
    """Return True if floating-point numbers are in the range of a dtype; this saves a look at each rounded one."""
    if values.dtype.kind != "f" or not values.size:
        return False
    lowest, highest = finite_range(target)
    return bool(values.min() >= lowest and values.max() <= highest)  # False for NaN


def finite_range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the smallest and the largest finite value of a dtype. float8_e8m0fnu has only positive ones."""
    if dtype.kind == "b":
        return 0.0, 1.0
    limits: Any = np.iinfo(dtype) if dtype.kind in "iu" else ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    return float(limits.min), float(limits.max)


def smallest_normal(name: str) -> float:
    """Return the smallest positive number of a floating-point or complex dtype that has all of its digits."""
    dtype = numpy_dtype(name)
    limits: Any = np.finfo(dtype) if dtype.kind == "c" else ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    return float(limits.smallest_normal)


class CastLoss(ValueError):
    """A cast that would lose information. ``kind`` is one of KINDS; see checked_cast."""

    KINDS = ("overflow", "integers", "parts")

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def checked_cast(values: Array, name: str, allowed: Collection[str] = ()) -> Array:
    """Return values in another dtype. Floating-point numbers are rounded to nearest; other losses must be allowed.

    allowed: the losses to accept:
        overflow    a number beyond the range becomes infinite, or the largest or smallest integer
        integers    an integer is rounded to a floating-point number, or a fraction to an integer
        parts       an imaginary part is dropped
    Raises CastLoss for a loss that is not allowed.
    """
    target = numpy_dtype(name)
    if values.dtype == target:
        return values
    if values.dtype.kind == "c" and target.kind != "c":
        if "parts" not in allowed and values.imag.any():
            raise CastLoss("parts", f"{name} cannot represent an imaginary part")
        values = np.ascontiguousarray(values.real)  # .real is a strided view, which cannot be viewed as bytes
    with np.errstate(all="ignore"):
        if target.kind in "iub":
            return _to_integers(values, target, name, allowed)
        result: Array = to_native(values).astype(target, copy=False)  # NumPy cannot cast float8 to float8
        if "overflow" not in allowed and not _keeps_finite(values, result):
            raise CastLoss("overflow", f"a value exceeds the range of {name}")
        if values.dtype.kind in "iu" and "integers" not in allowed and not _is_exact(values, result.real):
            raise CastLoss("integers", f"an integer is rounded in {name}")
    return result


def _to_integers(values: Array, target: np.dtype[Any], name: str, allowed: Collection[str]) -> Array:
    """Return values as integers or booleans, limited to the range of the dtype."""
    low, high = (0, 1) if target.kind == "b" else (np.iinfo(target).min, np.iinfo(target).max)
    if values.dtype.kind in "iub":
        wide = values.astype(np.uint8) if values.dtype.kind == "b" else values
        low, high = max(low, int(np.iinfo(wide.dtype).min)), min(high, int(np.iinfo(wide.dtype).max))
        bounded = np.clip(wide, low, high)
        if "overflow" not in allowed and not np.array_equal(bounded, wide):
            raise CastLoss("overflow", f"a value exceeds the range of {name}")
        integers: Array = bounded.astype(target)
        return integers
    numbers = values.astype(np.float64)
    # Fractions are cut, so 255.5 is within uint8. A 64-bit bound is not exact in float64, which rounds it up to 2^63.
    inside = (
        (numbers > low - 1.0) & (numbers < high + 1.0) if high < 2**53 else (numbers >= low) & (numbers < float(high))
    )
    if "overflow" not in allowed and not inside.all():
        raise CastLoss("overflow", f"a value exceeds the range of {name}")
    if "integers" not in allowed and not np.array_equal(np.trunc(numbers)[inside], numbers[inside]):
        raise CastLoss("integers", f"a fraction is cut in {name}")
    result: Array = np.where(inside, numbers, 0.0).astype(target)
    result[numbers >= float(high)] = high
    result[numbers <= float(low)] = low
    return result


def _is_exact(values: Array, result: Array) -> bool:
    """Return True if floating-point numbers equal the integers they were cast from."""
    numbers = result.astype(np.float64)
    if values.dtype.itemsize < 8:
        return bool(np.array_equal(numbers, values.astype(np.float64)))
    beyond = float(np.iinfo(values.dtype).max)  # rounded up to 2^63 or 2^64, which the dtype does not contain
    return not (numbers >= beyond).any() and bool(np.array_equal(numbers.astype(values.dtype), values))


def _keeps_finite(values: Array, result: Array) -> bool:
    """Return True if no value became infinite or NaN. NaN is checked because float8_e4m3fn has no infinity."""
    finite = np.isfinite(result)
    if finite.all():
        return True
    return np.array_equal(finite, np.isfinite(values)) and np.array_equal(np.isnan(result), np.isnan(values))


def to_native(values: Array) -> Array:
    """Return values in a dtype of NumPy itself, without rounding: bfloat16 and float8 become float32."""
    is_extension = values.dtype.name == "bfloat16" or values.dtype.name.startswith("float8")
    return values.astype(np.float32) if is_extension else values
