"""The laws of torch.nn.init that the distributions of init.distributions do not express. The engine draws them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TruncNormal:
    """``trunc_normal_(tensor, mean, std, a, b)``: the bounds a and b are values, not multiples of std."""

    mean: float
    std: float
    a: float
    b: float


@dataclass(frozen=True, slots=True)
class SparseColumns:
    """``sparse_(tensor, sparsity, std)``: normal, but ``zeros`` values of each column, which randperm picks, are 0."""

    std: float
    rows: int
    columns: int
    zeros: int


@dataclass(frozen=True, slots=True)
class ZeroedUniform:
    """``uniform_(tensor, -bound, bound)``, then ``tensor *= tensor.abs() >= threshold``: zeros keep their signs."""

    bound: float
    threshold: float
