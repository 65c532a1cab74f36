"""Values as text and bytes: the formats of ``paramctl dump``.

Each writer streams pieces of bounded size, so an array of any size can be printed. The exception is NumPy's own
format, which needs all values at once to compute the width of its columns.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import NamedTuple

import click
import numpy as np

from paramctl.cli.render import emit, printable
from paramctl.core.dtypes import Array, numpy_dtype, to_native
from paramctl.source.base import SelectedValues
from paramctl.store.io.extents import as_bytes
from paramctl.store.npz import npy, writing

EDGE = 3
"""The number of values that NumPy prints at each end of an abbreviated axis."""

MAX_NUMPY_VALUES = 1 << 22


class Style(NamedTuple):
    """The options of NumPy's format; None is NumPy's default."""

    precision: int | None
    threshold: int | None
    full: bool


def print_numpy(selections: Sequence[SelectedValues], style: Style) -> None:
    """Write each selection as NumPy prints it, under a heading if several are printed."""
    for number, selected in enumerate(selections):
        if len(selections) > 1:
            heading = printable(f"{selected.name} {selected.selection.shape} {selected.dtype}")
            emit(["", heading] if number else [heading])
        emit([numpy_text(selected, style)])


def numpy_text(selected: SelectedValues, style: Style) -> str:
    """Return an array as NumPy prints it. Of an abbreviated array only the edges are read."""
    size, shape = selected.selection.size, selected.selection.shape
    threshold = 1000 if style.threshold is None else style.threshold
    abbreviated = size > threshold and not style.full
    if abbreviated:
        array = _edges(selected)
    elif size > MAX_NUMPY_VALUES:
        rule = f"{selected.name}: --format numpy prints at most {MAX_NUMPY_VALUES:,} values (got {size:,})"
        raise click.UsageError(f"{rule}. Use json, csv, npy or raw")
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


def _texts(values: Array, quoted: bool) -> list[str]:
    """Return each value as the shortest text that reads back the same.

    quoted: for JSON, which has no complex numbers, NaN or infinities: they become strings.
    """
    values = to_native(values)
    if values.dtype.kind == "b":
        return ["true" if value else "false" for value in values.tolist()]
    texts = list(map(str, values if values.dtype.kind == "f" else values.tolist()))
    if values.dtype.kind == "c":
        return [json.dumps(text) for text in texts] if quoted else texts
    if quoted and values.dtype.kind == "f" and not np.isfinite(values).all():
        names = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}
        return [names.get(text, text) for text in texts]
    return texts


def _nested(selected: SelectedValues) -> Iterator[str]:
    """Yield the pieces of an array as nested JSON lists.

    Values arrive in C order. A list at depth k holds spans[k] values, so it opens before each value whose number is a
    multiple of spans[k], and closes after the last of them: for shape (2, 3), "[[" before 0, "], [" before 3.
    """
    shape = selected.selection.shape
    if not shape:
        yield from (text for piece in selected.pieces() for text in _texts(piece, True))
        return
    if not prod(shape):
        yield json.dumps(np.empty(shape).tolist())
        return
    spans = [prod(shape[axis:]) for axis in range(len(shape))]
    row = spans[-1]
    done = 0
    for piece in selected.pieces():
        texts = _texts(piece, True)
        start = 0
        while start < len(texts):
            opened = sum(done % span == 0 for span in spans)
            count = min(row - done % row, len(texts) - start)  # up to the end of the row, or of the piece
            closed = sum((done + count) % span == 0 for span in spans)
            before = ", " if done and opened else ""
            within = ", " if not opened else ""
            yield f"{before}{'[' * opened}{within}{', '.join(texts[start : start + count])}{']' * closed}"
            done, start = done + count, start + count


def _write(text: str) -> None:
    sys.stdout.write(text)


def write_json(selections: Sequence[SelectedValues]) -> None:
    """Write one JSON object from names to nested lists."""
    _write("{")
    for number, selected in enumerate(selections):
        _write(f"{',' if number else ''}\n  {json.dumps(selected.name)}: ")
        for text in _nested(selected):
            _write(text)
    _write("\n}\n" if selections else "}\n")


def write_jsonl(selections: Sequence[SelectedValues]) -> None:
    """Write a JSON object for each selection, on a line."""
    for selected in selections:
        facts = {"path": selected.name, "shape": selected.selection.shape, "dtype": selected.dtype}
        _write(f'{json.dumps(facts)[:-1]}, "values": ')
        for text in _nested(selected):
            _write(text)
        _write("}\n")


def write_csv(selections: Sequence[SelectedValues]) -> None:
    """Write a line for each value: the path, the index in the whole array, the value."""
    _write("path,index,value\n")
    for selected in selections:
        # one iterator for all pieces: each continues at the index after the last value of the piece before
        indices = (",".join(map(str, index)) for index in itertools.product(*selected.selection.ranges))
        for piece in selected.pieces():
            buffer = io.StringIO()
            texts = _texts(piece, False)
            csv.writer(buffer, lineterminator="\n").writerows(
                zip(itertools.repeat(selected.path, len(texts)), indices, texts, strict=False)
            )
            _write(buffer.getvalue())


def write_npy(selections: Sequence[SelectedValues]) -> None:
    """Write the only selection as an npy file."""
    (selected,) = selections
    sys.stdout.buffer.write(npy.npy_header(selected.dtype, selected.selection.shape))
    for piece in selected.pieces():
        sys.stdout.buffer.write(as_bytes(to_native(piece)))


class _Pipe(io.RawIOBase):
    """Standard output without seeking, even if it is a file, so that zipfile writes the same bytes to both."""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        sys.stdout.buffer.write(data)
        return len(data)


def write_npz(selections: Sequence[SelectedValues]) -> None:
    """Write the selections as an npz archive."""
    members = ((selected.name, selected.dtype, selected.selection.shape, selected.pieces()) for selected in selections)
    writing.write_arrays(_Pipe(), members)


def write_raw(selections: Sequence[SelectedValues]) -> None:
    """Write the bytes of the selections."""
    for selected in selections:
        for piece in selected.pieces():
            sys.stdout.buffer.write(as_bytes(piece))


WRITERS: dict[str, Callable[[Sequence[SelectedValues]], None]] = {
    "json": write_json,
    "jsonl": write_jsonl,
    "csv": write_csv,
    "npy": write_npy,
    "npz": write_npz,
    "raw": write_raw,
}
