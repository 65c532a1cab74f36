"""The initial values of Keras' initializers, on each of its backends.

``keras.utils.set_random_seed(seed)`` seeds Python's own generator. Each random initializer, and each layer that needs
random numbers, takes a seed from it when it is made. The values of a parameter depend on this seed alone, and the
backend computes them: by a generator of torch, by a key of JAX, or by TensorFlow's stateless functions.

Source: Keras 3.15, initializers/random_initializers.py, random/seed_generator.py and backend/*/random.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.errors import AddressError
from paramctl.init.distributions import Constant, Delta, Normal, Orthogonal, TruncatedNormal, Uniform
from paramctl.init.engines import jax_random, philox
from paramctl.init.engines.base import DrawRequest, TooLargeToDraw
from paramctl.init.engines.flax import orthonormal
from paramctl.init.engines.mt19937 import Words
from paramctl.init.engines.native import MAX_DRAWN_WHOLE
from paramctl.init.engines.philox import Philox
from paramctl.init.engines.streams import BLOCK_SIZE
from paramctl.init.engines.threefry import RandomBits
from paramctl.init.engines.torch_kernels import Kernels, Place, Tensor

SEEDS = (1, 10**9)
"""The first and the last seed that an initializer takes."""
MAX_SEED = (1 << 32) - 1
"""The largest seed that set_random_seed accepts, because it seeds NumPy too."""
TENSORFLOW_SEEDS = 2**31 - 2
"""TensorFlow's seeds are the remainders of this division."""

CANDIDATES = 4
"""The number of normal values that torch's backend draws for one truncated value."""
OPEN_STREAMS = 16
"""The number of torch's generators that are kept at once: more than threads read parameters."""

RandomLaw: TypeAlias = Uniform | Normal | TruncatedNormal | Orthogonal


@dataclass(frozen=True, slots=True)
class OnlySeed:
    """A seed that is taken by something whose values are not read, such as a Dropout or a copied initializer."""


@dataclass(frozen=True, slots=True)
class Again:
    """A further call of the initializer of an earlier request, which begins with the same seed."""

    first: str
    law: RandomLaw


class Block(NamedTuple):
    """A range of the values of a tensor: the seed, the number of all values, the range, and the dtype."""

    seed: int
    size: int
    start: int
    stop: int
    dtype: np.dtype[Any]


Backend: TypeAlias = Callable[[Uniform | Normal | TruncatedNormal, Block], Array]
"""A function that returns values of a backend's law."""


@dataclass(frozen=True, slots=True)
class KerasEngine:
    """Keras on one backend."""

    name: str
    backend: Backend
    recipe: int = 1
    addressable: bool = True

    def start(self, seed: int, requests: Mapping[str, DrawRequest]) -> KerasDraws:
        """Return the values for a seed of set_random_seed. Raises AddressError for a seed that it refuses."""
        if not 0 <= seed <= MAX_SEED:
            raise AddressError(f"--exactly {self.name}: the seed must be from 0 to {MAX_SEED:,}", str(seed))
        return KerasDraws(self.backend, requests, _seeds(seed, requests))


def _seeds(seed: int, requests: Mapping[str, DrawRequest]) -> dict[str, int]:
    """Return the seed that each random request takes, by name."""
    generator = random.Random(seed)  # noqa: S311
    seeds: dict[str, int] = {}
    for name, (law, *_) in requests.items():
        if isinstance(law, Again):
            seeds[name] = seeds[law.first]
        elif isinstance(law, OnlySeed | RandomLaw):
            seeds[name] = generator.randint(*SEEDS)
    return seeds


@dataclass(frozen=True, slots=True)
class KerasDraws:
    """The values of a model under one seed."""

    backend: Backend
    requests: Mapping[str, DrawRequest]
    seeds: Mapping[str, int]

    def block_size(self, path: str) -> int:
        """Return BLOCK_SIZE, or the size of an orthogonal matrix, which is drawn at once."""
        request = self.requests[path]
        return max(1, prod(request.shape)) if isinstance(_law(request), Orthogonal) else BLOCK_SIZE

    def draw(self, path: str, block: int) -> Array:
        """Return the values of one block. Raises OverflowError and TooLargeToDraw."""
        request = self.requests[path]
        law, size, dtype = _law(request), prod(request.shape), request.dtype
        start = block * BLOCK_SIZE
        stop = min(start + BLOCK_SIZE, size)
        match law:
            case Constant(value):
                return np.full(stop - start, _checked(value, dtype), dtype)
            case Delta(value, ((first, step, count),), _):
                values = np.full(stop - start, value * 0.0, dtype)  # -0 for a negative gain, as Keras' product gives
                diagonal = np.arange(count) * step + first - start
                values[diagonal[(diagonal >= 0) & (diagonal < stop - start)]] = _checked(value, dtype)
                return values
            case Orthogonal():
                return self._orthogonal(law, self.seeds[path], dtype)
            case _:
                return self.backend(law, Block(self.seeds[path], size, start, stop, dtype))

    def _orthogonal(self, matrix: Orthogonal, seed: int, dtype: np.dtype[Any]) -> Array:
        """Return an orthogonal matrix, flat. Its last bits depend on LAPACK."""
        size = matrix.rows * matrix.columns
        if size > MAX_DRAWN_WHOLE:
            raise TooLargeToDraw(f"orthogonal supports at most {MAX_DRAWN_WHOLE:,} values, not {size:,}")
        normals = self.backend(Normal(0.0, 1.0), Block(seed, size, 0, size, dtype))
        return orthonormal(matrix, normals, dtype.type(matrix.gain))


def _law(request: DrawRequest) -> Any:
    law = request.distribution
    return law.law if isinstance(law, Again) else law


def _checked(value: float, dtype: np.dtype[Any]) -> float:
    """Return a value. Raises OverflowError if the dtype cannot hold it."""
    with np.errstate(over="ignore"):
        is_held = dtype.kind in "iu" or np.isfinite(np.array(value).astype(dtype))
    if not is_held:
        raise OverflowError(f"a value exceeds the range of {dtype}")
    return value


@lru_cache(maxsize=OPEN_STREAMS)
def _words(seed: int) -> Words:
    """Return the words of a generator of torch, which keeps the states that later blocks need."""
    return Words(seed)


def _with_torch(law: Uniform | Normal | TruncatedNormal, block: Block) -> Array:
    """Return values as keras.random on torch, which makes a generator of its own for each tensor."""
    kernels, (_, size, start, stop, dtype) = Kernels(_words(block.seed), fused=True), block
    match law:
        case Uniform(low, high):
            values = kernels.uniform(Tensor(size, dtype, Place()), 0.0, 1.0, start, stop)
            return _by_scalars(values, high - low, low)
        case Normal(mean, stddev):
            return kernels.normal(Tensor(size, dtype, Place()), mean, stddev, start, stop)
        case TruncatedNormal(mean, stddev):
            tensor = Tensor(CANDIDATES * size, dtype, Place())
            drawn = kernels.normal(tensor, 0.0, 1.0, CANDIDATES * start, CANDIDATES * stop).reshape(-1, CANDIDATES)
            first = np.argmax((drawn > -2) & (drawn < 2), axis=1)  # that of the first, if none fits
            return _by_scalars(np.take_along_axis(drawn, first[:, None], axis=1)[:, 0], stddev, mean)


def _by_scalars(values: Array, factor: float, offset: float) -> Array:
    """Return values times a number plus a number, as torch does it.

    Half types are computed in float32, where a factor is rounded to float32 alone, but a summand to the half type.
    """
    dtype = values.dtype
    wide = np.float32 if dtype.itemsize == 2 else dtype.type
    product = (values.astype(wide, copy=False) * wide(factor)).astype(dtype, copy=False)
    return (product.astype(wide, copy=False) + wide(dtype.type(offset))).astype(dtype, copy=False)


def _with_jax(law: Uniform | Normal | TruncatedNormal, block: Block) -> Array:
    """Return values as keras.random on JAX, which uses the seed as a key."""
    bits, (_, _, start, stop, dtype) = RandomBits((block.seed, 0)), block
    match law:
        case Uniform(low, high):
            return jax_random.uniform(bits, start, stop, dtype.name, low, high)
        case Normal():
            return _scaled(jax_random.normal(bits, start, stop, dtype.name), law)
        case TruncatedNormal():
            return _scaled(jax_random.truncated_normal(bits, start, stop, dtype.name), law)


def _with_tensorflow(law: Uniform | Normal | TruncatedNormal, block: Block) -> Array:
    """Return values as keras.random on TensorFlow, by its stateless functions."""
    stream, (_, _, start, stop, dtype) = Philox.of_seed(block.seed % TENSORFLOW_SEEDS), block
    match law:
        case Uniform(low, high):
            values = philox.uniform(stream, start, stop, dtype)
            values *= dtype.type(high) - dtype.type(low)
            values += dtype.type(low)
            return values
        case Normal():
            return _scaled(philox.normal(stream, start, stop).astype(dtype, copy=False), law)
        case TruncatedNormal():
            return _scaled(philox.truncated_normal(stream, start, stop).astype(dtype, copy=False), law)


def _scaled(values: Array, law: Normal | TruncatedNormal) -> Array:
    """Return standard values times the deviation, plus the mean: two operations in the dtype of the values."""
    values *= values.dtype.type(law.stddev)
    values += values.dtype.type(law.mean)
    return values


ON_TORCH = KerasEngine("keras:torch", _with_torch)
ON_JAX = KerasEngine("keras:jax", _with_jax)
ON_TENSORFLOW = KerasEngine("keras:tensorflow", _with_tensorflow)
