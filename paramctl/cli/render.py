"""Rows to text: tables, trees, JSON, JSON lines, CSV and Markdown. The only user of tabulate.

A column has a value, for machines, and a text, for people. What people read is escaped, so that
no name can move a cursor or fake a row; what machines read is exact.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

ROW_FORMATS = ("table", "json", "jsonl", "csv", "markdown")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the key machines know it by, its heading, a row's value, and the value's text.

    note: what stands after the text, out of the column's alignment.
    """

    key: str
    heading: str
    value: Callable[[Any], Any]
    text: Callable[[Any], str] | None = None
    right: bool = False
    note: Callable[[Any], str] | None = None

    def cell(self, row: Any, width: int = 0) -> str:
        """What people read."""
        text = self.bare(row).rjust(width)
        note = printable(self.note(row)) if self.note else ""
        return f"{text} {note}" if note else text

    def bare(self, row: Any) -> str:
        """What people read, without the note."""
        return printable(self.text(row) if self.text else plain(self.value(row)))


def choose(columns: Sequence[Column], keys: str | None, default: Sequence[str]) -> list[Column]:
    """The columns named in a list with commas, in its order; the default ones if it is None."""
    known = {column.key: column for column in columns}
    wanted = [key.strip() for key in keys.split(",")] if keys is not None else default
    for key in wanted:
        if key not in known:
            raise click.UsageError(f"There is no column {key!r}; the columns are {', '.join(known)}.")
    return [known[key] for key in wanted]


class PipeClosed(Exception):
    """Whoever reads standard output, such as head, has what it wants."""


def emit(lines: Iterable[str]) -> None:
    """Lines on standard output."""
    for line in lines:
        try:
            sys.stdout.write(f"{line}\n")
        except BrokenPipeError as error:  # click would make an exit code of its own of it
            raise PipeClosed from error


def rows(format_: str, items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    """Rows in one of the ROW_FORMATS, as lines."""
    writers = {"table": table, "json": _json, "jsonl": _jsonl, "csv": _csv, "markdown": _markdown}
    return writers[format_](items, columns)


def table(items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    """A table for people, never cut."""
    import tabulate

    tabulate.MIN_PADDING = 0  # a heading no wider than its text
    headings, cells = [], []
    for column in columns:
        width = max([len(column.heading), *(len(column.bare(item)) for item in items)]) if column.right else 0
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
    """The lines that draw a tree, one for each row, from how deep each row stands (1 is the top)."""
    through, fork, end = ("│  ", "├─ ", "└─ ") if _encodes("│├└─") else ("|  ", "|- ", "`- ")
    drawn: list[str] = []
    to_come: set[int] = set()  # the depths at which a row further down belongs to the same parent
    for depth in reversed(depths):
        stem = "".join(through if level in to_come else "   " for level in range(1, depth))
        drawn.append(stem + (fork if depth in to_come else end))
        to_come = {level for level in to_come if level < depth} | {depth}
    return drawn[::-1]


def _encodes(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def json_text(value: dict[str, Any] | list[Any]) -> str:
    """JSON for machines and people: a line for each row, of a list or of an object's lists.

    There is no NaN or Infinity in it: ValueError, should one come here.
    """
    import json

    def dump(item: Any) -> str:
        return json.dumps(item, allow_nan=False)

    def lines(items: Sequence[Any], indent: str = "") -> str:
        return "[\n" + ",\n".join(f"{indent}  {dump(item)}" for item in items) + f"\n{indent}]"

    if isinstance(value, list):
        return lines(value) if value else "[]"
    fields = (
        f"  {dump(key)}: {lines(item, '  ') if isinstance(item, list) and item else dump(item)}"
        for key, item in value.items()
    )
    return "{\n" + ",\n".join(fields) + "\n}"


def _json(items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    yield json_text([{column.key: column.value(item) for column in columns} for item in items])


def _jsonl(items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    import json

    for item in items:
        yield json.dumps({column.key: column.value(item) for column in columns}, allow_nan=False)


def _csv(items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    import csv
    import io

    for line in ([column.key for column in columns], *([_exact(c.value(i)) for c in columns] for i in items)):
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="").writerow(line)
        yield buffer.getvalue()


def _markdown(items: Sequence[Any], columns: Sequence[Column]) -> Iterator[str]:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    yield line(column.heading for column in columns)
    yield line("---:" if column.right else "---" for column in columns)
    for item in items:
        yield line(column.cell(item) for column in columns)


def _exact(value: Any) -> str:
    """A value in CSV: numbers bare, a shape in parentheses, a list joined, nothing as nothing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return plain(value)


def plain(value: Any) -> str:
    """A value for people: thousands apart, shapes as Keras prints them, nothing as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        if value and all(item is None or isinstance(item, int) for item in value):
            return str(tuple(value))
        return ", ".join(map(str, value))
    return str(value)


def number(value: float | None) -> str:
    """A number in four digits, a whole one in all of its own, nothing as nothing."""
    return "" if value is None else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def numeric(key: str, heading: str) -> Column:
    """A column of such numbers, from the row's attribute of this name."""
    return Column(key, heading, lambda row: getattr(row, key), lambda row: number(getattr(row, key)), right=True)


def printable(text: str) -> str:
    """The text with every character that is not printable as an escape: ``\\x1b``, ``\\u202e``."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def style(text: str, **styles: Any) -> str:
    """Coloured where people look: on a terminal that can, unless NO_COLOR is set (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return text
    return click.style(text, **styles)
