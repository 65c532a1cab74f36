"""Distributions: frozen descriptions of the values of one parameter. Engines draw from them; this module does not.

The values of most distributions are independent, and may be drawn in blocks. Those of DRAWN_WHOLE are not, such as the
entries of an orthogonal matrix; they are drawn at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import erf, exp, isfinite, pi, sqrt
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Constant:
    """One value everywhere."""

    value: float


@dataclass(frozen=True, slots=True)
class Uniform:
    """The uniform distribution on [low, high), or the sum of several independent values of it."""

    low: float
    high: float
    summands: int = 1


@dataclass(frozen=True, slots=True)
class Normal:
    """The normal distribution."""

    mean: float
    stddev: float


@dataclass(frozen=True, slots=True)
class TruncatedNormal:
    """Normal(mean, stddev), redrawn outside ``mean + low * stddev`` to ``mean + high * stddev``.

    Truncation makes its standard deviation smaller than ``stddev``.
    """

    mean: float
    stddev: float
    low: float = -2.0
    high: float = 2.0


@dataclass(frozen=True, slots=True)
class Orthogonal:
    """A random matrix with orthonormal rows or columns, whichever are fewer, times the gain.

    rows: the product of all axes but the last. columns: the last axis.
    """

    gain: float
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Delta:
    """Zeros, with ``value`` at regular steps: an identity matrix, or a convolution kernel that copies its input.

    runs: (first, step, count) for each group, as flat indices in C order. A 3 x 3 identity is ((0, 4, 3),).
    """

    value: float
    runs: tuple[tuple[int, int, int], ...]
    size: int


@dataclass(frozen=True, slots=True)
class Centered:
    """Zeros, with an orthogonal matrix from inputs to outputs at one position of the receptive field.

    position: the flat index of that position. fields: the number of positions in the receptive field.
    """

    inner: Orthogonal
    position: int
    fields: int


@dataclass(frozen=True, slots=True)
class Sparse:
    """Normal(0, stddev), with ``zeros`` values of each row, chosen at random, set to 0."""

    stddev: float
    rows: int
    columns: int
    zeros: int


@dataclass(frozen=True, slots=True)
class Mixture:
    """Values drawn independently, each from one of several distributions, chosen with these probabilities."""

    parts: tuple[tuple[float, Distribution], ...]


@dataclass(frozen=True, slots=True)
class Sections:
    """A distribution for each of several equal sections of the last axis, which has ``columns`` values."""

    parts: tuple[Distribution, ...]
    columns: int


@dataclass(frozen=True, slots=True)
class Padded:
    """A distribution whose first row, of ``columns`` values, is 0. size: the number of all values."""

    rest: Distribution
    columns: int
    size: int


@dataclass(frozen=True, slots=True)
class CustomDistribution:
    """Values returned by a user's function of a shape, a dtype's name and a random generator."""

    function: Callable[[tuple[int, ...], str, Any], Any]
    shape: tuple[int, ...]
    name: str


@dataclass(frozen=True, slots=True)
class ExistingValues:
    """Values of another array. read: from one flat index to another. describe: where they come from, as JSON."""

    read: Callable[[int, int], Any]
    describe: Callable[[], Mapping[str, Any]]


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
    | Padded
    | CustomDistribution
    | ExistingValues
)

DRAWN_WHOLE = (Orthogonal, Centered, Sparse, CustomDistribution)
"""The distributions whose values depend on each other, and are drawn at once."""


def moments(distribution: Distribution) -> tuple[float, float] | None:
    """Return the mean and the standard deviation of a value; None if unknown or beyond float64."""
    try:
        both = _moments(distribution)
    except (OverflowError, ZeroDivisionError):  # such as normal: {stddev: 1e300} in a mixture, whose square overflows
        return None
    return both if both is not None and all(map(isfinite, both)) else None


def _moments(distribution: Distribution) -> tuple[float, float] | None:
    match distribution:
        case Constant(value):
            return value, 0.0
        case Uniform(low, high, summands):
            return summands * (low + high) / 2, (high - low) / sqrt(12 / summands)
        case Normal(mean, stddev):
            return mean, stddev
        case TruncatedNormal(mean, stddev, low, high):
            return _truncated(mean, stddev, low, high)
        case Orthogonal(gain, rows, columns):
            return 0.0, abs(gain) / sqrt(max(rows, columns, 1))
        case Delta(value, runs, size):
            share = sum(count for _, _, count in runs) / max(size, 1)  # of the values that are not zero
            return value * share, abs(value) * sqrt(share - share**2)
        case Centered(inner, _, fields):  # the matrix has one position of the field; the others are zeros
            return 0.0, abs(inner.gain) / sqrt(max(inner.rows, inner.columns) * fields)
        case Sparse(stddev, _, columns, zeros):
            return 0.0, stddev * sqrt(1 - zeros / columns)
        case Mixture() | Sections() | Padded():
            return _mixed(_weighted(distribution))
        case CustomDistribution() | ExistingValues():
            return None


def support(distribution: Distribution) -> tuple[float, float] | None:
    """Return the bounds of the values; None if the distribution is unbounded or its bounds are unknown."""
    match distribution:
        case Constant(value):
            return value, value
        case Uniform(low, high, summands):
            return summands * low, summands * high
        case TruncatedNormal(mean, stddev, low, high):
            return mean + low * stddev, mean + high * stddev
        case Delta(value, _, _):
            return min(0.0, value), max(0.0, value)
        case Orthogonal(gain, _, _):
            return -abs(gain), abs(gain)
        case Centered(inner, _, _):
            return support(inner)
        case Mixture() | Sections() | Padded():
            return _hull([part for _, part in _weighted(distribution)])
        case _:
            return None


def _weighted(distribution: Mixture | Sections | Padded) -> tuple[tuple[float, Distribution], ...]:
    """Return the parts of a distribution, with the share of the values that each has."""
    match distribution:
        case Mixture(parts):
            return parts
        case Sections(sections, _):
            return tuple((1 / len(sections), part) for part in sections)
        case Padded(rest, columns, size):
            share = columns / max(size, 1)
            return ((share, Constant(0.0)), (1 - share, rest))


def _hull(parts: Sequence[Distribution]) -> tuple[float, float] | None:
    """Return the bounds that contain all parts; None if one of them is unbounded."""
    bounds = [bound for part in parts if (bound := support(part)) is not None]
    if len(bounds) < len(parts):
        return None
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def normal_mass(low: float, high: float) -> float:
    """Return the probability that a standard normal value is between two numbers."""
    return (erf(high / sqrt(2)) - erf(low / sqrt(2))) / 2


def _truncated(mean: float, stddev: float, low: float, high: float) -> tuple[float, float]:
    """Return the moments of a truncated normal distribution.

    Source: Johnson, Kotz and Balakrishnan (1994), Continuous Univariate Distributions 1, section 10.1.
    """
    density_low, density_high = (exp(-(x**2) / 2) / sqrt(2 * pi) for x in (low, high))
    mass = normal_mass(low, high)
    shift = (density_low - density_high) / mass
    variance = 1 + (low * density_low - high * density_high) / mass - shift**2
    return mean + stddev * shift, stddev * sqrt(max(variance, 0.0))


def _mixed(parts: tuple[tuple[float, Distribution], ...]) -> tuple[float, float] | None:
    part_moments = [(probability, moments(part)) for probability, part in parts]
    known = [(probability, *both) for probability, both in part_moments if both is not None]
    if len(known) < len(part_moments):
        return None
    mean = sum(probability * part_mean for probability, part_mean, _ in known)
    variance = sum(probability * (stddev**2 + (part_mean - mean) ** 2) for probability, part_mean, stddev in known)
    return mean, sqrt(max(variance, 0.0))
