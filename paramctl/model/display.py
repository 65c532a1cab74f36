"""The short text and the HTML table of a model, for a Python prompt and for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

SHOWN_ROWS = 24
MAX_WIDTH = 110


class Row(NamedTuple):
    """A block: how deep it is (1 is the outermost), its path, type, output shape, and number of parameters, as text."""

    depth: int
    path: str
    type: str
    shape: str
    size: str


def as_text(heading: str, rows: Sequence[Row], total: str) -> str:
    """Return the outermost blocks and the total as text of at most SHOWN_ROWS + 3 lines."""
    outermost = [row for row in rows if row.depth == 1]
    lines = [_cut(f"  {'  '.join(filter(None, row[1:]))}") for row in outermost]
    if len(lines) > SHOWN_ROWS:
        half = SHOWN_ROWS // 2
        lines[half:-half] = [f"  ... {len(lines) - 2 * half:,} more ..."]
    return "\n".join([_cut(heading), *lines, total])


def as_html(heading: str, rows: Sequence[Row], total: str) -> str:
    """Return all blocks and the total as an HTML table."""
    from html import escape  # it has a table of all entities, and only notebooks need it

    head = "".join(f"<th>{title}</th>" for title in ("Layer", "Type", "Output shape", "Parameters"))
    body = "".join(
        f'<tr><td style="text-align: left; padding-left: {row.depth}em">{escape(row.path)}</td>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in (row.type, row.shape, row.size))
        + "</tr>"
        for row in rows
    )
    caption = f"<caption>{escape(heading)}</caption>"
    foot = f'<tfoot><tr><td colspan="4">{escape(total)}</td></tr></tfoot>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table>"


def _cut(text: str) -> str:
    text = text if text.isprintable() else text.encode("unicode_escape").decode()  # a file's names may move the cursor
    return text if len(text) <= MAX_WIDTH else f"{text[: MAX_WIDTH - 3]}..."
