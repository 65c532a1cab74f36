"""Checks of values: NaN, infinities, and arrays whose values are all equal where training needs them to differ."""

from __future__ import annotations

from collections.abc import Iterator

from paramctl.inspect.check.expected import is_weight
from paramctl.inspect.check.registry import Observation, check
from paramctl.inspect.check.subject import Subject


@check("error")
def unreadable(subject: Subject) -> Iterator[Observation]:
    """Find files and arrays that cannot be read."""
    for selected, facts in subject.measured:
        if facts.unreadable:
            yield Observation(subject.place(selected), facts.unreadable, (selected.path,))


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


@check("warning")
def zero(subject: Subject) -> Iterator[Observation]:
    """Find weights that are all zero."""
    for selected, facts in subject.measured:
        if facts.is_zero and is_weight(subject.parameter(selected)):
            text = counted(facts.tally.size, facts.tally.size, "0")
            yield Observation(subject.place(selected), text, (selected.path,))


@check("warning")
def constant(subject: Subject) -> Iterator[Observation]:
    """Find weights whose values are all equal."""
    for selected, facts in subject.measured:
        if facts.is_constant and not facts.is_zero and is_weight(subject.parameter(selected)):
            value = complex(*(part.minimum for part in facts.tally.parts)) if len(facts.tally.parts) > 1 else None
            shown = facts.tally.parts[0].minimum if value is None else value
            text = counted(facts.tally.size, facts.tally.size, f"{shown:.6g}")
            yield Observation(subject.place(selected), text, (selected.path,))


def counted(count: int, size: int, state: str) -> str:
    """Return ``3 of 16 values are NaN``, ``all 16 values are NaN`` or ``the only value is NaN``."""
    if count == size:
        return f"the only value is {state}" if size == 1 else f"all {size:,} values are {state}"
    return f"{count:,} of {size:,} values {'is' if count == 1 else 'are'} {state}"
