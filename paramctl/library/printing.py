"""dump: values as text and bytes.

Each writer streams pieces of bounded size, so an array of any size can be printed. The exception is NumPy's own
format, which needs all values at once to compute the width of its columns.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import IO, Any, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype, to_native
from paramctl.core.text import printable
from paramctl.errors import AddressError
from paramctl.library.arguments import choice, expect, filters, whole
from paramctl.library.opening import Openable, as_source
from paramctl.library.text_blocks import choice_block, join, value_block
from paramctl.library.value_rows import blocks_of_values, choose_columns, write_csv
from paramctl.library.value_tables import Stream, write_arrow, write_parquet
from paramctl.source.base import SelectedValues, select_values
from paramctl.store.io.extents import as_bytes
from paramctl.store.npz import npy, writing
from paramctl.store.npz.names import check_names

EDGE = 3
"""The number of values that NumPy prints at each end of an abbreviated axis."""

MAX_NUMPY_VALUES = 1 << 22


class Style(NamedTuple):
    """The options of NumPy's format; None is NumPy's default."""

    precision: int | None = None
    threshold: int | None = None
    full: bool = False


def dump(
    weights: Openable,
    *addresses: str,
    file: IO[Any] | None = None,
    format: str = "numpy",
    columns: str | Sequence[str] | None = None,
    precision: int | None = None,
    threshold: int | None = None,
    full: bool = False,
    trainable: bool | None = None,
    dtype: str | None = None,
    kind: str | None = None,
    min_size: int | None = None,
    seed: int | None = None,
    state: bool = False,
) -> None:
    """Write values as text or bytes; without addresses, every array once.

    file: a text file or, for the formats arrow, parquet, npy, npz and raw, a binary one; standard output by default.
    format: ``numpy``, ``json``, ``jsonl``, ``csv``, ``arrow``, ``parquet``, ``npy``, ``npz`` or ``raw``.
    columns: of csv, arrow and parquet: some of path, i0, i1 and so on (the index of each axis), index, value, real and
        imag. By default path, the indices, and value; real and imag instead of value if an array is complex.
    precision, threshold, full: of NumPy's format: digits after the decimal point, the size above which arrays are
        abbreviated, and whether none is.
    trainable, dtype, kind, min_size: only parameters like this.
    seed: of a model's values. state: add the arrays of the file's optimizer.
    Raises AddressError for an address that matches nothing, and for values that the format cannot hold.
    """
    expect("format", format, str, "a text")
    choice("format", format, FORMATS)
    if file is not None and not hasattr(file, "write"):
        raise TypeError(f"file must be an open file (got {type(file).__name__})")
    if columns is not None and format not in TABLE_WRITERS:
        raise AddressError(f"columns are for the formats {', '.join(TABLE_WRITERS)}", format)
    style = Style(whole("precision", precision, 0), whole("threshold", threshold, 0), full)
    selections = select_values(
        as_source(weights, seed, state=state), addresses, filters(trainable, dtype, kind, min_size)
    )
    if format == "npy" and len(selections) != 1:
        raise AddressError("npy holds one parameter", f"{len(selections):,}", "Use the format npz.")
    if file is None:
        standard_output: IO[Any] = sys.stdout.buffer if format in BINARY else sys.stdout
        file = standard_output
    if format == "numpy":
        _write_numpy(selections, file, style)
    elif format in TABLE_WRITERS:
        TABLE_WRITERS[format](selections, file, choose_columns(columns, selections))
    else:
        (TEXT_WRITERS | BINARY_WRITERS)[format](selections, file)


def _write_numpy(selections: Sequence[SelectedValues], file: IO[str], style: Style) -> None:
    """Write each selection as NumPy prints it, under a heading if several are printed."""
    for number, selected in enumerate(selections):
        if len(selections) > 1:
            heading = printable(f"{selected.name} {selected.selection.shape} {selected.dtype}")
            file.write(f"{chr(10) if number else ''}{heading}\n")
        file.write(f"{_numpy_text(selected, style)}\n")


def _numpy_text(selected: SelectedValues, style: Style) -> str:
    """Return an array as NumPy prints it. Of an abbreviated array only the edges are read."""
    size, shape = selected.selection.size, selected.selection.shape
    threshold = 1000 if style.threshold is None else style.threshold
    abbreviated = size > threshold and not style.full
    if abbreviated:
        array = _edges(selected)
    elif size > MAX_NUMPY_VALUES:
        rule = f"{selected.name}: the format numpy prints at most {MAX_NUMPY_VALUES:,} values"
        raise AddressError(rule, f"{size:,}", "Use json, csv, npy or raw.")
    else:
        pieces = [to_native(piece) for piece in selected.pieces()]
        array = (np.concatenate(pieces) if pieces else np.empty(0)).reshape(shape)
    limit = 0 if abbreviated else max(size, 1)  # 0 has NumPy abbreviate the edges, which are few enough to print
    return np.array2string(array, precision=style.precision, threshold=limit, edgeitems=EDGE)


def _edges(selected: SelectedValues) -> Array:
    """Return the values that NumPy prints of an abbreviated array.

    Each axis that is cut has one more value in the middle: NumPy must still find it too long, and print "...".
    """
    segments = []
    for indices in selected.selection.ranges:
        cut = len(indices) > 2 * EDGE + 1
        segments.append([indices[: EDGE + 1], indices[-EDGE:]] if cut else [indices])
    dtype = to_native(np.empty(0, numpy_dtype(selected.dtype))).dtype
    array = np.empty([sum(map(len, parts)) for parts in segments], dtype)
    for corner in itertools.product(*map(enumerate, segments)):
        ranges = tuple(indices for _, indices in corner)
        target = tuple(slice(EDGE + 1, None) if number else slice(len(indices)) for number, indices in corner)
        pieces = [to_native(piece) for piece in selected.pieces(ranges)]
        array[target] = np.concatenate(pieces).reshape(list(map(len, ranges)))
    return array.reshape([min(size, 2 * EDGE + 1) for size in selected.selection.shape])


def _nested(selected: SelectedValues) -> Iterator[str]:
    """Yield the parts of an array as nested JSON lists.

    Values arrive in C order. A list at depth k holds spans[k] values, so it closes after each value whose number, from
    1, is a multiple of spans[k], and the next one opens: for shape (2, 3), "], [" after 3, and "]]" after 6.
    """
    shape = selected.selection.shape
    size, rank = prod(shape), len(shape)
    if not size:
        yield json.dumps(np.empty(shape).tolist())
        return
    spans = [prod(shape[axis:]) for axis in range(rank)]
    separators = [f"{']' * closed}, {'[' * closed}" for closed in range(rank + 1)]
    yield "[" * rank
    for start, values in blocks_of_values(selected):
        numbers = np.arange(start + 1, start + 1 + values.size)
        closed = sum((numbers % span == 0 for span in spans), np.zeros(values.size, np.uint8))
        text = join([value_block(values, as_json=True), choice_block(separators, closed)])
        last = start + values.size == size
        yield text[: -len(separators[rank])] + "]" * rank if last else text


def _write_json(selections: Sequence[SelectedValues], file: IO[str]) -> None:
    """Write one JSON object from names to nested lists."""
    file.write("{")
    for number, selected in enumerate(selections):
        file.write(f"{',' if number else ''}\n  {json.dumps(selected.name)}: ")
        file.writelines(_nested(selected))
    file.write("\n}\n" if selections else "}\n")


def _write_jsonl(selections: Sequence[SelectedValues], file: IO[str]) -> None:
    """Write a JSON object for each selection, on a line."""
    for selected in selections:
        facts = {"path": selected.name, "shape": selected.selection.shape, "dtype": selected.dtype}
        file.write(f'{json.dumps(facts)[:-1]}, "values": ')
        file.writelines(_nested(selected))
        file.write("}\n")


def _write_npy(selections: Sequence[SelectedValues], file: IO[bytes]) -> None:
    """Write the only selection as an npy file."""
    (selected,) = selections
    file.write(npy.npy_header(selected.dtype, selected.selection.shape))
    for piece in selected.pieces():
        file.write(as_bytes(to_native(piece)))


def _write_npz(selections: Sequence[SelectedValues], file: IO[bytes]) -> None:
    """Write the selections as an npz archive."""
    check_names([selected.name for selected in selections], "npz")
    members = ((each.name, each.dtype, each.selection.shape, each.pieces()) for each in selections)
    writing.write_arrays(Stream(file), members)


def _write_raw(selections: Sequence[SelectedValues], file: IO[bytes]) -> None:
    """Write the bytes of the selections."""
    for selected in selections:
        for piece in selected.pieces():
            file.write(as_bytes(piece))


Writer = Callable[[Sequence[SelectedValues], IO[Any]], None]

TEXT_WRITERS: dict[str, Writer] = {"json": _write_json, "jsonl": _write_jsonl}
BINARY_WRITERS: dict[str, Writer] = {"npy": _write_npy, "npz": _write_npz, "raw": _write_raw}
TABLE_WRITERS: dict[str, Callable[[Sequence[SelectedValues], IO[Any], Sequence[str]], None]] = {
    "csv": write_csv,
    "arrow": write_arrow,
    "parquet": write_parquet,
}
FORMATS = ("numpy", *TEXT_WRITERS, *TABLE_WRITERS, *BINARY_WRITERS)
BINARY = ("arrow", "parquet", *BINARY_WRITERS)
