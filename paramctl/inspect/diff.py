"""Comparison of two sources: a row for each parameter that differs in presence, shape, dtype, ties or values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from math import inf
from typing import Literal

import numpy as np

from paramctl.address.quoting import address_of
from paramctl.core.parameter import bytes_of
from paramctl.inspect.difference import Difference, compare_values, measure_values
from paramctl.inspect.fold import PieceToMeasure, fold
from paramctl.inspect.pairing import Pairing, pair
from paramctl.inspect.tolerance import EXACT, Tolerance
from paramctl.parallel import Progress, advancing
from paramctl.source.base import Source
from paramctl.store.contents import BLOCK_SIZE, check_decodable, connections, undecodable

SPARE = 1 << 24
"""Bytes allocated and freed, untouched, at the start. glibc then keeps the memory of freed pieces for the next ones.
Otherwise it returns that memory to the system, which must map every page again: that costs more than comparing it."""

DiffStatus = Literal["only in A", "only in B", "shape", "dtype", "ties", "values", "unread", "total"]
Pieces = Iterator[PieceToMeasure[str, Difference]]


@dataclass(frozen=True, slots=True)
class DiffRow:
    """A parameter that differs; or, with the status "total", all values that both sides have.

    path: A's name for it; empty for the total.
    a, b: its shape, dtype and tie on each side.
    different: the number of values that differ.
    max_abs, max_rel: the largest ``|a - b|`` and ``|a - b| / |b|`` of those values, or of all if none differs; None if
    none is finite. max_abs of integers is an int.
    at: the index of the value with max_abs, or of the first that differs if none is finite.
    norm: the L2 norm of ``a - b``. relative_norm: the same over the norm of a. cosine: the cosine of the angle between
    a and b. All three are of all values, and None if these are not finite or if a denominator is 0.
    nan_a, nan_b, inf_a, inf_b: the numbers of NaN and infinities on each side, among the values that differ.
    first_nan, first_inf: the address of the first of these values that is NaN, and of the first that is infinite.
    unread: why the values were not compared; None if they were, or if they need not be.
    """

    path: str
    status: DiffStatus
    a: str | None
    b: str | None
    different: int | None = None
    max_abs: float | None = None
    max_rel: float | None = None
    at: tuple[int, ...] | None = None
    norm: float | None = None
    relative_norm: float | None = None
    cosine: float | None = None
    nan_a: int | None = None
    nan_b: int | None = None
    inf_a: int | None = None
    inf_b: int | None = None
    first_nan: str | None = None
    first_inf: str | None = None
    unread: str | None = None

    @property
    def nonfinite(self) -> int:
        """The number of NaN and infinities among the values that differ, on both sides together."""
        return sum(count or 0 for count in (self.nan_a, self.nan_b, self.inf_a, self.inf_b))


def compare(
    a: Source,
    b: Source,
    name_in_b: Callable[[str], str] = lambda path: path,
    *,
    tolerance: Tolerance = EXACT,
    structure: bool = False,
    any_dtype: bool = False,
    total: bool = False,
    included: Collection[str] | None = None,
    decodable: bool = True,
    progress: Progress | None = None,
    threads: int | None = None,
) -> list[DiffRow]:
    """Return a row for each difference between two sources: in A's order, then the parameters that only B has.

    name_in_b: maps the path of a parameter of B to the name under which it is compared.
    structure: compare names, shapes, dtypes and ties, but no values.
    any_dtype: accept different dtypes if the values are equal.
    total: add a row for all compared values, if any parameter differs. This reads equal arrays once more.
    included: the names to compare; None for all.
    decodable: False to accept arrays whose values cannot be decoded. Their rows have the reason.
    progress: called with the bytes done and the bytes in total, after each piece.
    threads: the number of workers, which does not affect the result.
    """
    pairing = pair(a, b, name_in_b, included)
    compared = [] if structure else list(pairing.compared())
    unread = {} if decodable else _undecodable(pairing, compared)
    compared = [name for name in compared if name not in unread]
    for name in compared:
        for side in (pairing.a, pairing.b):
            check_decodable(side.source.model, side.paths[name])
    size = sum(a.model.parameters[name].bytes for name in compared)
    np.empty(SPARE, np.uint8)
    spans = ((name, (0, a.model.parameters[name].size)) for name in compared)
    threads = threads or connections(a, b)
    differences = fold(_pieces(pairing, spans, _compare_span, tolerance), advancing(progress, size), threads)
    # Arrays that differ are measured in full, so the pieces with equal bytes are read once more.
    unequal = ((name, difference) for name, difference in differences.items() if difference.different or total)
    equal = ((name, span) for name, difference in unequal for span in difference.equal)
    measured = fold(_pieces(pairing, equal, _measure_span, tolerance), threads=threads, initial=differences)
    found = [_row(pairing, name, measured.get(name), any_dtype, unread.get(name)) for name in pairing.in_a()]
    rows = [row for row in found if row is not None]
    rows += [DiffRow(name, "only in B", None, pairing.b.describe(name)) for name in pairing.only_in_b()]
    return [*rows, _total_row(list(measured.values()))] if rows and total and measured else rows


def _undecodable(pairing: Pairing, names: Sequence[str]) -> Mapping[str, str]:
    """Return why the values of arrays cannot be decoded, by name; only of those that cannot."""
    reasons = {}
    for name in names:
        for side in (pairing.a, pairing.b):
            if reason := undecodable(side.source.model, side.paths[name]):
                reasons[name] = reason
    return reasons


Span = tuple[int, int]
SpanMeasure = Callable[[Pairing, str, int, int, Tolerance], Difference]


def _pieces(pairing: Pairing, spans: Iterator[tuple[str, Span]], measure: SpanMeasure, tolerance: Tolerance) -> Pieces:
    """Yield the spans in pieces of a block. Spans begin at multiples of a block, so pieces are the same each time."""
    for name, (start, stop) in spans:
        dtype = pairing.a.dtype(name)
        for begin in range(start, stop, BLOCK_SIZE):
            end = min(begin + BLOCK_SIZE, stop)
            size = bytes_of(dtype, end - begin)
            yield PieceToMeasure(name, size, partial(measure, pairing, name, begin, end, tolerance))


def _compare_span(pairing: Pairing, name: str, start: int, stop: int, tolerance: Tolerance) -> Difference:
    return compare_values(start, pairing.a.read(name, start, stop), pairing.b.read(name, start, stop), tolerance)


def _measure_span(pairing: Pairing, name: str, start: int, stop: int, tolerance: Tolerance) -> Difference:
    """Measure a span whose bytes are equal on both sides, so that reading one side is enough."""
    values = pairing.a.read(name, start, stop)
    return measure_values(start, values, values, tolerance)


def _row(
    pairing: Pairing, name: str, difference: Difference | None, any_dtype: bool, unread: str | None
) -> DiffRow | None:
    a, b = pairing.a, pairing.b
    if name not in b.paths:
        return DiffRow(name, "only in A", a.describe(name), None)
    both = a.describe(name), b.describe(name)
    shape, separator = a.shape(name), a.source.model.separator
    if shape != b.shape(name):
        return DiffRow(name, "shape", *both)
    # the dtype comes before the values, which mostly differ because of it
    if not any_dtype and a.dtype(name) != b.dtype(name):
        return _with_places(DiffRow(name, "dtype", *both, unread=unread), difference, shape, separator)
    if unread is not None:
        return DiffRow(name, "unread", *both, unread=unread)
    if difference is not None and difference.different:
        return _with_places(DiffRow(name, "values", *both), difference, shape, separator)
    return DiffRow(name, "ties", *both) if pairing.ties_differ(name) else None


def _with_places(row: DiffRow, difference: Difference | None, shape: tuple[int, ...], separator: str) -> DiffRow:
    """Return a row with the measurements of its parameter, and with the places of these values in it."""
    if difference is None or difference.sums is None:
        return row
    nonfinite = difference.nonfinite
    return replace(
        _with_numbers(row, difference),
        at=_index(difference.place, shape) if difference.different and shape else None,
        first_nan=_address(row.path, separator, nonfinite.first_nan, shape),
        first_inf=_address(row.path, separator, nonfinite.first_inf, shape),
    )


def _address(path: str, separator: str, number: int | None, shape: tuple[int, ...]) -> str | None:
    """Return the address of the value with a flat index."""
    if number is None:
        return None
    indices = ", ".join(map(str, _index(number, shape)))
    return address_of(path, separator) + (f"[{indices}]" if indices else "")


def _index(number: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(place) for place in np.unravel_index(number, shape))


def _with_numbers(row: DiffRow, difference: Difference) -> DiffRow:
    if difference.sums is None:
        return row
    squares, dot, squares_a, squares_b = difference.sums
    nonfinite = difference.nonfinite
    return replace(
        row,
        different=difference.different,
        max_abs=difference.max_abs if 0 <= difference.max_abs < inf else None,
        max_rel=difference.max_rel if 0 <= difference.max_rel < inf else None,
        norm=squares.root(),
        relative_norm=squares.ratio(squares_a),
        cosine=dot.cosine(squares_a, squares_b),
        nan_a=nonfinite.nan_a,
        nan_b=nonfinite.nan_b,
        inf_a=nonfinite.inf_a,
        inf_b=nonfinite.inf_b,
    )


def _total_row(differences: Sequence[Difference]) -> DiffRow:
    return _with_numbers(DiffRow("", "total", None, None), reduce(Difference.join, differences))
