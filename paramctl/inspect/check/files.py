"""Checks of files: arrays that cannot be read, and checksums."""

from __future__ import annotations

import re
from collections.abc import Iterator

from paramctl.errors import InputError
from paramctl.inspect.check.registry import Observation, check
from paramctl.inspect.check.subject import Subject
from paramctl.inspect.verify import ALTERED, frame_faults
from paramctl.source.base import place_of
from paramctl.source.save import verify
from paramctl.store.registry import named_formats
from paramctl.store.urls import is_url

NEVER_WRITTEN = "never written"
"""Words in the kind of a skipped array without values."""
UNREAD = re.compile(
    r"(?<!not a )\b(tensor|array|type|dtype)\b|\bvalues (of|expanded)\b|^(u?int|b?float|complex)\d|^a storage"
)
"""Words in the kind of a skipped item that holds numbers; others are texts, links, objects and code."""


@check("error")
def unreadable(subject: Subject) -> Iterator[Observation]:
    """Find files and arrays that cannot be read."""
    for selected, facts in subject.measured:
        if facts.unreadable:
            reason = facts.unreadable.removeprefix(f"{place_of(subject.source)}: ").removeprefix(f"{selected.path}: ")
            yield Observation(subject.place(selected), reason, (selected.path,))


@check("warning")
def unwritten(subject: Subject) -> Iterator[Observation]:
    """Find arrays that were created but never written, which readers take for zeros."""
    for path, recorded in subject.source.origin.provenance.items():
        if recorded.unwritten and path in subject.source.model.parameters:
            yield Observation(subject.address(path), "no value was ever written; readers take all for zeros", (path,))
    for name, kind in subject.source.origin.skipped.items():
        if NEVER_WRITTEN in kind:
            yield Observation(subject.address(name), f"skipped: {kind}", (name,))


@check("note")
def skipped(subject: Subject) -> Iterator[Observation]:
    """Find arrays of kinds that are not read, such as sparse tensors."""
    for name, kind in subject.source.origin.skipped.items():
        if UNREAD.search(kind) and NEVER_WRITTEN not in kind:
            yield Observation(subject.address(name), f"not checked, because it is not read: {kind}", (name,))


@check("warning")
def misnamed(subject: Subject) -> Iterator[Observation]:
    """Find files whose name has the suffix of another format, by which other programs choose a reader."""
    origin = subject.source.origin
    location = origin.location
    if location is None or is_url(location.name):
        return
    suffix, named = named_formats(location.name)
    if named and origin.format not in (each.name for each in named):
        text = (
            f"the suffix {suffix} is of {named[0].name}, but the content is {origin.format}; other programs refuse it"
        )
        yield Observation(location.name, text)


@check("error")
def checksum(subject: Subject) -> Iterator[Observation]:
    """Find files that do not match the hashes or checksums that they hold."""
    found = [*_altered_frame(subject), *_altered_arrays(subject)]
    yield from found
    # a record covers everything that the checksums of a zip file cover, and names the array
    if not found:
        yield from _wrong_checksums(subject)


def _altered_frame(subject: Subject) -> Iterator[Observation]:
    """Yield the parts of a file, besides its values, that do not match its record."""
    location = subject.source.origin.location
    # a server would be asked for each gap between arrays
    if location is None or (location.connections > 1 and not subject.recorded_sums):
        return
    for row in frame_faults(location):
        # a missing file is found by the check of shards
        if row.status == "altered":
            yield Observation(row.file, row.detail)


def _altered_arrays(subject: Subject) -> Iterator[Observation]:
    """Yield the arrays whose values do not match the recorded hash."""
    recorded = subject.recorded_sums
    for selected, facts in subject.measured if recorded else ():
        owner = subject.source.model.owner(selected.path)
        if facts.content is not None and facts.content.finish(owner.dtype, owner.shape) != recorded[owner.path].digest:
            yield Observation(subject.place(selected), ALTERED, (selected.path,))


def _wrong_checksums(subject: Subject) -> Iterator[Observation]:
    try:
        verify(subject.source)
    except InputError as error:
        place = place_of(subject.source)
        yield Observation(place, str(error).removeprefix(f"{place}: "))
