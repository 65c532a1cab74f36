"""Checks of files: arrays that cannot be read, and checksums."""

from __future__ import annotations

from collections.abc import Iterator

from paramctl.errors import InputError
from paramctl.inspect.check.registry import Observation, check
from paramctl.inspect.check.subject import Subject
from paramctl.source.base import place_of
from paramctl.source.save import verify

NEVER_WRITTEN = "never written"
"""Words in the kind of a skipped array without values."""


@check("error")
def unreadable(subject: Subject) -> Iterator[Observation]:
    """Find files and arrays that cannot be read."""
    for selected, facts in subject.measured:
        if facts.unreadable:
            yield Observation(subject.place(selected), facts.unreadable, (selected.path,))


@check("warning")
def unwritten(subject: Subject) -> Iterator[Observation]:
    """Find arrays that were created but never written, which readers take for zeros."""
    for path, recorded in subject.source.origin.provenance.items():
        if recorded.unwritten and path in subject.source.model.parameters:
            yield Observation(subject.address(path), "no value was ever written; readers take all for zeros", (path,))
    for name, kind in subject.source.origin.skipped.items():
        if NEVER_WRITTEN in kind:
            yield Observation(subject.address(name), f"skipped: {kind}", (name,))


@check("error")
def checksum(subject: Subject) -> Iterator[Observation]:
    """Find files that do not match the checksums that they hold."""
    try:
        verify(subject.source)
    except InputError as error:
        place = place_of(subject.source)
        yield Observation(place, str(error).removeprefix(f"{place}: "))
