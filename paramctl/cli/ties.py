"""paramctl ties: the parameters that share an array, and those that could."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

import paramctl
from paramctl.cli import inputs, options, progress
from paramctl.cli.command import Command
from paramctl.cli.render import FOR_PEOPLE, ROW_FORMATS, Column, emit, rows, tell

COLUMNS = [
    Column("keep", "Kept", lambda row: row.kept),
    Column("tie", "Tied", lambda row: row.tied),
    Column("transpose", "Transposed", lambda row: row.transpose),
]
EQUAL_COLUMNS = [
    Column("keep", "Kept", lambda row: row[0]),
    Column("tie", "Equal, not tied", lambda row: row[1]),
]


@click.command(cls=Command, short_help="List parameters that share an array")
@options.source
@click.option("--find", is_flag=True, help="List arrays that are equal but not tied instead")
@options.define
@options.input_shape
@options.format_(*ROW_FORMATS)
def ties(source: str | None, find: bool, define: tuple[str, ...], input_shape: tuple[str, ...], format: str) -> None:
    """List the parameters that share an array with another, or those that could.

    \b
    Examples:
      paramctl ties gpt2.yaml
      paramctl ties weights.h5 --find
    """
    arrays = inputs.open_argument(source, define, input_shape)
    model = arrays if isinstance(arrays, paramctl.Model) else arrays.model
    count = len([*model.owners()])
    noun = "array" if count == 1 else "arrays"
    if not find:
        nothing = f"no ties: {count:,} {noun}; --find lists arrays with equal values"
        _print(format, paramctl.ties(arrays), COLUMNS, nothing)
        return
    with progress.bar("comparing") as report:
        groups = paramctl.find_ties(arrays, progress=report)
    pairs: list[Any] = [(first, other) for first, *others in groups for other in others]
    _print(format, pairs, EQUAL_COLUMNS, f"no equal arrays among {count:,}")


def _print(format: str, items: Sequence[Any], columns: Sequence[Column], nothing: str) -> None:
    """Print rows. nothing: the line on standard error in place of a table without rows."""
    if items or format not in FOR_PEOPLE:
        emit(rows(format, items, columns))
    else:
        tell(nothing)
