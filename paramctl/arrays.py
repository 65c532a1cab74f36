"""Arrays of each dtype that a parameter may have, and what is lost or not between two of them."""

from __future__ import annotations

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


def drawn_as(name: str) -> np.dtype[Any]:
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


def _as_finite(values: Array, made: Array) -> bool:
    """Whether nothing became infinite, or not a number, that was finite."""
    finite = np.isfinite(made)
    return bool(finite.all()) or bool(np.array_equal(finite, np.isfinite(values)))


def printable_numbers(values: Array) -> Array:
    """The values in a dtype that NumPy itself knows, each of them exact: bfloat16 as float32."""
    return values if values.dtype.kind != "V" else values.astype(np.float32)
