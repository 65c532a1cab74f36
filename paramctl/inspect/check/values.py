"""Checks of values: NaN, infinities, and arrays whose values are all equal where training needs them to differ."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from paramctl.inspect.check.expected import constant_scheme, is_weight
from paramctl.inspect.check.facts import Facts
from paramctl.inspect.check.finding import Severity
from paramctl.inspect.check.registry import Observation, check
from paramctl.inspect.check.subject import Subject
from paramctl.source.base import SelectedValues

SQUARES = re.compile(
    r"(^|[./])(running_var|moving_variance|(max_)?exp_avg_sq|square_avg)$|batch_stats.*[./]var$"
    r"|opt_state[./].*[./]nu[./]|(adam|adamw|nadam|rmsprop)[./]\w+_velocity$"
)
"""The names of variances, and of averages of squares in the states of optimizers, which are never negative."""


@check("error")
def nan(subject: Subject) -> Iterator[Observation]:
    """Find values that are NaN."""
    for selected, facts in subject.measured:
        if facts.tally.nan:
            text = counted(facts.tally.nan, facts.tally.size, "NaN")
            yield Observation(subject.place(selected, facts.first_nan), text, (selected.path,))


@check("error")
def inf(subject: Subject) -> Iterator[Observation]:
    """Find infinite values."""
    for selected, facts in subject.measured:
        if facts.tally.inf:
            text = counted(facts.tally.inf, facts.tally.size, "infinite")
            yield Observation(subject.place(selected, facts.first_inf), text, (selected.path,))


@check("error")
def negative_variance(subject: Subject) -> Iterator[Observation]:
    """Find variances, and averages of squares, that are negative."""
    for selected, facts in subject.measured:
        parts = facts.tally.parts
        if len(parts) != 1 or not parts[0].minimum < 0 or not SQUARES.search(selected.path):
            continue
        number = size = 0
        first = None
        for count, read in selected.reads():
            with np.errstate(invalid="ignore"):  # NaN in a bfloat16
                negative = read() < 0
            if first is None and negative.any():
                first = size + int(negative.argmax())
            number, size = number + int(negative.sum()), size + count
        text = counted(number, size, f"negative, down to {parts[0].minimum:.6g}")
        yield Observation(subject.place(selected, first), text, (selected.path,))


@check("warning")
def zero(subject: Subject) -> Iterator[Observation]:
    """Find weights that are all zero."""
    for selected, facts in subject.measured:
        recorded = subject.source.origin.provenance.get(selected.path)
        was_written = recorded is None or not recorded.unwritten  # found by another check
        if facts.is_zero and was_written and is_weight(subject.parameter(selected)):
            yield _equal_values(subject, selected, facts, "0")


@check("warning")
def constant(subject: Subject) -> Iterator[Observation]:
    """Find weights whose values are all equal."""
    for selected, facts in subject.measured:
        parameter = subject.parameter(selected)
        if facts.is_constant and not facts.is_zero and is_weight(parameter):
            ends = [part.minimum for part in facts.tally.parts]
            yield _equal_values(subject, selected, facts, f"{complex(*ends) if len(ends) > 1 else ends[0]:.6g}")


def _equal_values(subject: Subject, selected: SelectedValues, facts: Facts, value: str) -> Observation:
    """Return the observation of equal values, which is a note where the recorded or declared scheme has them."""
    text = counted(facts.tally.size, facts.tally.size, value)
    scheme = constant_scheme(subject.source, selected.path, facts)
    as_declared = f", as its scheme {scheme} says" if scheme else ""
    severity: Severity | None = "note" if scheme else None
    return Observation(subject.place(selected), text + as_declared, (selected.path,), severity)


def counted(count: int, size: int, state: str) -> str:
    """Return ``3 of 16 values are NaN``, ``all 16 values are NaN`` or ``the only value is NaN``."""
    if count == size:
        return f"the only value is {state}" if size == 1 else f"all {size:,} values are {state}"
    return f"{count:,} of {size:,} values {'is' if count == 1 else 'are'} {state}"
