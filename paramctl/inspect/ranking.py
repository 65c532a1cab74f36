"""The order of differences, largest first, by one of several measures."""

from __future__ import annotations

from collections.abc import Sequence

from paramctl.inspect.diff import DiffRow

MEASURES = ("max_abs", "max_rel", "norm", "relative_norm", "cosine", "different")
"""The fields of DiffRow by which rows are ranked."""


def rank(rows: Sequence[DiffRow], measure: str) -> list[DiffRow]:
    """Return rows with the largest difference first; equal ones in their order.

    First come rows without measurements, such as a missing parameter; then rows with values that differ and are NaN or
    infinite, those with most of them first; then the others by the measure. In each group, rows without the measure,
    as where its denominator is 0, come first. A small cosine is a large difference.
    """

    def key(row: DiffRow) -> tuple[bool, int, bool, float]:
        value = getattr(row, measure)
        size = 0.0 if value is None else value if measure == "cosine" else -value
        return row.different is not None, -row.nonfinite, value is not None, size

    return sorted(rows, key=key)
