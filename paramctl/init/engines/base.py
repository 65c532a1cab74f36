"""The engine protocol: how a source asks for random values.

An engine turns a seed, and the parameters to draw in the order of the model, into values. An addressable engine gives
any block of any parameter by itself. A sequential engine, such as a framework's single random stream, must pass over
everything before a block to give it. A source asks both in the same way; only the cost of another order differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from paramctl.core.dtypes import Array


class DrawRequest(NamedTuple):
    """A parameter to draw: its distribution, its shape, and the dtype to draw in.

    distribution: one of init.distributions, or a law that the engine of a framework declares beside itself.
    dtype: float32 or float64 in the native engine; in that of a framework, any dtype in which the framework draws.
    """

    distribution: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Draws(Protocol):
    """The values of a model under one seed. Its methods may be called from several threads."""

    def block_size(self, path: str) -> int:
        """Return the number of values in a block of a parameter: of all but the last, which may be shorter."""
        ...

    def draw(self, path: str, block: int) -> Array:
        """Return the values of one block of a parameter: flat, in C order, in the requested dtype.

        Raises OverflowError if the dtype cannot hold a value, and TooLargeToDraw for a parameter with too many values.
        """
        ...


class Engine(Protocol):
    """A generator of random values.

    name: the key in the registry.
    recipe: the version of the values, which files record. Other values for the same seed are another recipe.
    addressable: True if a block costs the same wherever it is; False if the engine is sequential.
    """

    @property
    def name(self) -> str: ...

    @property
    def recipe(self) -> int: ...

    @property
    def addressable(self) -> bool: ...

    def start(self, seed: int, requests: Mapping[str, DrawRequest]) -> Draws:
        """Return the values for a seed. ``requests`` lists the parameters to draw by path, in the model's order."""
        ...


class TooLargeToDraw(ValueError):
    """A parameter has more values than the engine can draw at once."""
