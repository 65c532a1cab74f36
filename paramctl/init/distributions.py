"""Laws: frozen descriptions of how the values of one parameter are distributed. Nothing is drawn here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Constant:
    value: float


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform on [low, high)."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Normal:
    mean: float
    stddev: float


@dataclass(frozen=True, slots=True)
class TruncatedNormal:
    """Normal(mean, stddev), drawn again beyond ``cut`` deviations; its own deviation is smaller."""

    mean: float
    stddev: float
    cut: float = 2.0


@dataclass(frozen=True, slots=True)
class Orthogonal:
    """gain times a matrix with orthonormal rows or columns: all axes but the last by the last."""

    gain: float


@dataclass(frozen=True, slots=True)
class Identity:
    """gain times the unit matrix."""

    gain: float


@dataclass(frozen=True, slots=True)
class Mixture:
    """Each value from one of several laws, chosen with these probabilities."""

    parts: tuple[tuple[float, Law], ...]


@dataclass(frozen=True, slots=True)
class Sections:
    """The last axis cut into equal sections, each with a law of its own."""

    parts: tuple[Law, ...]


Law: TypeAlias = Constant | Uniform | Normal | TruncatedNormal | Orthogonal | Identity | Mixture | Sections
