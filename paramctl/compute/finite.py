"""The first values that are not finite, in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from paramctl.core.dtypes import Array


def is_finite(values: Array) -> bool:
    """Return whether no value is NaN or an infinity."""
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


def place_not_finite(values: Array, start: int = 0) -> str:
    """Return the kind and the place of the first value that is not finite: ``NaN at [3, 0]``.

    start: the row at which the values begin.
    """
    at = np.unravel_index(int(np.argmin(np.isfinite(values))), values.shape)
    kind = "NaN" if np.isnan(values[at]) else "an infinity"
    place = [int(index) for index in at]
    return f"{kind} at {[start + place[0], *place[1:]] if place else place}"


def input_not_finite(inputs: Mapping[str, Array], start: int = 0) -> str:
    """Return which input has a value that is not finite, and where; an empty string if none has."""
    for name, values in inputs.items():
        if not is_finite(values):
            return f"the input {name!r} has {place_not_finite(values, start)}"
    return ""
