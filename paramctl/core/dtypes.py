"""Arrays of each dtype that a parameter may have, and what is lost or not between two of them."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """NumPy's dtype for one of the names in ``parameter.BYTES``."""
    if name == "bfloat16" or name.startswith("float8"):
        made: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return made
    return np.dtype(name)


def compute_dtype(name: str) -> np.dtype[Any]:
    """The dtype in which values are computed before they are rounded to this one."""
    return np.dtype(np.float64 if name == "float64" else np.float32)


def cast(values: Array, name: str) -> Array:
    """The values in another dtype, rounded to nearest, as they are if they have it.

    Raises OverflowError if a finite value has no finite counterpart.
    """
    wanted = numpy_dtype(name)
    if values.dtype == wanted:
        return values
    with np.errstate(all="ignore"):
        made = values.astype(wanted)
        if made.itemsize < values.itemsize and made.dtype.kind in "fV" and not _as_finite(values, made):
            raise OverflowError(f"a value exceeds what {name} holds")
    return made


class CastLoss(ValueError):
    """What a cast would lose: ``kind`` is one of KINDS."""

    KINDS = ("overflow", "integers", "parts")

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


def checked_cast(values: Array, name: str, allowed: Collection[str] = ()) -> Array:
    """The values in another dtype: floating-point numbers rounded to nearest, nothing else lost unless it is allowed.

    overflow: a number beyond the range, which becomes infinite, or a whole number's nearest end. integers: a whole
    number that a floating-point dtype rounds, or a fraction that a whole number has not. parts: an imaginary part.
    Raises Loss.
    """
    wanted = numpy_dtype(name)
    if values.dtype == wanted:
        return values
    if values.dtype.kind == "c" and wanted.kind != "c":
        if "parts" not in allowed and values.imag.any():
            raise CastLoss("parts", f"a complex number has an imaginary part, which {name} has not")
        values = np.ascontiguousarray(values.real)
    with np.errstate(all="ignore"):
        if wanted.kind in "iub":
            return _to_whole(values, wanted, name, allowed)
        made: Array = to_native(values).astype(wanted, copy=False)  # NumPy knows no way from float8 to float8
        if "overflow" not in allowed and not _as_finite(values, made):
            raise CastLoss("overflow", f"a value exceeds what {name} holds")
        if values.dtype.kind in "iu" and "integers" not in allowed and not _exact(values, made.real):
            raise CastLoss("integers", f"a whole number is rounded in {name}")
    return made


def _to_whole(values: Array, wanted: np.dtype[Any], name: str, allowed: Collection[str]) -> Array:
    """The values as whole numbers, or as flags."""
    low, high = (0, 1) if wanted.kind == "b" else (np.iinfo(wanted).min, np.iinfo(wanted).max)
    if values.dtype.kind in "iub":
        wide = values.astype(np.uint8) if values.dtype.kind == "b" else values
        low, high = max(low, int(np.iinfo(wide.dtype).min)), min(high, int(np.iinfo(wide.dtype).max))
        bounded = np.clip(wide, low, high)
        if "overflow" not in allowed and not np.array_equal(bounded, wide):
            raise CastLoss("overflow", f"a value exceeds what {name} holds")
        whole: Array = bounded.astype(wanted)
        return whole
    numbers = values.astype(np.float64)
    inside = (
        (numbers > low - 1.0) & (numbers < high + 1.0) if high < 2**53 else (numbers >= low) & (numbers < float(high))
    )
    if "overflow" not in allowed and not inside.all():
        raise CastLoss("overflow", f"a value exceeds what {name} holds")
    if "integers" not in allowed and not np.array_equal(np.trunc(numbers)[inside], numbers[inside]):
        raise CastLoss("integers", f"a fraction is lost in {name}")
    made: Array = np.where(inside, numbers, 0.0).astype(wanted)
    made[numbers >= float(high)] = high
    made[numbers <= float(low)] = low
    return made


def _exact(values: Array, made: Array) -> bool:
    """Whether floating-point numbers are the whole numbers that they were made of."""
    numbers = made.astype(np.float64)
    if values.dtype.itemsize < 8:
        return bool(np.array_equal(numbers, values.astype(np.float64)))
    beyond = float(np.iinfo(values.dtype).max)  # rounded up: no whole number of this dtype
    return not (numbers >= beyond).any() and bool(np.array_equal(numbers.astype(values.dtype), values))


def _as_finite(values: Array, made: Array) -> bool:
    """Whether nothing became infinite, or not a number, that was not: some dtypes have no infinity."""
    finite = np.isfinite(made)
    if finite.all():
        return True
    return np.array_equal(finite, np.isfinite(values)) and np.array_equal(np.isnan(made), np.isnan(values))


def to_native(values: Array) -> Array:
    """The values in a dtype that NumPy itself knows, each of them exact: bfloat16 as float32."""
    foreign = values.dtype.name == "bfloat16" or values.dtype.name.startswith("float8")
    return values.astype(np.float32) if foreign else values
