"""Checks of files: arrays that cannot be read, and checksums."""

from __future__ import annotations

from collections.abc import Iterator

from paramctl.errors import InputError
from paramctl.inspect.check.registry import Observation, check
from paramctl.inspect.check.subject import Subject
from paramctl.source.base import place_of
from paramctl.source.save import verify


@check("error")
def unreadable(subject: Subject) -> Iterator[Observation]:
    """Find files and arrays that cannot be read."""
    for selected, facts in subject.measured:
        if facts.unreadable:
            yield Observation(subject.place(selected), facts.unreadable, (selected.path,))


@check("error")
def checksum(subject: Subject) -> Iterator[Observation]:
    """Find files that do not match the checksums that they hold."""
    try:
        verify(subject.source)
    except InputError as error:
        place = place_of(subject.source)
        yield Observation(place, str(error).removeprefix(f"{place}: "))
