"""The effect of assignments: a row for each assignment and each parameter that it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from paramctl.source.edited import Edited, Tally


@dataclass(frozen=True, slots=True)
class EditRow:
    """One assignment to one parameter.

    path: of the parameter, with the slice that is assigned. parameter: the path alone.
    shape, values: the shape and the number of the selected values.
    changed, max_abs: the number of values of the array that change, and the largest ``|after - before|``, by all
        assignments together. max_abs is None if one of these values is NaN or infinite, before or after.
    """

    path: str
    parameter: str
    assignment: str
    shape: tuple[int, ...]
    values: int
    changed: int
    max_abs: float | None


def edits(edited: Edited, counted: Mapping[str, Tally] | None = None) -> list[EditRow]:
    """Return the rows, in the order of the assignments.

    counted: the changes by array, if they are known. Otherwise reads every affected array.
    """
    if counted is None:
        counted = edited.count_changes()
    rows = []
    for change in edited.changes:
        tally = counted.get(change.path, Tally())
        selection = change.selection
        path = (change.name, change.path, change.text)
        max_abs = tally.max_abs if isfinite(tally.max_abs) else None
        rows.append(EditRow(*path, selection.shape, selection.size, tally.count, max_abs))
    return rows
