"""paramctl layers: the layer types that a document may use, and their options."""

from typing import Any

import click

import paramctl
from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.render import FOR_PEOPLE, ROW_FORMATS, Column, emit, rows


def _default_text(row: Any) -> str:
    from paramctl.declare.located import scalar_text

    return "(required)" if row.required else scalar_text(row.default)


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from paramctl.model.layers import FUNCTIONS, LAYERS

    return [name for name in {**LAYERS, **FUNCTIONS} if name.startswith(incomplete)]


TYPE_COLUMNS = [
    Column("type", "Type", lambda row: row.type),
    Column("kind", "Kind", lambda row: row.kind),
    Column("options", "Options", lambda row: list(row.options)),
    Column("axes", "Input axes", lambda row: row.axes),
    Column("about", "Description", lambda row: row.about, priority=0),
]
TYPE_TABLE = [column for column in TYPE_COLUMNS if column.key in ("type", "kind", "about")]

OPTION_COLUMNS = [
    Column("type", "Type", lambda row: row.type),
    Column("option", "Option", lambda row: row.option),
    Column("required", "Required", lambda row: row.required),
    Column("default", "Default", lambda row: row.default, _default_text),
    Column("rule", "Must be", lambda row: row.rule),
]
OPTION_TABLE = [column for column in OPTION_COLUMNS if column.key != "required"]
"""In a table, the column of defaults also marks required options."""


@click.command(cls=Command, short_help="List layer types, or the options of some")
@click.argument(
    "types", metavar="[TYPE]...", nargs=-1, help="Layer types whose options to list", shell_complete=_complete
)
@options.format_(*ROW_FORMATS)
def layers(types: tuple[str, ...], format: str) -> None:
    """List the layer types and activation functions of model documents, or the options of some of them.

    \b
    Examples:
      paramctl layers
      paramctl layers conv2d lstm
      paramctl layers --format json
    """
    of_options, of_types = (OPTION_TABLE, TYPE_TABLE) if format in FOR_PEOPLE else (OPTION_COLUMNS, TYPE_COLUMNS)
    emit(rows(format, paramctl.layers(*types), of_options if types else of_types))
