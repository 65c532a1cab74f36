"""The laws of torch.nn.init beyond the plain distributions: absolute bounds, and matrices that have rows first."""

from __future__ import annotations

from dataclasses import dataclass

from paramctl.init.distributions import Distribution


@dataclass(frozen=True, slots=True)
class TruncatedAt:
    """trunc_normal_: Normal(mean, stddev), redrawn beyond ``low`` and ``high``, which are values."""

    mean: float
    stddev: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class OrthogonalRows:
    """orthogonal_: a matrix of the first axis by all others, with orthonormal rows or columns, times the gain."""

    gain: float


@dataclass(frozen=True, slots=True)
class SparseColumns:
    """sparse_: Normal(0, stddev), with ``zeros`` values of each column of a matrix, chosen at random, set to 0."""

    stddev: float
    zeros: int


@dataclass(frozen=True, slots=True)
class Zeroed:
    """A law whose values from one flat index to another are set to 0 once they are drawn, such as a padding row."""

    rest: Distribution | TorchLaw
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class ZeroedBelow:
    """A law whose values below ``least`` in magnitude are multiplied by 0 once they are drawn."""

    rest: Distribution | TorchLaw
    least: float


TorchLaw = TruncatedAt | OrthogonalRows | SparseColumns | Zeroed | ZeroedBelow
