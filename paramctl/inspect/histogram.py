"""Histograms: how many values of an array are in each of its bins, as numpy.histogram counts the values as float64.

Two passes over the values, both parallel and in bounded memory: one for the ends, one for the counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isinf, sqrt
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.core.parameter import bytes_of
from paramctl.inspect.fold import fold, selected_pieces
from paramctl.inspect.tally import Tally, tally, widened
from paramctl.parallel import Progress, advancing
from paramctl.source.base import SelectedValues
from paramctl.store.contents import connections

DEFAULT_BINS = 20

AT_ONCE = 1 << 15
"""The number of values to count at once. As float64, they fit a processor's second-level cache."""

LARGEST_MARGIN = 0.01
"""The share of a bin up to which rounding may move a number. Beyond it, numpy.histogram is as fast."""

EXACT_INTEGERS = 1 << 53
"""The integers up to this one are exact in float64."""


class Bins(NamedTuple):
    """Adjoining bins. A value is in bin i if ``edges[i] <= value < edges[i + 1]``; the last one has its upper edge too.

    edges: one more than bins, as float64; empty without values.
    low, high: the ends of the range. Values beyond them are in no bin.
    """

    edges: Array
    low: float = 0.0
    high: float = 0.0


class Counts(NamedTuple):
    """The number of values in each bin, and of those in none. inf: of either sign; below, above: finite ones only."""

    bins: Array
    below: int = 0
    above: int = 0
    nan: int = 0
    inf: int = 0

    def join(self, later: Counts) -> Counts:
        """Return the counts of both together."""
        others = (mine + theirs for mine, theirs in zip(self[1:], later[1:], strict=True))
        return Counts(self.bins + later.bins, *others)


class Group(NamedTuple):
    """Selected values that are counted together, and their joint tally."""

    members: Sequence[SelectedValues]
    counts: Tally


class BinCounts(NamedTuple):
    """The number of values from each edge up to the next one; the last bin has its upper edge too."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """The distribution of the values of an array, or of a slice of one; of complex ones, of their absolute values.

    edges: one more than counts. Empty if no value is finite. Integers for bins of integers, the last of which is beyond
        the largest one.
    counts: the values from each edge up to the next one; the last bin has its upper edge too.
    low, high: the range; the ends of the values, unless other ends were given. None if it is unknown.
    below, above: the finite values outside the range.
    inf: of either sign.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    edges: tuple[float, ...] | tuple[int, ...]
    counts: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    below: int = 0
    above: int = 0
    nan: int = 0
    inf: int = 0


def histograms(
    selection: Sequence[SelectedValues],
    bins: int | None = None,
    limits: tuple[float, float] | None = None,
    tallies: Mapping[int, Tally] | None = None,
    default: int = DEFAULT_BINS,
    progress: Progress | None = None,
    threads: int | None = None,
) -> list[Histogram]:
    """Return the histogram of each selected array or slice, in the order of the selection.

    bins: the number of bins, as numpy.histogram cuts a range. By default the square root of the number of values, at
        most ``default``; for integers and bools, at most ``default``, of as many integers each. Fewer if float64 has
        too few numbers between the ends.
    limits: the ends of the range; by default the smallest and the largest finite value of each array.
    tallies: those of the selected values that are already known, by their number in the selection.
    progress: called with the bytes done and in total; these values are read twice, or once if their ends are known.
    threads: the number of workers, which does not affect the result.
    """
    measured = {number: known for number, known in (tallies or {}).items() if len(known.parts) == 1}
    unknown = [number for number in range(len(selection)) if limits is None and number not in measured]
    sizes = [bytes_of(selected.dtype, selected.selection.size) for selected in selection]
    advance = advancing(progress, sum(sizes) + sum(sizes[number] for number in unknown))
    workers = threads or connections(*(selected.source for selected in selection))
    new = fold(
        selected_pieces([selection[number] for number in unknown], lambda _, values: tally(_real(values))),
        advance,
        workers,
    )
    measured |= {unknown[number]: counted for number, counted in new.items()}
    cuts = [
        bins_between(limits or _ends(measured.get(number)), selected.dtype, selected.selection.size, bins, default)
        for number, selected in enumerate(selection)
    ]
    counts = fold(selected_pieces(selection, lambda number, values: count(values, cuts[number])), advance, workers)
    return [_histogram(selected, cuts[number], counts.get(number)) for number, selected in enumerate(selection)]


def joint_histograms(
    groups: Sequence[Group], advance: Callable[[int], object], default: int = DEFAULT_BINS, threads: int | None = None
) -> list[BinCounts | None]:
    """Return the counts of the values of each group together. None for complex values, and if no value is finite.

    advance: called with the bytes of each piece that is read.
    default: the largest number of bins; see histograms.
    """
    cuts = [_joint_bins(group, default) for group in groups]
    counted = [number for number, bins in enumerate(cuts) if bins.edges.size]
    selection = [member for number in counted for member in groups[number].members]
    group_of = [number for number in counted for _ in groups[number].members]
    sums: dict[int, Counts] = {}
    pieces = selected_pieces(selection, lambda place, values: count(values, cuts[group_of[place]]))
    for place, counts in fold(pieces, advance, threads).items():
        number = group_of[place]
        sums[number] = sums[number].join(counts) if number in sums else counts
    return [
        BinCounts(tuple(bins.edges.tolist()), tuple(sums[number].bins.tolist())) if number in sums else None
        for number, bins in enumerate(cuts)
    ]


def _joint_bins(group: Group, default: int) -> Bins:
    dtypes = {selected.dtype for selected in group.members}
    ends = _ends(group.counts) if len(group.counts.parts) == 1 else None
    return bins_between(ends, dtypes.pop() if len(dtypes) == 1 else "float64", group.counts.size, None, default)


def bins_between(
    ends: tuple[float, float] | None, dtype: str, size: int, bins: int | None = None, default: int = DEFAULT_BINS
) -> Bins:
    """Return the bins between the smallest and the largest value of an array; see histograms for their number.

    ends: None without values.
    size: the number of values.
    """
    if ends is None:
        return Bins(np.empty(0))
    low, high = ends
    if bins is None and numpy_dtype(dtype).kind in "iub" and max(-low, high) < EXACT_INTEGERS:
        first, last = ceil(low), floor(high)
        width = max(1, -(-(last - first + 1) // default))
        edges = np.arange(first, last + width + 1, width, dtype=np.float64)
        if len(edges) > 1:
            return Bins(edges, low, high)
    low, high = float(low), float(high)
    number = bins or max(1, min(default, ceil(sqrt(size))))
    return Bins(_edges(low, high, number), low, high)


def _edges(low: float, high: float, bins: int) -> Array:
    """Return the edges of at most ``bins`` bins of equal width, with numbers between them."""
    if low == high:
        return np.array([low, high])  # NumPy adds 0.5 on both sides, which a large number does not notice
    scale = 0.25 if isinf(high - low) else 1.0
    while True:
        edges = np.linspace(low * scale, high * scale, bins + 1) / scale
        if bins == 1 or (edges[1:] > edges[:-1]).all():
            return edges
        bins //= 2


def count(values: Array, bins: Bins) -> Counts:
    """Return the number of values in each bin, of a flat array of any dtype."""
    with np.errstate(all="ignore"):
        numbers = _real(values).astype(np.float64, copy=False)
        inside = (numbers >= bins.low) & (numbers <= bins.high) if bins.edges.size else np.zeros(numbers.shape, bool)
        if inside.all():
            return Counts(_count_inside(numbers, bins.edges))
        nan, inf = (int(np.count_nonzero(test(numbers))) for test in (np.isnan, np.isinf))
        counts = _count_inside(numbers[inside], bins.edges)
        finite = numbers[np.isfinite(numbers)]
        below = int(np.count_nonzero(finite < bins.low))
        return Counts(counts, below, numbers.size - int(counts.sum()) - nan - inf - below, nan, inf)


def _count_inside(numbers: Array, edges: Array) -> Array:
    """Return the counts of numbers of which none is outside the edges."""
    if not edges.size or not numbers.size:
        return np.zeros(max(edges.size - 1, 0), np.int64)
    low, high = edges[0], edges[-1]
    if low == high:
        return np.array([numbers.size])
    if isinf(high - low):  # NumPy finds the bin by this difference, unless it is given the edges
        return np.histogram(numbers, edges)[0]
    bins = edges.size - 1
    # how far rounding can move a number and the edges, in bins
    margin = 16 * np.finfo(np.float64).eps * bins * (1 + max(abs(low), abs(high)) / (high - low))
    if bins > AT_ONCE or not margin < LARGEST_MARGIN or high - low < np.finfo(np.float64).tiny * bins:
        return np.histogram(numbers, bins, (low, high))[0]
    result, edges = np.zeros(bins, np.int64), np.linspace(low, high, bins + 1)
    for start in range(0, numbers.size, AT_ONCE):
        result += _count_part(numbers[start : start + AT_ONCE], edges, margin)
    return result


def _count_part(numbers: Array, edges: Array, margin: float) -> Array:
    """Return the counts of numpy.histogram, which compares every number with the edges of its bin.

    Only numbers within the margin of an edge are compared here, and most arrays have few of them.
    """
    bins = edges.size - 1
    places = numbers - edges[0]
    places *= bins / (edges[-1] - edges[0])
    chosen = places.astype(np.intp)
    places -= np.rint(places)
    near = np.flatnonzero(np.abs(places, out=places) <= margin)
    if near.size:
        chosen[near] = np.minimum(np.searchsorted(edges, numbers[near], "right") - 1, bins - 1)
    return np.bincount(chosen, minlength=bins)


def _real(values: Array) -> Array:
    """Return values in a dtype that NumPy computes with; the absolute values of complex ones, NaN if a part is NaN."""
    if values.dtype.kind != "c":
        return widened(values)
    with np.errstate(all="ignore"):
        wide = values.astype(np.complex128)
        return np.where(np.isnan(wide), np.nan, np.abs(wide))


def _ends(counted: Tally | None) -> tuple[float, float] | None:
    if counted is None or not counted.parts[0].size:
        return None
    return counted.parts[0].minimum, counted.parts[0].maximum


def _histogram(selected: SelectedValues, bins: Bins, counts: Counts | None) -> Histogram:
    counts = counts or Counts(np.zeros(max(bins.edges.size - 1, 0), np.int64))
    whole = bool(bins.edges.size and bins.edges[-1] > bins.high)
    return Histogram(
        path=selected.name,
        shape=selected.selection.shape,
        dtype=selected.dtype,
        size=selected.selection.size,
        edges=tuple(map(int, bins.edges)) if whole else tuple(bins.edges.tolist()),
        counts=tuple(counts.bins.tolist()),
        low=bins.low if bins.edges.size else None,
        high=bins.high if bins.edges.size else None,
        below=counts.below,
        above=counts.above,
        nan=counts.nan,
        inf=counts.inf,
    )
