"""The engine of Flax' initial values: jax.nn.initializers on a CPU, each with a key of its own.

Every key is folded from the seed's, so any block of any parameter can be drawn alone.
Source: jax.nn.initializers of JAX 0.10. Its arithmetic is in the parameter's dtype, as is the scale of the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any

import numpy as np

from paramctl.core.blas import one_thread
from paramctl.core.dtypes import Array
from paramctl.init.distributions import Centered, Constant, Normal, Orthogonal, TruncatedNormal, Uniform
from paramctl.init.engines.base import DrawRequest, TooLargeToDraw
from paramctl.init.engines.jax_random import normal, truncated_normal, uniform
from paramctl.init.engines.native import MAX_DRAWN_WHOLE
from paramctl.init.engines.streams import BLOCK_SIZE
from paramctl.init.engines.threefry import RandomBits, fold_in, key
from paramctl.init.schemes import TRUNCATED_STDDEV


@dataclass(frozen=True, slots=True)
class VarianceScaling:
    """The values of jax.nn.initializers.variance_scaling.

    variance: its scale, divided by the fan. shape: ``uniform``, ``normal`` or ``truncated_normal``.
    """

    variance: float
    shape: str

    def factor(self, dtype: np.dtype[Any]) -> Any:
        """Return the factor of values between -1 and 1, or of standard normal ones, computed in their dtype."""
        number = dtype.type
        variance = number(self.variance)
        if self.shape == "uniform":
            return number(np.sqrt(number(number(3) * variance)))
        stddev = number(np.sqrt(variance))
        return number(stddev / number(TRUNCATED_STDDEV)) if self.shape == "truncated_normal" else stddev


@dataclass(frozen=True, slots=True)
class Keyed:
    """The values of a law under the seed's key with 32 bits of data folded in.

    law: Uniform, Normal, TruncatedNormal at 2 standard deviations, VarianceScaling, Orthogonal, or Centered.
    """

    data: int
    law: Any


@dataclass(frozen=True, slots=True)
class FlaxEngine:
    """The engine of jax.nn.initializers. Its requests have the laws Constant and Keyed."""

    name: str = "flax"
    recipe: int = 1
    addressable: bool = True

    def start(self, seed: int, requests: Mapping[str, DrawRequest]) -> FlaxDraws:
        """Return the values for a seed, of which only the low 32 bits count. Their order does not matter."""
        return FlaxDraws(seed, requests)


FLAX = FlaxEngine()


@dataclass(frozen=True, slots=True)
class FlaxDraws:
    """The values of a model under one seed."""

    seed: int
    requests: Mapping[str, DrawRequest]

    def block_size(self, path: str) -> int:
        """Return the size of a block, or of a parameter that is drawn at once."""
        law, shape, _ = self.requests[path]
        is_whole = isinstance(law, Keyed) and isinstance(law.law, (Orthogonal, Centered))
        return max(1, prod(shape)) if is_whole else BLOCK_SIZE

    def draw(self, path: str, block: int) -> Array:
        """Return the values of one block. Raises OverflowError and TooLargeToDraw."""
        law, shape, dtype = self.requests[path]
        start = block * BLOCK_SIZE
        stop = min(start + BLOCK_SIZE, prod(shape))
        if isinstance(law, Constant):
            return np.full(stop - start, _number(law.value, dtype))
        source = RandomBits(fold_in(key(self.seed), law.data))
        if isinstance(law.law, (Orthogonal, Centered)):
            return _whole(law.law, source, prod(shape), dtype)
        return _values(law.law, source, start, stop, dtype)


def _values(law: Any, source: RandomBits, start: int, stop: int, dtype: np.dtype[Any]) -> Array:
    """Return the values of a law from one index to another."""
    name = dtype.name
    match law:
        case Uniform(low, high):
            return uniform(source, start, stop, name, _number(low, dtype), _number(high, dtype))
        case Normal(_, stddev):
            values, factor = normal(source, start, stop, name), _number(stddev, dtype)
        case TruncatedNormal(_, stddev):
            values, factor = truncated_normal(source, start, stop, name), _number(stddev, dtype)
        case VarianceScaling(_, "uniform"):
            values, factor = uniform(source, start, stop, name, -1.0, 1.0), law.factor(dtype)
        case VarianceScaling(_, "normal"):
            values, factor = normal(source, start, stop, name), law.factor(dtype)
        case VarianceScaling():
            values, factor = truncated_normal(source, start, stop, name), law.factor(dtype)
        case _:
            raise TypeError(f"{law} has no counterpart in jax.nn.initializers")
    values *= factor
    return values


def _whole(law: Orthogonal | Centered, source: RandomBits, size: int, dtype: np.dtype[Any]) -> Array:
    """Return all values of orthogonal or delta_orthogonal. LAPACK decides over their last bits."""
    if size > MAX_DRAWN_WHOLE:
        raise TooLargeToDraw(f"an orthogonal matrix supports at most {MAX_DRAWN_WHOLE:,} values, not {size:,}")
    if isinstance(law, Centered):
        kernel = np.zeros((law.fields, law.inner.rows * law.inner.columns), dtype)
        kernel[law.position] = _whole(law.inner, source, kernel.shape[1], dtype)
        return kernel.reshape(-1)
    return orthonormal(law, normal(source, 0, size, dtype.name), _number(law.gain, dtype))


def orthonormal(matrix: Orthogonal, normals: Array, gain: Any) -> Array:
    """Return an orthogonal matrix, flat, from standard normal values, as JAX and Keras compute it by LAPACK."""
    tall, wide = max(matrix.rows, matrix.columns), min(matrix.rows, matrix.columns)
    with one_thread():
        q, r = np.linalg.qr(normals.reshape(tall, wide))
    q *= np.sign(np.diag(r))
    q *= gain
    return np.ascontiguousarray(q.T if matrix.rows < matrix.columns else q).reshape(-1)


def _number(value: float, dtype: np.dtype[Any]) -> Any:
    """Return a number in a dtype. Raises OverflowError if the dtype cannot hold it."""
    with np.errstate(over="ignore"):
        number = dtype.type(value)
    if isfinite(value) and not isfinite(float(number)):
        raise OverflowError(f"a value exceeds the range of {dtype}")
    return number
