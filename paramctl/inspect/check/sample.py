"""The output units of a weight, and a sample of the values of each, by which units that may be equal are found.

The unit of a value is its place on the axes of outputs, and its position is its place on the other axes.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.core.parameter import FLOAT_DTYPES, Parameter, bytes_of

SAMPLE_BYTES = 16
"""The bytes of a unit that are compared first. Different units agree in so many by chance once in 2^60 or less."""


class Units(NamedTuple):
    """The output units of a parameter. shape: of all units. positions: the number of values of each."""

    shape: tuple[int, ...]
    positions: int

    @property
    def number(self) -> int:
        return prod(self.shape)


def units_of(parameter: Parameter) -> Units | None:
    """Return the output units of a weight of floating-point numbers whose axes are known; None if it has none."""
    if parameter.kind != "weight" or parameter.fans is None or not parameter.size or not _is_float(parameter.dtype):
        return None
    shape = tuple(axis.size for axis in parameter.axes if axis.role == "out")
    return Units(shape, parameter.size // prod(shape))


def _is_float(dtype: str) -> bool:
    return dtype in FLOAT_DTYPES or dtype.startswith("float8")


def sampled_positions(parameter: Parameter) -> int:
    """Return the number of values of each unit in the sample; 0 if the units are too small to tell them apart."""
    units = units_of(parameter)
    positions = SAMPLE_BYTES // bytes_of(parameter.dtype, 1)
    return positions if units is not None and units.number > 1 and units.positions >= positions else 0


def sampled_values(parameter: Parameter) -> Array | None:
    """Return the sorted indices of the values in the sample; None without one."""
    positions = sampled_positions(parameter)
    return np.sort(sample_indices(parameter, positions).reshape(-1)) if positions else None


def sample_indices(parameter: Parameter, positions: int) -> Array:
    """Return the index in the array of the first values of each unit, as an array (units, positions)."""
    places = _places(parameter, positions)
    return np.ravel_multi_index(tuple(places), parameter.shape)


def _places(parameter: Parameter, positions: int) -> list[Array]:
    """Return the index on each axis of the first values of each unit."""
    outputs = tuple(axis.size for axis in parameter.axes if axis.role == "out")
    others = tuple(axis.size for axis in parameter.axes if axis.role != "out")
    unit = iter(np.unravel_index(np.arange(prod(outputs))[:, None], outputs))
    position = iter(np.unravel_index(np.arange(positions)[None, :], others))
    places = [next(unit) if axis.role == "out" else next(position) for axis in parameter.axes]
    return [np.broadcast_to(place, (prod(outputs), positions)) for place in places]


def units_and_positions(parameter: Parameter, start: int, stop: int) -> tuple[Array, Array]:
    """Return the unit and the position of each value from one index to another."""
    places = np.unravel_index(np.arange(start, stop), parameter.shape)
    roles = [axis.role == "out" for axis in parameter.axes]
    return tuple(  # type: ignore[return-value]
        np.ravel_multi_index(
            [place for place, is_out in zip(places, roles, strict=True) if is_out == wanted],
            [axis.size for axis, is_out in zip(parameter.axes, roles, strict=True) if is_out == wanted],
        )
        for wanted in (True, False)
    )
