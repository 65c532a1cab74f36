"""Rows of values: for each value the path, the index in the whole array, and the value, in chosen columns.

One table holds arrays of different ranks: it has as many index columns as the highest rank, and lower ranks leave the
last ones empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, product, repeat, starmap
from math import prod
from typing import IO

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype, to_native
from paramctl.core.text import csv_field
from paramctl.errors import AddressError, suggest
from paramctl.source.base import SelectedValues

MAX_INDICES = 1 << 16
"""The number of indices whose texts are computed at once."""

VALUES = ("value", "real", "imag")


def choose_columns(columns: str | Sequence[str] | None, selections: Sequence[SelectedValues]) -> list[str]:
    """Return the columns of a table of values, in their order.

    columns: a list, or a text with commas. None is path, an index for each axis, and value; real and imag instead of
        value if an array is complex.
    Raises AddressError for a column that does not exist, or that is named twice.
    """
    rank = max((len(selected.selection.ranges) for selected in selections), default=0)
    axes = [f"i{axis}" for axis in range(rank)]
    if columns is None:
        is_complex = any(numpy_dtype(selected.dtype).kind == "c" for selected in selections)
        return ["path", *axes, *(("real", "imag") if is_complex else ("value",))]
    chosen = [name.strip() for name in columns.split(",")] if isinstance(columns, str) else list(columns)
    known = ["path", *axes, "index", *VALUES]
    for name in chosen:
        if name not in known:
            raise AddressError(f"columns must be some of {', '.join(known)}", repr(name), suggest(name, known))
    if not chosen or len(set(chosen)) < len(chosen):
        raise AddressError("columns must be one or more, each named once", repr(", ".join(chosen)))
    return chosen


def index_tuples(ranges: Sequence[range]) -> Iterator[tuple[str, ...]]:
    """Yield the texts of the indices in C order. The texts in memory are few, whatever the sizes of the axes."""
    size = prod(map(len, ranges))
    long = next((axis for axis, positions in enumerate(ranges) if len(positions) > 1), None)
    if long is None or size <= MAX_INDICES:
        return product(*(list(map(str, positions)) for positions in ranges))
    positions = ranges[long]
    count = max(1, MAX_INDICES * len(positions) // size)
    parts = (positions[start : start + count] for start in range(0, len(positions), count))
    return chain.from_iterable(index_tuples([*ranges[:long], part, *ranges[long + 1 :]]) for part in parts)


def index_texts(ranges: Sequence[range]) -> Iterator[str]:
    """Yield each index as a text, such as ``0,12``."""
    return map(",".join, index_tuples(ranges))


def write_csv(selections: Sequence[SelectedValues], file: IO[str], columns: Sequence[str]) -> None:
    """Write a header, and a line for each value.

    Bools are true and false; 1 and 0 in a table that also has numbers, so that its values are a column of numbers.
    """
    file.write(f"{','.join(columns)}\n")
    only_bools = all(selected.dtype == "bool" for selected in selections)
    for selected in selections:
        parts = [part if isinstance(part, str) else _fixed_texts(part, selected) for part in _parts(selected, columns)]
        for piece in selected.pieces():
            values = piece if only_bools or piece.dtype.kind != "b" else piece.view(np.uint8)
            texts = [_column(values, part) if isinstance(part, str) else islice(part, values.size) for part in parts]
            file.writelines(map("".join, zip(*texts, strict=False)))


Fixed = list[str | int]
"""The text between two values of a line: constant texts, and the axes whose indices are between them."""


def _parts(selected: SelectedValues, columns: Sequence[str]) -> list[str | Fixed]:
    """Return the parts of each line: columns of values, by their names, and the texts around them."""
    rank = len(selected.selection.ranges)
    parts: list[str | Fixed] = []
    fixed: Fixed = []
    for number, name in enumerate(columns):
        fixed += [","] if number else []
        if name in VALUES:
            parts += [fixed, name]
            fixed = []
        else:
            field = _field(selected.path, name, rank)
            fixed += field if field or len(columns) > 1 else ['""']  # an empty line is no row
    return [*parts, [*fixed, "\n"]]


def _field(path: str, name: str, rank: int) -> Fixed:
    """Return a column that is not of values."""
    if name == "path":
        return [csv_field(path)]
    if name != "index":
        axis = int(name[1:])
        return [axis] if axis < rank else []
    quote = ['"'] if rank > 1 else []
    between: Fixed = [part for axis in range(rank) for part in (",", axis)]
    return [*quote, *between[1:], *quote]


def _fixed_texts(fixed: Fixed, selected: SelectedValues) -> Iterator[str]:
    """Return an iterator of the text in each line."""
    ranges = selected.selection.ranges
    axes = [part for part in fixed if isinstance(part, int)]
    if not axes:
        return repeat("".join(map(str, fixed)))
    if axes == list(range(len(ranges))):  # several times as fast as format
        template = "".join("%s" if isinstance(part, int) else part.replace("%", "%%") for part in fixed)
        return map(template.__mod__, index_tuples(ranges))
    escaped = (f"{{{part}}}" if isinstance(part, int) else part.replace("{", "{{").replace("}", "}}") for part in fixed)
    return starmap("".join(escaped).format, index_tuples(ranges))


def _column(values: Array, name: str) -> Iterable[str]:
    """Return the texts of a column of values. A real number has the imaginary part 0."""
    if name == "value":
        return value_texts(values)
    if values.dtype.kind != "c":
        return value_texts(values) if name == "real" else repeat("0")
    return value_texts(values.real if name == "real" else values.imag)


def value_texts(values: Array) -> list[str]:
    """Return each value as the shortest text that reads back the same."""
    values = to_native(values)
    if values.dtype.kind == "b":
        return ["true" if value else "false" for value in values.tolist()]
    if values.dtype == np.float64:
        return list(map(repr, values.tolist()))  # NumPy's text, in a third of the time
    return list(map(str, values if values.dtype.kind == "f" else values.tolist()))
