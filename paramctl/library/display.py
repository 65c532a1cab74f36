"""Summaries as text of at most 30 lines, and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from paramctl.inspect.summary import LayerRow, Summary, summarize
from paramctl.model import Model

MAX_LINES = 30
SHOWN_ROWS = 24
MAX_WIDTH = 110


def model_text(model: Model) -> str:
    return brief(summarize(model, depth=1))


def model_html(model: Model) -> str:
    return html(summarize(model))


def brief(summary: Summary) -> str:
    """Return a summary's outermost rows and totals as text of at most MAX_LINES lines."""
    rows = [row for row in summary.layers if row.depth == 1]
    shown = rows if len(rows) <= SHOWN_ROWS else [*rows[: SHOWN_ROWS // 2], *rows[-SHOWN_ROWS // 2 :]]
    lines = [_line(row) for row in shown]
    if len(rows) > len(shown):
        lines.insert(SHOWN_ROWS // 2, f"  ... {len(rows) - len(shown):,} more ...")
    return "\n".join([_heading(summary), *lines, _total(summary)])


def _heading(summary: Summary) -> str:
    inputs = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in summary.inputs)
    return _cut(f"{summary.model}: {inputs}" if inputs else summary.model)


def _line(row: LayerRow) -> str:
    shape = "" if row.output_shape is None else f" {row.output_shape}"
    return _cut(f"  {row.path}  {row.type}{shape}  {_count(row)}")


def _count(row: LayerRow) -> str:
    if row.reuse_of is not None:
        return f"0 (= {row.reuse_of})"
    return "?" if row.parameters is None and not row.expanded else f"{_parameters(row):,} parameters"


def _parameters(row: LayerRow) -> int:
    return row.parameters or 0


def _total(summary: Summary) -> str:
    counts = summary.totals
    if summary.unbuilt:
        return "Total: unknown, because the shape of an input is missing"
    parts = [f"{counts.trainable:,} trainable", f"{counts.non_trainable:,} not"]
    known = f" ({', '.join(parts)})" if counts.unknown < counts.parameters or not counts.parameters else ""
    return f"Total: {counts.parameters:,} parameters{known}, {sum(counts.bytes.values()):,} bytes"


def _cut(text: str) -> str:
    text = text if text.isprintable() else text.encode("unicode_escape").decode()
    return text if len(text) <= MAX_WIDTH else f"{text[: MAX_WIDTH - 3]}..."


def html(summary: Summary) -> str:
    """Return a summary as an HTML table, one row for each layer."""
    cells = ("Layer", "Type", "Output shape", "Parameters")
    head = "".join(f"<th>{cell}</th>" for cell in cells)
    body = "".join(f"<tr>{''.join(_html_cells(row))}</tr>" for row in summary.layers)
    caption = f"<caption>{escape(_heading(summary))}</caption>"
    total = f'<tfoot><tr><td colspan="4">{escape(_total(summary))}</td></tr></tfoot>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>{total}</table>"


def _html_cells(row: LayerRow) -> Iterator[str]:
    count = "" if row.parameters is None else f"{row.parameters:,}"
    if row.reuse_of is not None:
        count = f"0 (= {row.reuse_of})"
    yield f'<td style="text-align: left; padding-left: {row.depth}em">{escape(row.path)}</td>'
    yield f"<td>{escape(row.type)}</td>"
    yield f"<td>{'' if row.output_shape is None else escape(str(row.output_shape))}</td>"
    yield f"<td>{escape(count)}</td>"
