"""Comparison of two sources: a row for each parameter that differs in presence, shape, dtype, ties or values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import inf, isfinite, sqrt
from typing import Literal, NamedTuple

import numpy as np

from paramctl.core.parameter import DTYPE_BYTES
from paramctl.inspect.difference import EXACT, Difference, Tolerance, compare_values, measure_values
from paramctl.inspect.fold import PieceToMeasure, fold
from paramctl.model import Model
from paramctl.parallel import Progress, advancing
from paramctl.source.base import Source
from paramctl.store.contents import BLOCK_SIZE, read_alias

SPARE = 1 << 24
"""Bytes allocated and freed, untouched, at the start. glibc then keeps the memory of freed pieces for the next ones.
Otherwise it returns that memory to the system, which must map every page again: that costs more than comparing it."""

DiffStatus = Literal["only in A", "only in B", "shape", "dtype", "ties", "values"]
Pieces = Iterator[PieceToMeasure[str, Difference]]


@dataclass(frozen=True, slots=True)
class DiffRow:
    """A parameter that differs.

    a, b: its shape, dtype and tie on each side.
    different: the number of values that differ.
    max_abs, max_rel: the largest ``|a - b|`` and ``|a - b| / |b|`` of those values, or of all if none differs; None if
    none is finite. max_abs of integers is an int.
    at: the index of the value with max_abs, or of the first that differs if none is finite.
    norm: the L2 norm of ``a - b``. cosine: the cosine of the angle between a and b. Both are of all values, and None
    if these are not finite.
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
    cosine: float | None = None


def compare(
    a: Source,
    b: Source,
    name_in_b: Callable[[str], str] = lambda path: path,
    *,
    tolerance: Tolerance = EXACT,
    structure: bool = False,
    any_dtype: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
) -> list[DiffRow]:
    """Return a row for each difference between two sources: in A's order, then the parameters that only B has.

    name_in_b: maps the path of a parameter of B to the name under which it is compared.
    structure: compare names, shapes, dtypes and ties, but no values.
    any_dtype: accept different dtypes if the values are equal.
    progress: called with the bytes done and the bytes in total, after each piece.
    threads: the number of workers, which does not affect the result.
    """
    pairing = _pair(a, b, name_in_b)
    compared = [] if structure else [path for path in pairing.common if _values_are_compared(pairing, path)]
    total = sum(a.model.parameters[path].bytes for path in compared)
    np.empty(SPARE, np.uint8)
    spans = ((path, (0, a.model.parameters[path].size)) for path in compared)
    differences = fold(_pieces(pairing, spans, _compare_span, tolerance), advancing(progress, total), threads)
    # Arrays that differ are measured in full, so the pieces with equal bytes are read once more.
    unequal = ((path, difference) for path, difference in differences.items() if difference.different)
    equal = ((path, span) for path, difference in unequal for span in difference.equal)
    measured = fold(_pieces(pairing, equal, _measure_span, tolerance), threads=threads, initial=differences)
    rows = [_row(pairing, path, measured.get(path), any_dtype) for path in a.model.parameters]
    only_in_b = [path for path in pairing.names_in_b if path not in a.model.parameters]
    return [row for row in rows if row is not None] + [
        DiffRow(path, "only in B", None, _describe(b, pairing.names_in_b[path])) for path in only_in_b
    ]


class SharedArray(NamedTuple):
    """The array under a name, identified by its first name on both sides. transposed: relative to that name."""

    first: str
    transposed: bool


@dataclass(frozen=True, slots=True)
class _Pairing:
    """Two sources side by side. Names are A's; names_in_b gives B's own path for each name."""

    a: Source
    b: Source
    names_in_b: Mapping[str, str]
    common: list[str]
    shared_in_a: Mapping[str, SharedArray]
    shared_in_b: Mapping[str, SharedArray]


def _pair(a: Source, b: Source, name_in_b: Callable[[str], str]) -> _Pairing:
    names = {name_in_b(path): path for path in b.model.parameters}
    common = [path for path in a.model.parameters if path in names]
    shared_in_a = _shared_arrays(a.model, {path: path for path in common})
    shared_in_b = _shared_arrays(b.model, {path: names[path] for path in common})
    return _Pairing(a, b, names, common, shared_in_a, shared_in_b)


def _shared_arrays(model: Model, names: Mapping[str, str]) -> dict[str, SharedArray]:
    """Return the shared array of each name; ``names`` maps each to the model's own path.

    The first common name identifies an array. So two files agree even if each keeps the array under another name.
    """
    first: dict[str, tuple[str, bool]] = {}
    shared = {}
    for name, path in names.items():
        tie = model.tied.get(path)
        transposed = tie is not None and tie.transpose and len(model.parameters[path].axes) > 1
        leader, leader_transposed = first.setdefault(tie.kept if tie else path, (name, transposed))
        shared[name] = SharedArray(leader, transposed != leader_transposed)
    return shared


def _values_are_compared(pairing: _Pairing, path: str) -> bool:
    """Return True if shapes agree, unless both sides compare the same array under another name already."""
    a, b = pairing.a.model.parameters[path], pairing.b.model.parameters[pairing.names_in_b[path]]
    in_a, in_b = pairing.shared_in_a[path], pairing.shared_in_b[path]
    return a.shape == b.shape and (in_a.first == path or in_a != in_b)


Span = tuple[int, int]
SpanMeasure = Callable[[_Pairing, str, int, int, Tolerance], Difference]


def _pieces(pairing: _Pairing, spans: Iterator[tuple[str, Span]], measure: SpanMeasure, tolerance: Tolerance) -> Pieces:
    """Yield the spans in pieces of a block. Spans begin at multiples of a block, so pieces are the same each time."""
    for path, (start, stop) in spans:
        width = DTYPE_BYTES[pairing.a.model.owner(path).dtype]
        for begin in range(start, stop, BLOCK_SIZE):
            end = min(begin + BLOCK_SIZE, stop)
            yield PieceToMeasure(path, (end - begin) * width, partial(measure, pairing, path, begin, end, tolerance))


def _compare_span(pairing: _Pairing, path: str, start: int, stop: int, tolerance: Tolerance) -> Difference:
    a = read_alias(pairing.a, path, start, stop)
    b = read_alias(pairing.b, pairing.names_in_b[path], start, stop)
    return compare_values(start, a, b, tolerance)


def _measure_span(pairing: _Pairing, path: str, start: int, stop: int, tolerance: Tolerance) -> Difference:
    """Measure a span whose bytes are equal on both sides, so that reading one side is enough."""
    values = read_alias(pairing.a, path, start, stop)
    return measure_values(start, values, values, tolerance)


def _row(pairing: _Pairing, path: str, difference: Difference | None, any_dtype: bool) -> DiffRow | None:
    a, b = pairing.a, pairing.b
    if path not in pairing.names_in_b:
        return DiffRow(path, "only in A", _describe(a, path), None)
    path_in_b = pairing.names_in_b[path]
    in_a, in_b = pairing.shared_in_a[path], pairing.shared_in_b[path]
    both = _describe(a, path, path, in_a), _describe(b, path_in_b, path, in_b)
    shape = a.model.parameters[path].shape
    if shape != b.model.parameters[path_in_b].shape:
        return DiffRow(path, "shape", *both)
    # the dtype comes before the values, which mostly differ because of it
    if not any_dtype and a.model.owner(path).dtype != b.model.owner(path_in_b).dtype:
        return _with_difference(DiffRow(path, "dtype", *both), difference, shape)
    if difference is not None and difference.different:
        return _with_difference(DiffRow(path, "values", *both), difference, shape)
    return DiffRow(path, "ties", *both) if in_a != in_b else None


def _with_difference(row: DiffRow, difference: Difference | None, shape: tuple[int, ...]) -> DiffRow:
    if difference is None or difference.sums is None:
        return row
    squares, dot, squares_a, squares_b = difference.sums
    length = sqrt(squares_a) * sqrt(squares_b) if isfinite(squares_a) and isfinite(squares_b) else 0.0
    at = tuple(int(n) for n in np.unravel_index(difference.place, shape)) if difference.different and shape else None
    return replace(
        row,
        different=difference.different,
        max_abs=difference.max_abs if 0 <= difference.max_abs < inf else None,
        max_rel=difference.max_rel if 0 <= difference.max_rel < inf else None,
        at=at,
        norm=sqrt(squares) if isfinite(squares) else None,
        # rounding may give 1.0000000000000002 for equal directions
        cosine=max(-1.0, min(1.0, dot / length)) if length and isfinite(dot) else None,
    )


def _describe(source: Source, path: str, name: str = "", shared: SharedArray | None = None) -> str:
    """Return the shape and dtype of a parameter, and the name of the array that it shares, if any.

    path: the parameter's path in its source. name: the name under which it is compared.
    """
    text = f"{source.model.parameters[path].shape} {source.model.owner(path).dtype}"
    if shared is not None and shared.first != name:
        return f"{text} = {shared.first}" + (", transposed" if shared.transposed else "")
    tie = source.model.tied.get(path)
    return f"{text} = {tie.kept}" if tie else text
