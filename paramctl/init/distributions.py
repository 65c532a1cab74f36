"""Laws: frozen descriptions of how the values of one parameter are distributed. Nothing is drawn here.

A law is elementwise, and may be drawn block by block, or whole (WHOLE), and is drawn at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, exp, isfinite, pi, sqrt
from typing import Any, TypeAlias


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
    """Normal(mean, stddev), drawn again below ``low`` and above ``high`` deviations from the mean.

    Its own deviation is smaller.
    """

    mean: float
    stddev: float
    low: float = -2.0
    high: float = 2.0


@dataclass(frozen=True, slots=True)
class Orthogonal:
    """gain times a matrix with orthonormal rows or columns: all axes but the last by the last."""

    gain: float
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Delta:
    """0, but ``value`` at the steps from one place to the next, in C order: a unit matrix or kernel.

    There is one run of places for each group: ``count`` places from ``first``, ``step`` apart.
    """

    value: float
    runs: tuple[tuple[int, int, int], ...]
    size: int


@dataclass(frozen=True, slots=True)
class Centered:
    """0, but at one position of the receptive field an orthogonal matrix from inputs to outputs."""

    inner: Orthogonal
    position: int
    fields: int


@dataclass(frozen=True, slots=True)
class Sparse:
    """Normal(0, stddev), but in each row ``zeros`` values, chosen at random, are 0."""

    stddev: float
    rows: int
    columns: int
    zeros: int


@dataclass(frozen=True, slots=True)
class Mixture:
    """Each value from one of several laws, chosen with these probabilities."""

    parts: tuple[tuple[float, Distribution], ...]


@dataclass(frozen=True, slots=True)
class Sections:
    """The last axis, of ``columns`` values, cut into equal sections, each with a law of its own."""

    parts: tuple[Distribution, ...]
    columns: int


@dataclass(frozen=True, slots=True)
class CustomDistribution:
    """Whatever a function of somebody's own gives: from a shape, a dtype's name and a generator to an array."""

    function: Callable[[tuple[int, ...], str, Any], Any]
    shape: tuple[int, ...]
    name: str


@dataclass(frozen=True, slots=True)
class ExistingValues:
    """Values that are there already; ``read(start, stop)`` gives those from one place to another, in C order."""

    read: Callable[[int, int], Any]


Distribution: TypeAlias = (
    Constant
    | Uniform
    | Normal
    | TruncatedNormal
    | Orthogonal
    | Delta
    | Centered
    | Sparse
    | Mixture
    | Sections
    | CustomDistribution
    | ExistingValues
)

DRAWN_WHOLE = (Orthogonal, Centered, Sparse, CustomDistribution)
"""The laws that are drawn at once, for no value of theirs stands alone."""


def moments(law: Distribution) -> tuple[float, float] | None:
    """The mean and the standard deviation that a value has under a law; None where nobody can say."""
    try:
        both = _moments(law)
    except (OverflowError, ZeroDivisionError):  # numbers too large to compute with
        return None
    return both if both is not None and all(map(isfinite, both)) else None


def _moments(law: Distribution) -> tuple[float, float] | None:
    match law:
        case Constant(value):
            return value, 0.0
        case Uniform(low, high):
            return (low + high) / 2, (high - low) / sqrt(12)
        case Normal(mean, stddev):
            return mean, stddev
        case TruncatedNormal(mean, stddev, low, high):
            return _truncated(mean, stddev, low, high)
        case Orthogonal(gain, rows, columns):
            return 0.0, abs(gain) / sqrt(max(rows, columns, 1))
        case Delta(value, runs, size):
            share = sum(count for _, _, count in runs) / max(size, 1)
            return value * share, abs(value) * sqrt(share - share**2)
        case Centered(inner, _, fields):
            return 0.0, abs(inner.gain) / sqrt(max(inner.rows, inner.columns) * fields)
        case Sparse(stddev, _, columns, zeros):
            return 0.0, stddev * sqrt(1 - zeros / columns)
        case Mixture(parts):
            return _mixed(parts)
        case Sections(parts, _):
            return _mixed(tuple((1 / len(parts), part) for part in parts))
        case CustomDistribution() | ExistingValues():
            return None


def support(law: Distribution) -> tuple[float, float] | None:
    """The least and the greatest value that a law gives; None where it has no bounds, or nobody can say."""
    match law:
        case Constant(value):
            return value, value
        case Uniform(low, high):
            return low, high
        case TruncatedNormal(mean, stddev, low, high):
            return mean + low * stddev, mean + high * stddev
        case Delta(value, _, _):
            return min(0.0, value), max(0.0, value)
        case Orthogonal(gain, _, _):
            return -abs(gain), abs(gain)
        case Centered(inner, _, _):
            return support(inner)
        case Mixture() | Sections():
            parts = [part for _, part in law.parts] if isinstance(law, Mixture) else law.parts
            bounds = [bound for part in parts if (bound := support(part)) is not None]
            if len(bounds) < len(parts):
                return None
            return min(low for low, _ in bounds), max(high for _, high in bounds)
        case _:
            return None


def normal_mass(low: float, high: float) -> float:
    """How much of a standard normal law lies between two values."""
    return (erf(high / sqrt(2)) - erf(low / sqrt(2))) / 2


def _truncated(mean: float, stddev: float, low: float, high: float) -> tuple[float, float]:
    """Johnson, Kotz and Balakrishnan (1994), Continuous Univariate Distributions 1, section 10.1."""
    at_low, at_high = (exp(-(x**2) / 2) / sqrt(2 * pi) for x in (low, high))
    mass = normal_mass(low, high)
    shift = (at_low - at_high) / mass
    variance = 1 + (low * at_low - high * at_high) / mass - shift**2
    return mean + stddev * shift, stddev * sqrt(max(variance, 0.0))


def _mixed(parts: tuple[tuple[float, Distribution], ...]) -> tuple[float, float] | None:
    each = [(share, moments(part)) for share, part in parts]
    known = [(share, *both) for share, both in each if both is not None]
    if len(known) < len(each):
        return None
    mean = sum(share * m for share, m, _ in known)
    variance = sum(share * (s**2 + (m - mean) ** 2) for share, m, s in known)
    return mean, sqrt(max(variance, 0.0))
