"""Statistics of the values of a source: a row for each array, selected slice, or group of arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from math import hypot, isfinite, ldexp
from typing import NamedTuple

import numpy as np

from paramctl.core.parameter import bytes_of
from paramctl.inspect.fold import fold, selected_pieces
from paramctl.inspect.histogram import EXACT_INTEGERS, BinCounts, Group, joint_histograms
from paramctl.inspect.moments import Moments
from paramctl.inspect.powers import Center, Powers, powers
from paramctl.inspect.quantiles import Numbers, passes, quantiles
from paramctl.inspect.spectral import spectrum
from paramctl.inspect.tally import EMPTY, Tally, tally
from paramctl.parallel import Progress, advancing
from paramctl.source.base import SelectedValues
from paramctl.store.contents import connections, unwritten

HISTOGRAM_BINS = 16


@dataclass(frozen=True, slots=True)
class StatRow:
    """Statistics of an array, of a slice of one, or of several arrays together.

    mean, stddev, min, max, norm: of the finite values; None without any, and for a norm beyond float64.
    stddev: the population's, ``sqrt(mean(|x - mean|**2))``.
    min, max: None for complex numbers, which have no order.
    norm: the L2 norm.
    zeros: includes -0.0.
    inf: of either sign.
    sparsity: the share of zeros among all values; None without values.
    first: the index in the array of the first value, in C order of the stored array, that is NaN or infinite.

    Of several arrays, path is the name of the block or dtype, ``total`` for all; shape, first, and dtype if it is not
    common to all are None. arrays: their number. per: ``parameter``, ``block``, ``dtype`` or ``total``.

    The other facts are None unless they were asked for:
    skewness, kurtosis: of the finite values as a population; kurtosis is the excess over that of the normal
        distribution. None for complex numbers, and if the values do not differ.
    l1, linf, rms: the sum of the absolute values, the largest one, and ``sqrt(mean(|x|**2))``.
    quantiles: by probability; None for complex numbers.
    histogram: counts of the finite values in at most 16 bins; None for complex numbers.
    spectral_norm, stable_rank, condition, rank, spectral_note: of a matrix; see Spectrum.
    """

    path: str
    shape: tuple[int, ...] | None
    dtype: str | None
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
    sparsity: float | None
    arrays: int = 1
    per: str = "parameter"
    skewness: float | None = None
    kurtosis: float | None = None
    l1: float | None = None
    linf: float | int | None = None
    rms: float | None = None
    quantiles: Mapping[float, float | None] = field(default_factory=dict)
    histogram: BinCounts | None = None
    spectral_norm: float | None = None
    stable_rank: float | None = None
    condition: float | None = None
    rank: int | None = None
    spectral_note: str | None = None

    @property
    def finite(self) -> int:
        """The number of finite values."""
        return self.size - self.nan - self.inf


class Wanted(NamedTuple):
    """The facts to compute besides those that one pass gives. quantiles: the probabilities."""

    quantiles: tuple[float, ...] = ()
    moments: bool = False
    norms: bool = False
    spectral: bool = False
    histogram: bool = False

    def __or__(self, other: Wanted) -> Wanted:
        """Return the facts of both."""
        more = tuple(each for each in other.quantiles if each not in self.quantiles)
        moments, norms = self.moments or other.moments, self.norms or other.norms
        spectral, histogram = self.spectral or other.spectral, self.histogram or other.histogram
        return Wanted((*self.quantiles, *more), moments, norms, spectral, histogram)


NOTHING_MORE = Wanted()


class Unit(NamedTuple):
    """The subject of a row: selected values by number, under a name. per: see StatRow."""

    name: str
    members: tuple[int, ...]
    per: str = "parameter"


class Table(NamedTuple):
    """Rows to compute: their units, and the facts of each."""

    units: Sequence[Unit]
    wanted: Wanted = NOTHING_MORE


def statistics(
    selection: Sequence[SelectedValues],
    progress: Progress | None = None,
    threads: int | None = None,
    wanted: Wanted = NOTHING_MORE,
) -> list[StatRow]:
    """Return the statistics of each selected array or slice, in the order of the selection.

    progress: called with the bytes done and the bytes in total, after each piece.
    threads: the number of workers, which does not affect the result.
    """
    (rows,) = statistics_tables(selection, [Table(units_of_each(selection), wanted)], progress, threads)
    return rows


def units_of_each(selection: Sequence[SelectedValues]) -> list[Unit]:
    """Return a unit for each selected array or slice."""
    return [Unit(selected.name, (number,)) for number, selected in enumerate(selection)]


def statistics_tables(
    selection: Sequence[SelectedValues],
    tables: Sequence[Table],
    progress: Progress | None = None,
    threads: int | None = None,
) -> list[list[StatRow]]:
    """Return the rows of several tables about the same selection, whose values are tallied once."""
    workers = threads or connections(*(selected.source for selected in selection))
    total = _bytes(selection) + sum(_further_bytes(selection, table) for table in tables)
    advance = advancing(progress, total)
    with unwritten(*(selected.source for selected in selection)):
        tallies = fold(selected_pieces(selection, lambda _, values: tally(values)), advance, workers)
        counts = [tallies.get(number, EMPTY) for number in range(len(selection))]
        return [_Rows(selection, counts, table, advance, workers).rows() for table in tables]


def _bytes(selection: Sequence[SelectedValues]) -> int:
    return sum(bytes_of(selected.dtype, selected.selection.size) for selected in selection)


def _further_bytes(selection: Sequence[SelectedValues], table: Table) -> int:
    """Return the bytes that a table reads again."""
    total = 0
    for unit in table.units:
        members = tuple(selection[number] for number in unit.members)
        again = (table.wanted.moments or table.wanted.norms) + table.wanted.spectral + table.wanted.histogram
        if table.wanted.quantiles and members:
            again += passes(Numbers(members, 0))
        total += again * _bytes(members)
    return total


class _Rows(NamedTuple):
    """The computation of a table's rows, from the tallies of the selected values."""

    selection: Sequence[SelectedValues]
    counts: Sequence[Tally]
    table: Table
    advance: Callable[[int], object]
    threads: int | None

    def rows(self) -> list[StatRow]:
        wanted, joined = self.table.wanted, [self.joined(unit) for unit in self.table.units]
        rows = [self.row(unit) for unit in self.table.units]
        if wanted.moments or wanted.norms:
            rows = self.with_powers(rows, joined)
        if wanted.quantiles:
            rows = self.with_quantiles(rows)
        if wanted.histogram:
            groups = [Group(self.members(unit), counts) for unit, counts in zip(self.table.units, joined, strict=True)]
            counted = joint_histograms(groups, self.advance, HISTOGRAM_BINS, self.threads)
            rows = [replace(row, histogram=bins) for row, bins in zip(rows, counted, strict=True)]
        if wanted.spectral:
            rows = self.with_spectra(rows)
        return rows

    def members(self, unit: Unit) -> list[SelectedValues]:
        return [self.selection[number] for number in unit.members]

    def joined(self, unit: Unit) -> Tally:
        return _joined([self.counts[number] for number in unit.members])

    def row(self, unit: Unit) -> StatRow:
        return _row(unit, self.members(unit), [self.counts[number] for number in unit.members])

    def with_powers(self, rows: list[StatRow], joined: Sequence[Tally]) -> list[StatRow]:
        wanted, again = self.table.wanted, [number for unit in self.table.units for number in unit.members]
        centers = [Center.of(counts) for counts in joined]
        center_of = [centers[row] for row, unit in enumerate(self.table.units) for _ in unit.members]
        pieces = selected_pieces(
            [self.selection[number] for number in again],
            lambda place, values: powers(values, center_of[place], wanted.moments, wanted.norms),
        )
        sums = fold(pieces, self.advance, self.threads)
        results, place = [], 0
        for row, unit, center, counts in zip(rows, self.table.units, centers, joined, strict=True):
            places = range(place, place := place + len(unit.members))
            results.append(_with_sums(row, [sums[each] for each in places if each in sums], center, counts, wanted))
        return results

    def with_quantiles(self, rows: list[StatRow]) -> list[StatRow]:
        probabilities = self.table.wanted.quantiles
        numbers = [
            Numbers(tuple(self.members(unit)), row.finite) for unit, row in zip(self.table.units, rows, strict=True)
        ]
        values = quantiles(numbers, probabilities, self.advance, self.threads)
        return [
            replace(row, quantiles=dict(zip(probabilities, found or (None,) * len(probabilities), strict=True)))
            for row, found in zip(rows, values, strict=True)
        ]

    def with_spectra(self, rows: list[StatRow]) -> list[StatRow]:
        results = []
        for row, unit in zip(rows, self.table.units, strict=True):
            if unit.per == "parameter":
                facts = spectrum(self.selection[unit.members[0]], self.counts[unit.members[0]])
                row = replace(
                    row,
                    spectral_norm=facts.norm,
                    stable_rank=facts.stable_rank,
                    condition=facts.condition,
                    rank=facts.rank,
                    spectral_note=facts.note or None,
                )
            results.append(row)
            self.advance(_bytes(self.members(unit)))
        return results


def stat_row(selected: SelectedValues, counts: Tally) -> StatRow:
    """Return the statistics of selected values whose tally is known."""
    return _row(Unit(selected.name, (0,)), [selected], [counts])


def _row(unit: Unit, members: Sequence[SelectedValues], tallies: Sequence[Tally]) -> StatRow:
    """Return the row of a unit, from the tally of each member."""
    counts, is_one = _joined(tallies), unit.per == "parameter"
    parts, real = counts.parts, len(counts.parts) == 1
    means = [part.mean or 0.0 for part in parts]
    has_finite = parts[0].size > 0
    ends = [ends for each, member in zip(tallies, members, strict=True) if (ends := _ends(each, member))]
    dtypes = {member.dtype for member in members}
    return StatRow(
        path=unit.name,
        shape=members[0].selection.shape if is_one else None,
        dtype=dtypes.pop() if len(dtypes) == 1 else None,
        size=counts.size,
        mean=(means[0] if real else complex(*means)) if has_finite else None,
        stddev=_length(part.stddev for part in parts),
        min=min(low for low, _ in ends) if ends and real else None,
        max=max(high for _, high in ends) if ends and real else None,
        norm=_length(part.norm for part in parts),
        zeros=counts.zeros,
        nan=counts.nan,
        inf=counts.inf,
        first=members[0].index_of(counts.first) if is_one and counts.first is not None else None,
        sparsity=counts.zeros / counts.size if counts.size else None,
        arrays=len(members),
        per=unit.per,
    )


def _joined(counts: Sequence[Tally]) -> Tally:
    """Return the tally of several arrays together."""
    if len({len(each.parts) for each in counts}) > 1:
        counts = [_as_complex(each) for each in counts]
    return reduce(Tally.join, counts) if counts else EMPTY


def _ends(counts: Tally, selected: SelectedValues) -> tuple[float | int, float | int] | None:
    """Return the smallest and the largest finite value of an array."""
    moments, dtype = counts.parts[0], selected.dtype
    return (_shortest(moments.minimum, dtype), _shortest(moments.maximum, dtype)) if moments.size else None


def _as_complex(counts: Tally) -> Tally:
    """Return the tally of real numbers as that of complex ones, whose imaginary parts are 0."""
    if len(counts.parts) > 1:
        return counts
    return counts._replace(parts=(*counts.parts, Moments(counts.parts[0].size)))


def _with_sums(row: StatRow, sums: Sequence[Powers], center: Center, counts: Tally, wanted: Wanted) -> StatRow:
    total = reduce(Powers.join, sums, Powers())
    if not total.size:
        return row
    real = len(counts.parts) == 1
    shape = total.shape if wanted.moments and real and row.min != row.max else None
    row = replace(row, skewness=shape[0], kurtosis=shape[1]) if shape else row
    if not wanted.norms:
        return row
    largest = _scaled_back(total.largest, center.exponent)
    if row.min is not None and row.max is not None:
        largest = max(abs(row.min), abs(row.max))
    rms = _length(part.rms for part in counts.parts)
    return replace(row, l1=_scaled_back(total.absolute, center.exponent), linf=largest, rms=rms)


def _scaled_back(value: float, exponent: int) -> float | None:
    try:
        return ldexp(value, exponent)
    except OverflowError:
        return None


def _length(sides: Iterable[float | None]) -> float | None:
    """Return the length of a vector, of one side for real numbers and of two for complex; None beyond float64."""
    length = hypot(*(float("inf") if side is None else side for side in sides))
    return length if isfinite(length) else None


def _shortest(value: float | int, dtype: str) -> float | int:
    """Return the number with the fewest digits that rounds to this one in float32: 0.1, not 0.10000000149.

    Integers are unchanged, and float16 has the digits of float32: to 4 digits, its largest number would be 65,500.
    """
    if isinstance(value, int) or dtype == "float64" or (value.is_integer() and abs(value) < EXACT_INTEGERS):
        return value
    return float(str(np.float32(value)))
