"""trunc_normal_ of torch.nn.init since torch 2.12: whole tensors are redrawn until every value is within the bounds."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.init.engines.streams import BLOCK_SIZE
from paramctl.init.engines.torch_kernels import Kernels, Place, Tensor, after_normal
from paramctl.init.engines.torch_laws import TruncatedAt

BY_NORMALS = 0.3
"""The probability of a value within the bounds above which torch redraws normal numbers."""


def after(law: TruncatedAt, tensor: Tensor, kernels: Kernels) -> Place:
    """Return the place after a tensor. Unless no value can be beyond the bounds, it has to be drawn."""
    _check(law)
    rounds = 1
    for start in range(0, tensor.size, BLOCK_SIZE):
        rounds = max(rounds, _draw(law, tensor, kernels, start, min(start + BLOCK_SIZE, tensor.size))[1])
    for _ in range(rounds):
        tensor = tensor._replace(place=after_normal(tensor))
    return tensor.place


def values(law: TruncatedAt, tensor: Tensor, kernels: Kernels, start: int, stop: int) -> Array:
    """Return the values of a tensor from one flat index, a multiple of 16, to another."""
    _check(law)
    return _draw(law, tensor, kernels, start, stop)[0]


def _draw(law: TruncatedAt, tensor: Tensor, kernels: Kernels, start: int, stop: int) -> tuple[Array, int]:
    """Return values, and the number of tensors drawn until all of them are within the bounds."""
    lowest, highest = np.array([law.low, law.high], tensor.dtype)
    drawn = kernels.normal(tensor, law.mean, law.stddev, start, stop)
    pending = np.flatnonzero((drawn < lowest) | (drawn > highest))
    rounds = 1
    while pending.size:
        tensor = tensor._replace(place=after_normal(tensor))
        further = kernels.normal_at(tensor, law.mean, law.stddev, start, stop, pending)
        drawn[pending] = further
        pending = pending[(further < lowest) | (further > highest)]
        rounds += 1
    return drawn, rounds


def _check(law: TruncatedAt) -> None:
    mass = _below((law.high - law.mean) / law.stddev) - _below((law.low - law.mean) / law.stddev)
    if mass <= BY_NORMALS:
        raise ValueError(f"trunc_normal_ with {mass:.0%} of the values within its bounds is not supported")


def _below(x: float) -> float:
    """Return the probability of a standard normal number below x."""
    return (1 + erf(x / sqrt(2))) / 2
