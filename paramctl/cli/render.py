"""Rows as tables, trees, JSON, JSON lines, CSV, Markdown, HTML and LaTeX. The only user of tabulate.

A column has a value, for machines, and a text, for people. The text is escaped, so that a name from a hostile file
cannot move the cursor or imitate a row. The value is exact. Only a table on a terminal is made to fit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from paramctl.cli.display import display, encodes, table_width
from paramctl.cli.display import style as style  # this and the formats of numbers are part of this module's face
from paramctl.core.text import binary as binary
from paramctl.core.text import csv_field, printable
from paramctl.core.text import number as number
from paramctl.core.text import plain as plain
from paramctl.errors import without_credentials

if TYPE_CHECKING:
    from paramctl.cli.fitting import Fitted, TextColumn

MARKUP = ("html", "latex")
"""The formats that tabulate writes, under its names for them."""
FOR_PEOPLE = ("table", "markdown", *MARKUP)
"""The formats that have the texts of columns. Others have exact values."""
ROW_FORMATS = ("table", "json", "jsonl", "csv", "markdown", *MARKUP)

ALWAYS = -1
"""The priority of a column that is never left out."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    key: its name in JSON and CSV, and for --columns.
    heading: its title in tables.
    value: from a row to the exact value.
    text: from a row to the text in a table; ``plain`` of the value if None.
    right: align the text to the right.
    note: from a row to a text that follows, outside the alignment.
    priority: on a terminal that is too narrow, columns with the highest are left out first, and of equal ones the last.
        The first column stays, and so do those that --columns names or another option asks for.
    """

    key: str
    heading: str
    value: Callable[[Any], Any]
    text: Callable[[Any], str] | None = None
    right: bool = False
    note: Callable[[Any], str] | None = None
    priority: int = 1

    def cell(self, row: Any) -> str:
        """Return the text of a row with its note."""
        text, note = self.bare(row), self.note_text(row)
        return f"{text} {note}" if note else text

    def note_text(self, row: Any) -> str:
        """Return the note of a row, empty if it has none."""
        return printable(self.note(row)) if self.note else ""

    def bare(self, row: Any) -> str:
        """Return the text of a row without its note."""
        return printable(self.text(row) if self.text else plain(self.value(row)))

    def texts(self, items: Sequence[Any]) -> TextColumn:
        """Return the texts of all rows. Those of a value that is not a string are never shortened."""
        from paramctl.cli.fitting import TextColumn  # only for tables

        values = [] if self.text and self.right else [*map(self.value, items)]
        shrinks = not self.right and any(map(_has_words, values))
        notes = [self.note_text(item) for item in items] if self.note else ()
        texts = [*map(self.text, items)] if self.text else _plain_texts(values)
        return TextColumn(self.heading, [*map(printable, texts)], notes, self.right, shrinks, self.priority)


def choose(
    columns: Sequence[Column], keys: str | None, default: Sequence[str], asked: Collection[str] = ()
) -> list[Column]:
    """Return the columns in a comma-separated list of keys, in its order, or the default ones if it is None.

    asked: the keys of the default columns that options ask for. A narrow terminal shows these and those of the list.
    """
    by_key = {column.key: column for column in columns}
    chosen = [key.strip() for key in keys.split(",")] if keys is not None else default
    for key in chosen:
        if key not in by_key:
            raise click.UsageError(f"No such column: {key!r}. The columns are {', '.join(by_key)}")
    kept = asked if keys is None else chosen
    return [replace(by_key[key], priority=ALWAYS) if key in kept else by_key[key] for key in chosen]


def _plain_texts(values: Sequence[Any]) -> list[str]:
    """Return the plain text of each value. Shapes are few, and each is written once."""
    shapes = {value: plain(value) for value in {value for value in values if type(value) is tuple}}
    return [shapes[value] if type(value) is tuple else plain(value) for value in values]


def _has_words(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and any(isinstance(each, str) for each in value))


class PipeClosed(Exception):
    """The reader of standard output, such as head, closed the pipe early."""


def emit(lines: Iterable[str]) -> None:
    """Write lines to standard output. Raises PipeClosed."""
    for line in lines:
        try:
            sys.stdout.write(f"{line}\n")
        except BrokenPipeError as error:  # click would turn a BrokenPipeError into its own exit code
            raise PipeClosed from error


def tell(text: str) -> None:
    """Write a line to standard error, which is for words, with control characters escaped. URLs lose credentials.

    After output that a pager shows, it waits for the end of the pager.
    """
    line = printable(without_credentials(text))
    hold = display().hold
    if hold is None or not hold(line):
        click.echo(line, err=True)


def rows(format_: str, items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    """Yield the lines of rows in one of ROW_FORMATS."""
    if format_ in MARKUP:
        return _markup(format_, items, columns)
    writers = {"table": table, "json": _json, "jsonl": _jsonl, "csv": _csv, "markdown": _markdown}
    return writers[format_](items, columns)


def table(items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    """Yield the lines of a table. It has every column and whole texts, except on a terminal that is too narrow."""
    from paramctl.cli.fitting import Fitted, align, fit

    width = table_width()
    every = [column.texts(items) for column in columns]
    fitted = fit(every, width) if width is not None else Fitted(every, [], [])
    # Aligned here, not by tabulate: a note after a number must not shift it, and to import tabulate takes longer than
    # to read a small model.
    headings = [column.heading.rjust(column.text_width) for column in fitted.columns]
    heading, *rest = align(headings, [column.cells() for column in fitted.columns])
    yield style(heading, bold=True)
    yield from rest
    for line in _left_out(fitted, width):
        yield style(line, dim=True)


def _left_out(fitted: Fitted, width: int | None) -> list[str]:
    """Return the lines that name the columns that a table lacks, and the option that shows them."""
    from textwrap import wrap

    parts = [
        f"{what}: {', '.join(dict.fromkeys(headings))}"
        for what, headings in (("Not shown", fitted.left_out), ("Shortened", fitted.shortened))
        if headings
    ]
    return wrap(f"{'. '.join(parts)}. --wide shows everything.", max(width or 0, 20)) if parts else []


def fit_names(names: Sequence[str], before: int) -> list[str]:
    """Return names for lines that are written one by one, as they fit a terminal after so many characters."""
    width, whole = table_width(), [*map(printable, names)]
    if width is None:
        return whole
    from paramctl.cli.fitting import LEAST, shorten_all

    short = shorten_all(whole, max(width - before, LEAST))
    return short if len(set(short)) == len(set(whole)) else whole


def branches(depths: Sequence[int]) -> list[str]:
    """Return the lines that draw a tree, one for each row, from the depth of each row (1 is the top)."""
    through, fork, end = ("│  ", "├─ ", "└─ ") if encodes("│├└─") else ("|  ", "|- ", "`- ")
    stems: list[str] = []
    continued: set[int] = set()  # depths at which a sibling follows; known because the rows go from the last up
    for depth in reversed(depths):
        stem = "".join(through if level in continued else "   " for level in range(1, depth))
        stems.append(stem + (fork if depth in continued else end))
        continued = {level for level in continued if level < depth} | {depth}
    return stems[::-1]


def json_value(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON. NaN and infinities, which JSON does not have, become null."""
    import json

    try:
        return json.dumps(value, allow_nan=False, indent=indent)
    except ValueError:
        return json.dumps(_without_nan(value), allow_nan=False, indent=indent)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [*map(_without_nan, value)]
    return None if isinstance(value, float) and not isfinite(value) else value


def json_text(value: dict[str, Any] | list[Any]) -> str:
    """Return JSON with a line for each row, of a list or of the lists in an object."""

    def lines(items: Sequence[Any], indent: str = "") -> str:
        return "[\n" + ",\n".join(f"{indent}  {json_value(item)}" for item in items) + f"\n{indent}]"

    if isinstance(value, list):
        return lines(value) if value else "[]"
    fields = (
        f"  {json_value(key)}: {lines(item, '  ') if isinstance(item, list) and item else json_value(item)}"
        for key, item in value.items()
    )
    return "{\n" + ",\n".join(fields) + "\n}"


def _json(items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    yield json_text([{column.key: column.value(item) for column in columns} for item in items])


def _jsonl(items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    for item in items:
        yield json_value({column.key: column.value(item) for column in columns})


def _csv(items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    yield ",".join(column.key for column in columns)
    for item in items:
        fields = [csv_field(_exact(column.value(item))) for column in columns]
        yield ",".join(fields) if fields != [""] else '""'  # an empty line is no row


def _markdown(items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    yield line(column.heading for column in columns)
    yield line("---:" if column.right else "---" for column in columns)
    for item in items:
        yield line(column.cell(item) for column in columns)


def _markup(format_: str, items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    """Yield the lines of a table in one of MARKUP, with the characters escaped that it would take for markup."""
    from tabulate import tabulate

    cells = [[column.cell(item) for column in columns] for item in items]
    text = tabulate(
        cells or [[""] * len(columns)],  # without rows, a table in LaTeX would declare no columns
        headers=[column.heading for column in columns],
        tablefmt=format_,
        disable_numparse=True,
        colalign=["right" if column.right else "left" for column in columns],
    )
    yield from text.split("\n")


def _exact(value: Any) -> str:
    """Return a value for CSV: a number without separators, a shape in parentheses, a list joined, None as empty."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return json_value(value)
    return plain(value)


def numeric(key: str, heading: str, priority: int = 1) -> Column:
    """Return a column of such numbers, from the attribute of a row that has the column's key as its name."""

    def text(row: Any) -> str:
        return number(getattr(row, key))

    return Column(key, heading, lambda row: getattr(row, key), text, right=True, priority=priority)
