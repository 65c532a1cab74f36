"""Rows as tables, trees, JSON, JSON lines, CSV and Markdown. The only user of tabulate.

A column has a value, for machines, and a text, for people. The text is escaped, so that a name from a hostile file
cannot move the cursor or imitate a row. The value is exact.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import click

from paramctl.core.text import binary as binary  # these formats of numbers are part of this module's face
from paramctl.core.text import csv_field, printable
from paramctl.core.text import number as number
from paramctl.core.text import plain as plain
from paramctl.errors import without_credentials

ROW_FORMATS = ("table", "json", "jsonl", "csv", "markdown")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    key: its name in JSON and CSV, and for --columns.
    heading: its title in tables.
    value: from a row to the exact value.
    text: from a row to the text in a table; ``plain`` of the value if None.
    right: align the text to the right.
    note: from a row to a text that follows, outside the alignment.
    """

    key: str
    heading: str
    value: Callable[[Any], Any]
    text: Callable[[Any], str] | None = None
    right: bool = False
    note: Callable[[Any], str] | None = None

    def cell(self, row: Any, width: int = 0) -> str:
        """Return the text of a row with its note."""
        text = self.bare(row).rjust(width)
        note = printable(self.note(row)) if self.note else ""
        return f"{text} {note}" if note else text

    def bare(self, row: Any) -> str:
        """Return the text of a row without its note."""
        return printable(self.text(row) if self.text else plain(self.value(row)))


def choose(columns: Sequence[Column], keys: str | None, default: Sequence[str]) -> list[Column]:
    """Return the columns in a comma-separated list of keys, in its order, or the default ones if it is None."""
    by_key = {column.key: column for column in columns}
    chosen = [key.strip() for key in keys.split(",")] if keys is not None else default
    for key in chosen:
        if key not in by_key:
            raise click.UsageError(f"No such column: {key!r}. The columns are {', '.join(by_key)}")
    return [by_key[key] for key in chosen]


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
    """Write a line to standard error, which is for words, with control characters escaped. URLs lose credentials."""
    click.echo(printable(without_credentials(text)), err=True)


def rows(format_: str, items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    """Yield the lines of rows in one of ROW_FORMATS."""
    writers = {"table": table, "json": _json, "jsonl": _jsonl, "csv": _csv, "markdown": _markdown}
    return writers[format_](items, columns)


def table(items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    """Yield the lines of a table. Cells are never truncated, so the output is the same in a pipe."""
    import tabulate

    tabulate.MIN_PADDING = 0  # by default a column is two wider than its heading
    headings, cells = [], []
    for column in columns:
        width = max([len(column.heading), *(len(column.bare(item)) for item in items)]) if column.right else 0
        # Aligned here, not by tabulate: a note after a number must not shift it.
        headings.append(column.heading.rjust(width))
        cells.append([column.cell(item, width) for item in items])
    text = tabulate.tabulate(
        list(zip(*cells, strict=True)),
        headers=headings,
        tablefmt="simple",
        disable_numparse=True,
        preserve_whitespace=True,
    )
    heading, *rest = text.split("\n")
    yield style(heading.rstrip(), bold=True)
    yield from (line.rstrip() for line in rest)


def branches(depths: Sequence[int]) -> list[str]:
    """Return the lines that draw a tree, one for each row, from the depth of each row (1 is the top)."""
    through, fork, end = ("│  ", "├─ ", "└─ ") if _encodes("│├└─") else ("|  ", "|- ", "`- ")
    stems: list[str] = []
    continued: set[int] = set()  # depths at which a sibling follows; known because the rows go from the last up
    for depth in reversed(depths):
        stem = "".join(through if level in continued else "   " for level in range(1, depth))
        stems.append(stem + (fork if depth in continued else end))
        continued = {level for level in continued if level < depth} | {depth}
    return stems[::-1]


def _encodes(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


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


def _exact(value: Any) -> str:
    """Return a value for CSV: a number without separators, a shape in parentheses, a list joined, None as empty."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return plain(value)


def numeric(key: str, heading: str) -> Column:
    """Return a column of such numbers, from the attribute of a row that has the column's key as its name."""
    return Column(key, heading, lambda row: getattr(row, key), lambda row: number(getattr(row, key)), right=True)


def style(text: str, **styles: Any) -> str:
    """Return a text with styles if standard output is a terminal with colors and NO_COLOR is not set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return text
    return click.style(text, **styles)
