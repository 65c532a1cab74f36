"""Rules that an array must not meet, such as ``nan`` or ``max>100``, for pipelines that stop at a bad file."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import inf, isfinite
from typing import NamedTuple

from paramctl.core.text import number
from paramctl.errors import AddressError, suggest
from paramctl.inspect.matrix import NOT_A_MATRIX
from paramctl.inspect.stat import StatRow, Wanted

STATES: dict[str, Callable[[StatRow], int | float | None]] = {
    "nan": lambda row: row.nan or None,
    "inf": lambda row: row.inf or None,
    "zero": lambda row: row.zeros if row.size and row.zeros == row.size else None,
    "constant": lambda row: _common_value(row),
    "empty": lambda row: 0 if not row.size else None,
}
"""From a row to the value that shows a state: a count, or the common value; None if the row is not in it."""

MEASURES = (
    *("size", "mean", "stddev", "min", "max", "norm", "zeros", "nan", "inf", "sparsity", "arrays"),
    *("skewness", "kurtosis", "l1", "linf", "rms", "spectral_norm", "stable_rank", "condition", "rank"),
)
"""The facts that a rule can compare with a number."""

MAY_OVERFLOW = ("stddev", "norm", "l1", "linf", "rms", "spectral_norm")

OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}

SPECTRAL = ("spectral_norm", "stable_rank", "condition", "rank")

_COMPARISON = re.compile(r"\s*([a-z_0-9.-]+?)\s*(>=|<=|>|<)\s*(\S+)\s*")
_QUANTILE = re.compile(r"q((\d+\.?\d*|\.\d+)(e-\d+)?)", re.ASCII)


class Rule(NamedTuple):
    """A rule: a state of STATES, or a comparison of a measure with a number."""

    text: str
    name: str
    operator: str = ""
    number: float = 0.0

    def value(self, row: StatRow) -> int | float | None:
        """Return the value of a row that meets the rule, or None if it does not."""
        if not self.operator:
            return STATES[self.name](row)
        value = self.measure(row)
        return value if value is not None and OPERATORS[self.operator](value, self.number) else None

    def measure(self, row: StatRow) -> int | float | None:
        """Return the number that is compared, infinite beyond float64; None if the row has none."""
        probability = probability_of(self.name)
        value = row.quantiles.get(probability) if probability is not None else getattr(row, self.name)
        is_known = row.stable_rank is not None if self.name in SPECTRAL else row.finite
        if value is None and self.name in MAY_OVERFLOW and is_known:
            return inf
        return None if isinstance(value, complex) else value

    def obstacle(self, row: StatRow) -> str:
        """Return why values that should have a measure have none; empty if they have it, or nothing could have it.

        A vector has no singular values, and equal values have no skewness: a rule about these is not met.
        """
        if not self.operator or not row.size or self.measure(row) is not None:
            return ""
        if self.name in SPECTRAL:
            return row.spectral_note if row.spectral_note and row.spectral_note != NOT_A_MATRIX else ""
        if not row.finite:
            return "no value is finite"
        return "complex numbers" if row.min is None else ""


@dataclass(frozen=True, slots=True)
class Failure:
    """An array that meets a rule. value: the count, or the measure, that meets it."""

    path: str
    rule: str
    value: float | int

    @property
    def text(self) -> str:
        if self.rule == "empty":
            return self.rule
        if self.rule in ("nan", "inf", "zero"):
            return f"{self.rule} ({self.value:,} value{'s' if self.value > 1 else ''})"
        return f"{self.rule} (got {number(self.value)})"


class Untested(NamedTuple):
    """An array that a rule could not test, and why."""

    path: str
    rule: str
    reason: str

    @property
    def text(self) -> str:
        return f"{self.rule} ({self.reason})"


def probability_of(name: str) -> float | None:
    """Return the probability of a quantile's name, such as q0.5 or q1e-5; None for another name."""
    match = _QUANTILE.fullmatch(name)
    probability = float(match[1]) if match else 2.0
    return probability if probability <= 1 else None


def quantile_name(probability: float) -> str:
    """Return the name of a quantile, such as q0.5, without an exponent."""
    return f"q{Decimal(repr(probability)):f}".removesuffix(".0")


def parse_rule(text: str) -> Rule:
    """Return the rule in a text. Raises AddressError."""
    if text.strip() in STATES:
        return Rule(text.strip(), text.strip())
    match = _COMPARISON.fullmatch(text)
    if not match:
        rule = f"a rule must be {', '.join(STATES)}, or compare a measure with a number, such as max>100"
        raise AddressError(rule, repr(text), suggest(text, STATES))
    name, comparison, limit = match.groups()
    name = {"std": "stddev"}.get(name, name)
    if name not in MEASURES and probability_of(name) is None:
        rule = f"a rule must compare one of {', '.join(MEASURES)}, or a quantile, such as q0.99"
        raise AddressError(rule, repr(name), suggest(name, MEASURES))
    try:
        value = float(limit)
    except ValueError:
        value = inf
    if not isfinite(value):
        raise AddressError(f"{text}: a rule must compare with a number", repr(limit))
    return Rule(re.sub(r"\s", "", text), name, comparison, value)


def wanted_by(names: Sequence[str]) -> Wanted:
    """Return what must be computed for measures of these names."""
    probabilities = {each for name in names if (each := probability_of(name)) is not None}
    return Wanted(
        quantiles=tuple(sorted(probabilities)),
        moments=any(name in ("skewness", "kurtosis") for name in names),
        norms=any(name in ("l1", "linf", "rms") for name in names),
        spectral=any(name in (*SPECTRAL, "spectral_note") for name in names),
        histogram="histogram" in names,
    )


def failures(rows: Sequence[StatRow], rules: Sequence[Rule]) -> list[Failure]:
    """Return the failures, of each row by each rule."""
    return [
        Failure(row.path, rule.text, value) for row in rows for rule in rules if (value := rule.value(row)) is not None
    ]


def untested(rows: Sequence[StatRow], rules: Sequence[Rule]) -> list[Untested]:
    """Return the rows that rules could not test."""
    return [Untested(row.path, rule.text, reason) for row in rows for rule in rules if (reason := rule.obstacle(row))]


def _common_value(row: StatRow) -> float | int | None:
    """Return the value that several values of an array have; for complex numbers, the absolute value."""
    if row.size < 2 or row.finite < row.size or row.stddev != 0:
        return None
    if row.min is None:
        return abs(row.mean) if row.mean is not None else None
    return row.min if row.min == row.max else None
