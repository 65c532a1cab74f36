"""Rows of values: for each value the path, the index in the whole array, and the value, in chosen columns.

One table holds arrays of different ranks: it has as many index columns as the highest rank, and lower ranks leave the
last ones empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, product
from math import prod
from typing import IO

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.core.text import csv_field
from paramctl.errors import AddressError, suggest
from paramctl.library.text_blocks import ROWS, constant_block, index_blocks, join, value_block
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
        parts, ranges = _parts(selected, columns), selected.selection.ranges
        for start, values in blocks_of_values(selected):
            indices = index_blocks(ranges, start, values.size) if any(isinstance(part, int) for part in parts) else {}
            if values.dtype.kind == "b" and not only_bools:
                values = values.view(np.uint8)
            file.write(join([indices[part] if isinstance(part, int) else _block(part, values) for part in parts]))


def blocks_of_values(selected: SelectedValues) -> Iterator[tuple[int, Array]]:
    """Yield the values in C order in parts of at most ROWS, each with the number of its first value."""
    start = 0
    for piece in selected.pieces():
        for begin in range(0, piece.size, ROWS):
            values = piece[begin : begin + ROWS]
            yield start, values
            start += values.size


class Fixed(str):
    """A text that is the same in each line."""


def _parts(selected: SelectedValues, columns: Sequence[str]) -> list[str | int]:
    """Return the parts of each line: names of columns of values, numbers of axes, and Fixed texts around them."""
    rank = len(selected.selection.ranges)
    parts: list[str | int] = []
    for number, name in enumerate(columns):
        parts += [Fixed(",")] if number else []
        if name in VALUES:
            parts.append(name)
        else:
            field = _field(selected.path, name, rank)
            parts += field if field or len(columns) > 1 else [Fixed('""')]  # an empty line is no row
    return [*parts, Fixed("\n")]


def _field(path: str, name: str, rank: int) -> list[str | int]:
    """Return the parts of a column that is not of values."""
    if name == "path":
        return [Fixed(csv_field(path))]
    if name != "index":
        axis = int(name[1:])
        return [axis] if axis < rank else []
    quote = [Fixed('"')] if rank > 1 else []
    between: list[str | int] = [part for axis in range(rank) for part in (Fixed(","), axis)]
    return [*quote, *between[1:], *quote]


def _block(part: str, values: Array) -> Array:
    """Return the block of a Fixed text, or of a column of values. A real number has the imaginary part 0."""
    if isinstance(part, Fixed):
        return constant_block(part, values.size)
    if part != "value" and values.dtype.kind == "c":
        values = values.real if part == "real" else values.imag
    elif part == "imag":
        return constant_block("0", values.size)
    return value_block(values)
