"""The array namespace for gradients: HIPS autograd's NumPy, and the operations of compute.space with derivatives.

https://github.com/HIPS/autograd. Only this module knows the library, an extra: ``pip install 'paramctl[grad]'``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from paramctl.compute.space import DERIVATIVES, NUMPY
from paramctl.core.dtypes import Array
from paramctl.errors import InputError

try:
    import autograd.numpy as differentiable
    from autograd.core import make_vjp
    from autograd.extend import defvjp, primitive
    from autograd.tracer import getval
except ImportError as error:
    raise InputError("gradients require autograd: pip install 'paramctl[grad]'") from error


class GradientSpace:
    """autograd's functions, and the operations of NumPySpace, each with its derivatives."""

    def __init__(self) -> None:
        for name, products in DERIVATIVES.items():
            operation = primitive(getattr(NUMPY, name))
            defvjp(operation, *products, argnums=range(len(products)))
            setattr(self, name, operation)

    def __getattr__(self, name: str) -> Any:
        return getattr(differentiable, name)


GRADIENTS = GradientSpace()


def value_of(array: Any) -> Array:
    """Return the array that a traced one holds."""
    while (inner := getval(array)) is not array:
        array = inner
    value: Array = array
    return value


def gradient(
    function: Callable[[Mapping[Any, Array]], Array], arrays: Mapping[Any, Array]
) -> tuple[Array, dict[Any, Array]]:
    """Return the value of a scalar function of arrays, and its gradient with respect to each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent")  # then its gradients are zeros
        product, value = make_vjp(function, dict(arrays))
        return value_of(value), product(differentiable.ones_like(value))
