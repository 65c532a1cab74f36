"""The arithmetic of assignments, exact for integers, and the comparison of values before and after."""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from paramctl.core.dtypes import Array, cast, numpy_dtype

Number: TypeAlias = bool | int | float | complex
"""A number of Python's own, which takes the dtype of the array that it meets (NEP 50). An array never does."""

OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+=": np.add,
    "-=": np.subtract,
    "*=": np.multiply,
    "/=": np.true_divide,
}

_EXACT: dict[str, Callable[[int, int], int]] = {"+=": python.add, "-=": python.sub, "*=": python.mul}
_INT64 = range(-(2**63), 2**63)


def compute(operator: str, values: Array, operand: Array | Number, dtype: str) -> Array:
    """Apply an operator as NumPy does, or exactly to integers.

    dtype: of the array, for errors.
    Raises OverflowError if finite numbers have a result that is not.
    """
    operands = np.asarray(operand)
    if operator == "=":
        return operands
    if values.dtype.kind in "biu":
        if operands.dtype.kind == "c" or not np.isfinite(operands.astype(np.float64)).all():
            raise OverflowError(f"{dtype} cannot hold the value")
        exact = _in_int64(operator, values, operands)
        if exact is None:  # computed as Python's integers, which cannot overflow: the check of the dtype comes last
            exact = OPERATIONS[operator](values.astype(object), _exact(operands))
        return exact
    with np.errstate(all="ignore"):
        # in NumPy's dtype: a float16 array times a float32 array is float32, times a number of Python's it is float16
        result: Array = OPERATIONS[operator](values, operand)
        finite = np.isfinite(result)  # which warns of a signaling NaN in bfloat16
        # the second question gathers values, so it is only asked where the first leaves a doubt
        if not finite.all() and not finite[np.isfinite(values) & np.isfinite(operands)].all():
            raise OverflowError("the result of finite numbers must be finite")
    return result


def _in_int64(operator: str, values: Array, operands: Array) -> Array | None:
    """Return the result of integer arithmetic if int64 holds it whatever the values, None otherwise.

    It saves the objects of Python's integers, which take a hundred times as long.
    """
    if operands.dtype.kind == "f":  # 2.0 counts as 2
        whole = np.abs(operands) < 2.0**53
        operands = operands.astype(np.int64) if whole.all() and (np.trunc(operands) == operands).all() else operands
    if operands.dtype.kind not in "biu":
        return None
    bounds = [(left, right) for left in _bounds(values) for right in _bounds(operands)]
    # sums and products of values between these bounds are between those of the bounds
    if not all(number in _INT64 for pair in bounds for number in (*pair, _EXACT[operator](*pair))):
        return None
    result: Array = OPERATIONS[operator](values.astype(np.int64), operands.astype(np.int64))
    return result


def _bounds(values: Array) -> tuple[int, int]:
    """Return the smallest and the largest of some integers."""
    return int(values.min()), int(values.max())


def _exact(values: Array) -> Array:
    """Return values as Python's integers and fractions, for arithmetic with integer arrays."""
    from fractions import Fraction  # only integer arrays need it

    numbers = values.reshape(-1).tolist()
    exact = np.empty(len(numbers), object)
    exact[:] = [Fraction(number) if isinstance(number, float) else number for number in numbers]
    return exact.reshape(values.shape)


def to_dtype(values: Array, dtype: str) -> Array:
    """Return values in a dtype, floats rounded. Raises OverflowError for a value that the dtype cannot hold."""
    wanted = numpy_dtype(dtype)
    if values.dtype.kind == "c" and wanted.kind != "c":
        raise OverflowError(f"{dtype} cannot hold a complex value")
    if wanted.kind not in "biu":
        return cast(values, dtype)
    converted = _to_integers(values, wanted)
    if converted is None:
        raise OverflowError(f"{dtype} cannot hold the value")
    return converted


def _to_integers(values: Array, wanted: np.dtype[Any]) -> Array | None:
    """Return values in a dtype of integers or booleans, None unless it holds each exactly."""
    low, high = (0, 1) if wanted.kind == "b" else (int(np.iinfo(wanted).min), int(np.iinfo(wanted).max))
    if values.size and values.dtype.kind in "biu":
        smallest, largest = _bounds(values)
        return values.astype(wanted) if low <= smallest and largest <= high else None
    if values.dtype.kind == "f" and values.itemsize <= 8:
        numbers = values.astype(np.float64)
        # high + 1 is a power of two, and so a floating-point number, which high of 64 bits is not
        fits = (numbers >= float(low)) & (numbers < float(high + 1)) & (np.trunc(numbers) == numbers)
        return numbers.astype(wanted) if fits.all() else None
    try:
        with np.errstate(all="ignore"):
            converted = values.astype(wanted)
    except (OverflowError, ValueError):
        return None
    return converted if np.array_equal(converted.astype(object), values.astype(object)) else None


def count_changed(before: Array, after: Array) -> tuple[int, float]:
    """Return the number of values that differ, and the largest absolute difference.

    The difference is NaN or infinite if a value that has changed is, before or after.
    """
    with np.errstate(all="ignore"):
        largest = _largest_difference(before, after) if before.size else 0.0
        if np.isfinite(largest):
            return int(np.count_nonzero(after != before)), largest
        # NaN differs from itself, but a NaN that was a NaN has not changed
        different = np.flatnonzero((after != before) & ~((after != after) & (before != before)))
        if not different.size:
            return 0, 0.0
        wide: Any = np.complex128 if after.dtype.kind == "c" else np.float64
        if after.dtype.kind in "iu":
            wide = object  # Python's integers: float64 would round those beyond 2^53
        return different.size, float(np.max(np.abs(after[different].astype(wide) - before[different].astype(wide))))


def _largest_difference(before: Array, after: Array) -> float:
    """Return the largest absolute difference of any two values, or NaN or infinity if one is, or int64 overflows."""
    if after.dtype.kind in "biu":
        if after.itemsize == 8 and not all(abs(bound) < 2**62 for each in (before, after) for bound in _bounds(each)):
            return np.inf
        return float(np.abs(after.astype(np.int64) - before.astype(np.int64)).max())
    if after.dtype.kind == "c":
        return float(np.abs(after.astype(np.complex128) - before.astype(np.complex128)).max())
    narrow = np.float64 if after.itemsize == 8 else np.float32
    difference = after.astype(narrow, copy=False) - before.astype(narrow, copy=False)
    np.abs(difference, out=difference)
    largest = difference.max()
    if narrow is np.float64 or not np.isfinite(largest):
        return float(largest)
    # Rounding keeps the order, so float32 finds the values with the largest difference; float64 says how large it is.
    found = np.flatnonzero(difference == largest)
    return float(np.abs(after[found].astype(np.float64) - before[found].astype(np.float64)).max())
