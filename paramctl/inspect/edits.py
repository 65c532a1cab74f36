"""What assignments would change: a row for each of them and each array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paramctl.edit.assign import Change, EditedSource, touched


@dataclass(frozen=True, slots=True)
class EditRow:
    """One assignment to one parameter: what it picks, and what all of them together change in its array."""

    path: str
    assignment: str
    shape: tuple[int, ...]
    values: int
    changed: int
    greatest: float


def edits(edited: EditedSource, changes: Sequence[Change]) -> list[EditRow]:
    """The rows, in the order of the assignments."""
    for piece in touched(edited):
        edited.read(*piece)
    rows = []
    for change in changes:
        changed, greatest = edited.tally.get(change.path, (0, 0.0))
        rows.append(EditRow(change.name, change.text, change.picks.shape, change.picks.size, changed, greatest))
    return rows
