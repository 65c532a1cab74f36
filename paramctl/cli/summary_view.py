"""The rows and columns of a summary that options select."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from paramctl.cli.render import Column, choose
from paramctl.cli.several import OfFile
from paramctl.cli.summary_columns import (
    LAYER_COLUMNS,
    LAYER_JSON,
    LAYER_TABLE,
    OF_LAYERS,
    PARAMETER_COLUMNS,
    PARAMETER_JSON,
    PARAMETER_TABLE,
    SHARES,
)
from paramctl.cli.summary_json import summary_object

if TYPE_CHECKING:
    from paramctl.inspect.summary import Summary

MEASURES = {"size": "parameters", "parameters": "parameters", "bytes": "bytes", "macs": "macs"}
"""The columns by which --top sorts."""

RANKING = {"parameters": ("parameters", "size"), "bytes": ("bytes",), "macs": ("macs",)}
"""The columns that show the numbers by which --sort sorts. In a table of parameters, the size is their number."""


class View(NamedTuple):
    """The rows and columns to print.

    parameters: True for rows of parameters, False for layers. columns: the keys in --columns, or None.
    sort, top: the order and number of rows. group: True for one row for equal blocks.
    state: True for rows of an optimizer's arrays too.
    """

    parameters: bool
    columns: str | None
    format: str
    sort: str | None
    top: int | None
    group: bool
    state: bool

    @property
    def shown(self) -> list[Column]:
        """The columns of a table."""
        default = PARAMETER_TABLE if self.parameters else LAYER_TABLE
        return self._choose(self.parameters, (*default, *self._kind), self.columns)

    @property
    def exported(self) -> list[Column]:
        """The columns of CSV and JSON lines."""
        default = PARAMETER_JSON if self.parameters else LAYER_JSON
        return self._choose(self.parameters, (*default, *self._kind), self.columns)

    @property
    def only(self) -> str | None:
        """The kind of rows that the format shows, None if it shows both."""
        if self.format == "json" or (self.format == "tree" and self.parameters):
            return None
        return "parameters" if self.parameters and self.format != "tree" else "layers"

    @property
    def has_shares(self) -> bool:
        """True if rows need their shares of the total."""
        return self.sort is not None or any(key.strip() in SHARES for key in (self.columns or "").split(","))

    @property
    def _kind(self) -> tuple[str, ...]:
        return ("kind",) if self.state and self.parameters else ()

    def shown_for(self, facts: Summary) -> list[Column]:
        """Return the columns of a table of one file: without those of layers, if it has only arrays."""
        if facts.inputs or self.columns is not None:
            return self.shown
        return [column for column in self.shown if column.key not in OF_LAYERS]

    def rows(self, facts: Summary) -> list[Any]:
        """Return the rows of a file, in their order."""
        return [row.row for row in self.rows_of_all([("", facts)])]

    def rows_of_all(self, summaries: Sequence[tuple[str, Summary]]) -> list[OfFile]:
        """Return the rows of all files, in one order if they are sorted."""
        together = [(facts.separator, OfFile(file, row)) for file, facts in summaries for row in self._rows(facts)]
        if self.sort is not None:
            from paramctl.inspect.shares import sort_key

            together.sort(key=lambda pair: sort_key(self.sort, pair[0])(pair[1].row))
        return [row for _, row in together]

    def _rows(self, facts: Summary) -> list[Any]:
        return [*facts.parameters, *facts.optimizer] if self.parameters else [*facts.layers]

    def as_object(self, facts: Summary) -> dict[str, Any]:
        """Return the summary of a file as JSON has it. The columns of --columns are those of its rows."""
        layers, parameters = None if self.parameters else self.columns, self.columns if self.parameters else None
        return summary_object(
            facts,
            self._choose(False, LAYER_JSON, layers),
            self._choose(True, PARAMETER_JSON, parameters),
        )

    def _choose(self, parameters: bool, default: Sequence[str], keys: str | None) -> list[Column]:
        """Return columns: those with the keys, or the default ones with those that other options need."""
        available = PARAMETER_COLUMNS if parameters else LAYER_COLUMNS
        known = {column.key for column in available}
        measure = (self.sort,) if self.sort in ("bytes", "macs") and self.sort in known else ()
        count = ("count",) if self.group else ()
        shares = SHARES if self.sort is not None and (self.sort in known or self.sort == "path") else ()
        path, *others = default
        asked = (*RANKING.get(self.sort or "", ()), *shares, *self._kind)
        return choose(available, keys, (path, *count, *others, *measure, *shares), asked)


def view_of(
    parameters: bool,
    columns: str | None,
    depth: int | None,
    state: bool,
    format: str,
    is_several: bool,
    sort: str | None,
    top: int | None,
    group: bool,
) -> View:
    """Return the rows and columns that options select. Raises UsageError for options that exclude each other."""
    if columns is not None and format == "tree":
        raise click.UsageError(f"--columns requires a format with columns (got {format})")
    if format == "tree" and (sort is not None or top is not None):
        option = "--top" if sort is None else "--sort"
        raise click.UsageError(f"{option} requires a format with rows (got {format})")
    if depth is not None and parameters and format not in ("tree", "json"):
        raise click.UsageError("--depth applies to layers, and --parameters prints no rows for them")
    if is_several and format == "tree":
        raise click.UsageError("--format tree is for one file")
    if top is not None and sort is None:
        keys = [key.strip() for key in (columns or "").split(",")]
        sort = next((MEASURES[key] for key in keys if key in MEASURES), "parameters")
    if sort == "macs" and parameters:
        raise click.UsageError("--sort macs is for layers, and --parameters prints no rows for them")
    view = View(parameters, columns, format, sort, top, group, state)
    choose(PARAMETER_COLUMNS if parameters else LAYER_COLUMNS, columns, ())  # refuses an unknown one before any work
    return view
