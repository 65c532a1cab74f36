"""Values to text and bytes: what ``paramctl dump`` prints. Imported when values are printed, for it needs NumPy.

Everything is written as it comes, in pieces of bounded size.
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
from paramctl.store.npz import format as npz

EDGE = 3
MOST_AT_ONCE = 1 << 22


class Style(NamedTuple):
    """How NumPy prints; None is NumPy's own default."""

    precision: int | None
    threshold: int | None
    full: bool


def print_numpy(chosen: Sequence[SelectedValues], style: Style) -> None:
    """Each parameter as NumPy prints it, under a heading where there are several."""
    for number, each in enumerate(chosen):
        if len(chosen) > 1:
            heading = printable(f"{each.name} {each.picks.shape} {each.dtype}")
            emit(["", heading] if number else [heading])
        emit([numpy_text(each, style)])


def numpy_text(selected: SelectedValues, style: Style) -> str:
    """An array as NumPy prints it; where it is shortened, only its edges are read."""
    size, shape = selected.picks.size, selected.picks.shape
    threshold = 1000 if style.threshold is None else style.threshold
    shortened = size > threshold and not style.full
    if shortened:
        array = _edges(selected)
    elif size > MOST_AT_ONCE:
        rule = f"NumPy's form needs all values at once for the width of its columns, at most {MOST_AT_ONCE:,}"
        raise click.UsageError(f"{rule}; json, csv, npy and raw have no limit. Received: {selected.name}, {size:,}.")
    else:
        pieces = [to_native(piece) for piece in selected.pieces()]
        array = (np.concatenate(pieces) if pieces else np.empty(0)).reshape(shape)
    return np.array2string(array, precision=style.precision, threshold=0 if shortened else max(size, 1), edgeitems=EDGE)


def _edges(selected: SelectedValues) -> Array:
    """What NumPy prints of an array that is shortened, and one place more in the middle of each axis that is cut."""
    segments = []
    for places in selected.picks.ranges:
        cut = len(places) > 2 * EDGE + 1
        segments.append([places[: EDGE + 1], places[-EDGE:]] if cut else [places])
    dtype = to_native(np.empty(0, numpy_dtype(selected.dtype))).dtype
    array = np.empty([sum(map(len, each)) for each in segments], dtype)
    for corner in itertools.product(*map(enumerate, segments)):
        ranges = tuple(places for _, places in corner)
        there = tuple(slice(EDGE + 1, None) if number else slice(len(places)) for number, places in corner)
        pieces = [to_native(piece) for piece in selected.pieces(ranges)]
        array[there] = np.concatenate(pieces).reshape(list(map(len, ranges)))
    return array.reshape([min(size, 2 * EDGE + 1) for size in selected.picks.shape])


def _texts(values: Array, quoted: bool) -> list[str]:
    """Each value as the shortest text that reads back the same; ``quoted`` is for JSON, which has no NaN."""
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
    """An array as nested lists, in pieces of text."""
    shape = selected.picks.shape
    if not shape:
        yield from (text for piece in selected.pieces() for text in _texts(piece, True))
        return
    if not prod(shape):
        yield json.dumps(np.empty(shape).tolist())
        return
    spans = [prod(shape[axis:]) for axis in range(len(shape))]  # how many values a list at each depth has
    done = 0
    for piece in selected.pieces():
        texts = _texts(piece, True)
        place = 0
        while place < len(texts):
            opened = sum(done % span == 0 for span in spans)
            many = min(spans[-1] - done % spans[-1], len(texts) - place)
            closed = sum((done + many) % span == 0 for span in spans)
            comma = ", " if done and opened else ""
            within = ", " if not opened else ""
            yield f"{comma}{'[' * opened}{within}{', '.join(texts[place : place + many])}{']' * closed}"
            done, place = done + many, place + many


def _write(text: str) -> None:
    sys.stdout.write(text)


def write_json(chosen: Sequence[SelectedValues]) -> None:
    _write("{")
    for number, each in enumerate(chosen):
        _write(f"{',' if number else ''}\n  {json.dumps(each.name)}: ")
        for text in _nested(each):
            _write(text)
    _write("\n}\n" if chosen else "}\n")


def write_jsonl(chosen: Sequence[SelectedValues]) -> None:
    for each in chosen:
        facts = {"path": each.name, "shape": each.picks.shape, "dtype": each.dtype}
        _write(f'{json.dumps(facts)[:-1]}, "values": ')
        for text in _nested(each):
            _write(text)
        _write("}\n")


def write_csv(chosen: Sequence[SelectedValues]) -> None:
    """A line for each value: the path, the value's place in the whole array, the value."""
    _write("path,index,value\n")
    for each in chosen:
        places = (",".join(map(str, place)) for place in itertools.product(*each.picks.ranges))
        for piece in each.pieces():
            buffer = io.StringIO()
            texts = _texts(piece, False)
            csv.writer(buffer, lineterminator="\n").writerows(
                zip(itertools.repeat(each.path, len(texts)), places, texts, strict=False)
            )
            _write(buffer.getvalue())


def write_npy(chosen: Sequence[SelectedValues]) -> None:
    (one,) = chosen
    sys.stdout.buffer.write(npz.npy_header(one.dtype, one.picks.shape))
    for piece in one.pieces():
        sys.stdout.buffer.write(as_bytes(to_native(piece)))


class _Pipe(io.RawIOBase):
    """Standard output as what cannot be sought in, even where it can, so that the bytes are the same."""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        sys.stdout.buffer.write(data)
        return len(data)


def write_npz(chosen: Sequence[SelectedValues]) -> None:
    npz.write(_Pipe(), ((each.name, each.dtype, each.picks.shape, each.pieces()) for each in chosen))


def write_raw(chosen: Sequence[SelectedValues]) -> None:
    for each in chosen:
        for piece in each.pieces():
            sys.stdout.buffer.write(as_bytes(piece))


WRITERS: dict[str, Callable[[Sequence[SelectedValues]], None]] = {
    "json": write_json,
    "jsonl": write_jsonl,
    "csv": write_csv,
    "npy": write_npy,
    "npz": write_npz,
    "raw": write_raw,
}
