"""Checks of the values that another dtype cannot hold, by the rules of ``save --dtype``."""

from __future__ import annotations

from collections.abc import Iterator

from paramctl.inspect.check.registry import Observation, check
from paramctl.inspect.check.subject import Subject
from paramctl.inspect.check.values import counted

MANY_ZEROS = 0.01
MANY_SUBNORMAL = 0.1
"""The shares of values that lose all, or some, of their digits from which this is a warning."""

SOME_ZEROS = 0.001
"""The share of values that become 0 from which this is a note: below it, zeros are the tail of healthy weights."""


@check("error")
def overflow(subject: Subject) -> Iterator[Observation]:
    """Find values beyond the range of the dtype of --as."""
    for selected, facts in subject.measured:
        losses = facts.losses
        if losses is not None and losses.overflow:
            text = counted(losses.overflow, facts.tally.size, f"beyond the range of {losses.dtype}")
            yield Observation(subject.place(selected, losses.first_overflow), text, (selected.path,))


@check("warning")
def underflow(subject: Subject) -> Iterator[Observation]:
    """Find values that become 0 or subnormal in the dtype of --as; a note if they are few."""
    for selected, facts in subject.measured:
        losses, size = facts.losses, facts.tally.size
        if losses is None or not losses.zero + losses.subnormal:
            continue
        many = losses.zero >= MANY_ZEROS * size or losses.zero + losses.subnormal >= MANY_SUBNORMAL * size
        if many or losses.zero >= SOME_ZEROS * size:
            shares = f"{losses.zero / size:.2%} become 0 in {losses.dtype}, and {losses.subnormal / size:.2%} subnormal"
            text = f"of {size:,} values, {shares}"
            yield Observation(subject.place(selected), text, (selected.path,), None if many else "note")


@check("error")
def inexact(subject: Subject) -> Iterator[Observation]:
    """Find integers, fractions and imaginary parts that the dtype of --as would round or drop."""
    for selected, facts in subject.measured:
        losses = facts.losses
        if losses is not None and losses.inexact:
            text = counted(losses.inexact, facts.tally.size, f"rounded or cut in {losses.dtype}")
            yield Observation(subject.place(selected, losses.first_inexact), text, (selected.path,))
