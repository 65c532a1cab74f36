"""The effect of assignments: a row for each assignment and each parameter that it changes."""

from __future__ import annotations

from dataclasses import dataclass

from paramctl.source.edited import Edited


@dataclass(frozen=True, slots=True)
class EditRow:
    """One assignment to one parameter.

    shape, values: the shape and the number of the selected values.
    changed, max_abs: the number of values of the array that change, and the largest ``|after - before|``, by all
        assignments together.
    """

    path: str
    assignment: str
    shape: tuple[int, ...]
    values: int
    changed: int
    max_abs: float


def edits(edited: Edited) -> list[EditRow]:
    """Return the rows, in the order of the assignments. Computes the values of every affected array."""
    for piece in edited.touched():
        edited.read(*piece)
    rows = []
    for change in edited.changes:
        changed, max_abs = edited.tally.get(change.path, (0, 0.0))
        rows.append(EditRow(change.name, change.text, change.selection.shape, change.selection.size, changed, max_abs))
    return rows
