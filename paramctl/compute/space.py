"""The array namespace of NumPy, with the operations that layers need beyond its functions.

A layer calls ``xp.exp(x)`` or ``xp.relu(x)`` without knowing whose arrays they are. A namespace for gradients has the
same names: it replaces NumPy's functions by its library's, and registers the derivatives of the operations here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from paramctl.core.dtypes import Array


class NumPySpace:
    """NumPy's functions, and further operations on its arrays."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def relu(self, x: Array) -> Array:
        """Return max(x, 0). Its derivative at 0 is 0."""
        return np.maximum(x, 0)


NUMPY = NumPySpace()

Product = Callable[..., Callable[[Array], Array]]
"""From the result of an operation and its arguments to the product of a vector with the derivative by one of them."""

DERIVATIVES: dict[str, tuple[Product, ...]] = {
    "relu": (lambda result, x: lambda vector: vector * (x > 0),),
}
"""The products for each argument that is differentiated, by the name of an operation of NumPySpace."""
