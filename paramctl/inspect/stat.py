"""Statistics of the values of a source: a row for each array, or for each selected slice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot, isfinite

import numpy as np

from paramctl.core.parameter import bytes_of
from paramctl.inspect.fold import fold, selected_pieces
from paramctl.inspect.tally import EMPTY, Tally, tally
from paramctl.parallel import Progress, advancing
from paramctl.source.base import SelectedValues
from paramctl.store.contents import connections


@dataclass(frozen=True, slots=True)
class StatRow:
    """Statistics of an array, or of a slice of one.

    mean, stddev, min, max, norm: of the finite values; None without any, and for a norm beyond float64.
    stddev: the population's, ``sqrt(mean(|x - mean|**2))``.
    min, max: None for complex numbers, which have no order.
    norm: the L2 norm.
    zeros: includes -0.0.
    inf: of either sign.
    first: the index in the array of the first value, in C order of the stored array, that is NaN or infinite.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    mean: float | complex | None
    stddev: float | None
    min: float | int | None
    max: float | int | None
    norm: float | None
    zeros: int
    nan: int
    inf: int
    first: tuple[int, ...] | None


def statistics(
    selection: Sequence[SelectedValues], progress: Progress | None = None, threads: int | None = None
) -> list[StatRow]:
    """Return the statistics of each selected array or slice, in the order of the selection.

    progress: called with the bytes done and the bytes in total, after each piece.
    threads: the number of workers, which does not affect the result.
    """
    total = sum(bytes_of(selected.dtype, selected.selection.size) for selected in selection)
    workers = threads or connections(*(selected.source for selected in selection))
    tallies = fold(selected_pieces(selection, lambda _, values: tally(values)), advancing(progress, total), workers)
    return [stat_row(selected, tallies.get(number, EMPTY)) for number, selected in enumerate(selection)]


def stat_row(selected: SelectedValues, counts: Tally) -> StatRow:
    """Return the statistics of selected values whose tally is known."""
    parts, real = counts.parts, len(counts.parts) == 1
    means = [part.mean or 0.0 for part in parts]
    has_finite = parts[0].size > 0
    return StatRow(
        path=selected.name,
        shape=selected.selection.shape,
        dtype=selected.dtype,
        size=counts.size,
        mean=(means[0] if real else complex(*means)) if has_finite else None,
        stddev=_length(part.stddev for part in parts),
        min=_shortest(parts[0].minimum, selected.dtype) if has_finite and real else None,
        max=_shortest(parts[0].maximum, selected.dtype) if has_finite and real else None,
        norm=_length(part.norm for part in parts),
        zeros=counts.zeros,
        nan=counts.nan,
        inf=counts.inf,
        first=None if counts.first is None else selected.index_of(counts.first),
    )


def _length(sides: Iterable[float | None]) -> float | None:
    """Return the length of a vector, of one side for real numbers and of two for complex; None beyond float64."""
    length = hypot(*(float("inf") if side is None else side for side in sides))
    return length if isfinite(length) else None


def _shortest(value: float | int, dtype: str) -> float | int:
    """Return the number with the fewest digits that rounds to this one in its dtype: 0.1, not 0.10000000149."""
    if isinstance(value, int) or dtype == "float64":
        return value
    return float(str(np.float16(value) if dtype == "float16" else np.float32(value)))
