"""The tables of a report: their columns, and their rows as JSON and as text.

A script in the page shows rows on demand from the JSON. A browser without scripts shows the same rows as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from paramctl.core.text import number, plain
from paramctl.inspect.diff import DiffRow
from paramctl.inspect.histogram import Histogram
from paramctl.inspect.report.facts import ArrayFacts, FileFinding
from paramctl.inspect.report.markup import json_text, label

EXACT = 1 << 53
"""A script's numbers hold every integer up to this one. Larger ones travel as text."""

DIGITS = 6
"""The significant digits of a number in the details of an array. Tables have four."""

MAX_TEXT = 4_000
"""The most characters of a value of the metadata that are shown, such as a configuration of a tokenizer."""

Kind = Literal["text", "lines", "path", "count", "float", "amount", "bars"]
NUMBERS = ("count", "float", "amount")


@dataclass(frozen=True, slots=True)
class Field:
    """A fact of each row.

    label: the heading of its column, and its name in the details of a row.
    kind: ``path`` for the name of an array, which becomes a link; ``lines`` for a text that keeps its ends of lines;
        ``amount`` for a float with a bar beside it, whose length is its share of the largest; ``bars`` for a histogram.
    value: from a row to the value: a text, a number, or None if it is unknown or does not apply.
    column: False for a fact that only details show.
    link: from a row to the name of the array that a ``path`` leads to, if that is not the value.
    """

    key: str
    label: str
    kind: Kind
    value: Callable[[Any], Any]
    column: bool = True
    link: Callable[[Any], str | None] | None = None

    def wire(self, row: Any, numbers: Mapping[str, int]) -> Any:
        """Return the value for JSON; the name of an array with its number, if the page has it.

        An integer among floats, and a large one, is a text with all of its digits.
        """
        value = self.value(row)
        if self.kind in ("float", "amount") or (isinstance(value, int) and abs(value) > EXACT):
            return _exact(value)
        target = (self.link(row) if self.link else value) if self.kind == "path" else None
        shown = label(value) if self.kind == "path" and value is not None else value
        return shown if target is None or target not in numbers else [shown, numbers[target]]

    def text(self, row: Any) -> str:
        """Return the text of a cell."""
        value = self.value(row)
        if self.kind == "path":
            return label(value) if value is not None else ""
        return number(value) if self.kind in ("float", "amount") and not isinstance(value, str) else plain(value)


def _exact(value: Any) -> Any:
    """Return an integer as a text with all of its digits, and a float with DIGITS of them."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else str(value) if isinstance(value, int) else value


def _row_text(key: str, label: str, value: Callable[[Any], Any], column: bool = True) -> Field:
    return Field(key, label, "text", lambda array: value(array.row), column)


def _stat(key: str, label: str, name: str, kind: Kind = "float", column: bool = True) -> Field:
    def value(array: ArrayFacts) -> Any:
        found = None if array.stat is None else getattr(array.stat, name)
        return f"{found:,.4g}" if isinstance(found, complex) else found

    return Field(key, label, kind, value, column)


def _bars(array: ArrayFacts) -> list[Any] | None:
    """Return the ends, the counts, and the numbers of the values outside of them: NaN and infinite ones."""
    histogram: Histogram | None = array.histogram
    if histogram is None or not histogram.counts:
        return None
    ends = [_exact(edge) for edge in (histogram.edges[0], histogram.edges[-1])]
    return [*ends, list(histogram.counts)]


def _nonfinite(array: ArrayFacts) -> int | None:
    return None if array.stat is None else array.stat.nan + array.stat.inf


def _first(array: ArrayFacts) -> str | None:
    return str(list(array.stat.first)) if array.stat is not None and array.stat.first is not None else None


def _trainable(array: ArrayFacts) -> str | None:
    return {True: "yes", False: "no", None: None}[array.row.trainable]


def _fans(array: ArrayFacts) -> str | None:
    row = array.row
    return f"{row.fan_in:,} in, {row.fan_out:,} out" if row.fan_in is not None and row.fan_out is not None else None


def _holds(array: ArrayFacts) -> str | None:
    row = array.row
    is_packed = row.parameters != row.size and row.kind != "optimizer"
    return (f"{row.parameters:,} parameters" if row.parameters else "scales, counted apart") if is_packed else None


def _other_name(array: ArrayFacts) -> str | None:
    """Return the other name of a shared array: the one that keeps it, or the one at which it is counted."""
    row = array.row
    return (row.tied_to or row.counted_at) if row.shared else None


ARRAYS = [
    Field("path", "Array", "path", lambda array: array.row.path),
    _row_text("shape", "Shape", lambda row: str(row.shape)),
    _row_text("dtype", "Dtype", lambda row: row.dtype),
    Field("size", "Values", "count", lambda array: array.row.size),
    Field("bytes", "Bytes", "count", lambda array: array.row.bytes if array.row.counted_at == array.row.path else 0),
    _stat("mean", "Mean", "mean"),
    _stat("std", "Std", "stddev"),
    _stat("min", "Min", "min"),
    _stat("max", "Max", "max"),
    _stat("zeros", "Zeros", "zeros", "count"),
    Field("nonfinite", "NaN, Inf", "count", _nonfinite),
    Field("bars", "Distribution", "bars", _bars),
    _stat("norm", "L2 norm", "norm", column=False),
    _stat("nan", "NaN", "nan", "count", column=False),
    _stat("inf", "Inf", "inf", "count", column=False),
    Field("first", "First non-finite", "text", _first, column=False),
    _row_text("kind", "Kind", lambda row: row.kind, column=False),
    Field("trainable", "Trainable", "text", _trainable, column=False),
    _row_text("axes", "Axes", lambda row: ", ".join(row.axes) if row.axes else None, column=False),
    Field("fans", "Fans", "text", _fans, column=False),
    Field("holds", "Holds", "text", _holds, column=False),
    _row_text("scheme", "Scheme", lambda row: row.scheme, column=False),
    Field("seed", "Seed", "text", lambda array: None if array.seed is None else str(array.seed), column=False),
    Field("shared", "Shared", "path", lambda array: array.row.shared or None, False, _other_name),
    Field("unread", "Not read", "text", lambda array: array.unread or None, column=False),
]
OF_VALUES = {"mean", "std", "min", "max", "zeros", "nonfinite", "bars"}
"""The columns that are empty if no values were read."""


def _at(row: DiffRow) -> str | None:
    return None if row.at is None else str(list(row.at))


def _status(row: DiffRow) -> str:
    return f"not compared: {row.unread}" if row.status == "unread" else row.status


def _sides(row: DiffRow) -> str | None:
    """Return the shape and dtype of an array, or those of both sides if they differ."""
    both = [text for text in dict.fromkeys((row.a, row.b)) if text is not None]
    return " → ".join(both)


def _of_both(name: str) -> Callable[[DiffRow], Any]:
    """Return a count of NaN or infinities on each side, among the values that differ; None without any."""

    def value(row: DiffRow) -> str | None:
        counts = getattr(row, f"{name}_a"), getattr(row, f"{name}_b")
        return f"{counts[0]:,} in A, {counts[1]:,} in B" if any(counts) else None

    return value


CHANGES = [
    Field("path", "Array", "path", lambda row: row.path),
    Field("status", "Difference", "text", _status),
    Field("sides", "Shape, dtype", "text", _sides),
    Field("relative_norm", "Relative norm", "amount", lambda row: row.relative_norm),
    Field("different", "Differing values", "count", lambda row: row.different),
    Field("max_abs", "Max abs diff", "float", lambda row: row.max_abs),
    Field("norm", "L2 norm of diff", "float", lambda row: row.norm),
    Field("cosine", "Cosine similarity", "float", lambda row: row.cosine),
    Field("nan", "NaN", "text", _of_both("nan")),
    Field("inf", "Inf", "text", _of_both("inf")),
    Field("max_rel", "Max rel diff", "float", lambda row: row.max_rel, column=False),
    Field("at", "Max abs diff at", "text", _at, column=False),
]


def _finding(key: str, label: str, name: str) -> Field:
    return Field(key, label, "text", lambda row: getattr(row.finding, name))


def _array_of(row: FileFinding) -> str | None:
    return next(iter(row.finding.paths), None)


FINDINGS = [
    _finding("severity", "Severity", "severity"),
    _finding("name", "Check", "name"),
    Field("file", "File", "text", lambda row: row.file),
    Field("place", "Place", "path", lambda row: row.finding.place, link=_array_of),
    _finding("text", "Finding", "text"),
]

TIES: list[Field] = [
    Field("tied", "Name", "path", lambda tie: tie.tied),
    Field("kept", "Shares the array of", "path", lambda tie: tie.kept),
    Field("how", "How", "text", lambda tie: "transposed" if tie.transpose else "with the same axes"),
]

MISSING = [
    Field("path", "Parameter", "text", lambda item: item[0]),
    Field("shape", "Shape", "text", lambda item: None if item[1] is None else str(item[1])),
]


def _metadata_text(row: Any) -> str:
    if row.omitted is not None:
        return str(row.omitted)
    text = row.value if isinstance(row.value, str) else json_text(row.value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} … ({len(text):,} characters in all)"


METADATA = [
    Field("place", "Of", "text", lambda row: row.place or "the file"),
    Field("key", "Key", "text", lambda row: row.key),
    Field("value", "Value", "lines", _metadata_text),
]


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its name in the page, its caption, its fields, and its rows.

    hidden: the keys of columns that would be empty.
    """

    key: str
    caption: str
    fields: Sequence[Field]
    rows: Sequence[Any]
    hidden: frozenset[str] = frozenset()

    @property
    def columns(self) -> list[Field]:
        """The fields that have a column."""
        return [field for field in self.fields if field.column and field.key not in self.hidden]

    def wire(self, numbers: Mapping[str, int]) -> dict[str, Any]:
        """Return the table for JSON. numbers: of the arrays on the page, by path."""
        shown = {field.key for field in self.columns}
        fields = [[field.key, field.label, field.kind, int(field.key in shown)] for field in self.fields]
        rows = [_without_end([field.wire(row, numbers) for field in self.fields]) for row in self.rows]
        return {"caption": self.caption, "fields": fields, "rows": rows}

    def texts(self) -> Iterator[list[str]]:
        """Yield the cells of each row as text, without those of histograms."""
        columns = [field for field in self.columns if field.kind != "bars"]
        yield from ([field.text(row) for field in columns] for row in self.rows)


def _without_end(values: list[Any]) -> list[Any]:
    """Return values without the unknown ones at the end."""
    count = len(values)  # of 10,000 arrays, the unknown facts would be half of the page
    while count and values[count - 1] is None:
        count -= 1
    return values[:count]
