"""The values of inputs and targets in the dtype of a computation, without a silent loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.errors import AddressError


def as_floating(values: Array, dtype: np.dtype[Any], place: str, start: int, finite: bool) -> Array:
    """Return real numbers in a dtype.

    place: the array in words, for errors. start: the number of its first row. finite: NaN and infinity are errors.
    Raises AddressError, with the row, for values that are not real or exceed the range of the dtype.
    """
    values = _without_extension(values)
    if values.dtype.kind not in "biuf":
        raise AddressError(f"{place} must have real numbers", values.dtype.name)
    with np.errstate(over="ignore"):
        converted = values.astype(dtype, copy=False)
    if np.isfinite(converted).all():
        return converted
    if finite:
        _refuse(f"{place} must be finite", values, ~np.isfinite(values), start)
    hint = "Compute in float64." if dtype.itemsize < 8 else ""
    _refuse(
        f"{place} must be within the range of {dtype.name}",
        values,
        np.isfinite(values) & np.isinf(converted),
        start,
        hint,
    )
    return converted


def as_whole(values: Array, place: str, start: int) -> Array:
    """Return values as integers. Raises AddressError, with the row, if one is not whole or exceeds int64."""
    values = _without_extension(values)
    if values.dtype.kind not in "biuf":
        raise AddressError(f"{place} must have whole numbers", f"{values.dtype.name} values")
    if values.dtype.kind in "bi":
        return values.astype(np.int64, copy=False)
    if values.dtype.kind == "u":
        _refuse(f"{place} must be less than 2^63", values, values > np.iinfo(np.int64).max, start)
        return values.astype(np.int64, copy=False)
    with np.errstate(invalid="ignore"):
        integers = values.astype(np.int64)
        _refuse(f"{place} must have whole numbers", values, (integers != values) | (values >= 2.0**63), start)
    return integers


def _without_extension(values: Array) -> Array:
    """Return numbers of ml_dtypes, such as bfloat16 and int4, as float32, which represents all of them."""
    return values.astype(np.float32) if values.dtype.type.__module__ == "ml_dtypes" else values


def _refuse(rule: str, values: Array, wrong: Array, start: int, hint: str = "") -> None:
    """Raise AddressError with the first wrong value and its row, if a value is wrong."""
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        row = f" in row {start + place[0]:,}" if place else ""
        raise AddressError(rule, f"{values[place]}{row}", hint)
