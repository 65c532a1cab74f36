"""Checks of arguments that several functions of the library take.

Each raises TypeError for another type, and AddressError for a value that the argument cannot have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from operator import index
from typing import Any, get_args

from paramctl.address.resolve import Filters
from paramctl.core.parameter import ParameterKind
from paramctl.declare.located import MAX_INTEGER
from paramctl.errors import AddressError, suggest

InputLike = Any
"""Inputs of a model: an array, weights, a path of either, or a mapping from the names of inputs to these."""


def choice(name: str, value: str | None, known: Iterable[str]) -> None:
    """Check that a value is None or one of the known texts."""
    if value is None:
        return
    expect(name, value, str, "a text")
    if value not in known:
        raise AddressError(f"{name} must be one of {', '.join(known)}", repr(value), suggest(value, known))


def expect(name: str, value: Any, types: type | tuple[type, ...], kind: str) -> None:
    """Check the type of a value. kind: the type in words."""
    if not isinstance(value, types):
        raise TypeError(f"{name} must be {kind} (got {type(value).__name__})")


def as_json(name: str, value: Any) -> str:
    """Return a value as the text of a document, which has only numbers, texts, lists and mappings."""
    try:
        return json.dumps(value)
    except TypeError as error:  # such as NumPy's numbers
        raise TypeError(f"{name} must have only numbers, texts, lists and mappings ({error})") from None


def whole(name: str, value: int | None, least: int) -> int | None:
    """Return a whole number as Python's, or None. NumPy's integers are whole numbers too; bools are not."""
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a whole number (got {type(value).__name__})")
    if index(value) < least:
        raise AddressError(f"{name} must be at least {least}", f"{value}")
    return index(value)


def seed(value: int | None) -> int | None:
    """Return a seed, a whole number from 0 to 2^63 - 1, or None."""
    number = whole("seed", value, 0)
    if number is not None and number > MAX_INTEGER:
        raise AddressError("seed must be less than 2^63", f"{value}")
    return number


def filters(trainable: bool | None, dtype: str | None, kind: str | None, min_size: int | None) -> Filters:
    """Return the conditions on parameters that functions take."""
    if trainable is not None:
        expect("trainable", trainable, bool, "a bool")
    if dtype is not None:
        expect("dtype", dtype, str, "a text")
    choice("kind", kind, get_args(ParameterKind))
    return Filters(trainable, dtype, kind, whole("min_size", min_size, 0))


def tolerance(name: str, value: float) -> float:
    """Return a tolerance, a number that is not negative."""
    expect(name, value, (int, float), "a number")
    if not value >= 0:  # NaN too
        raise AddressError(f"{name} must be at least 0", f"{value}")
    return float(value)


def probabilities(values: Sequence[float]) -> tuple[float, ...]:
    """Return probabilities of quantiles, numbers from 0 to 1."""
    for value in values:
        expect("a probability of quantiles", value, (int, float), "a number")
        if not 0 <= value <= 1:
            raise AddressError("a probability of quantiles must be from 0 to 1", f"{value}")
    return tuple(float(value) + 0.0 for value in values)  # 0.0 for -0.0
