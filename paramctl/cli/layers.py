"""paramctl layers: the types of layers that a document may name, and their options."""

from typing import Any

import click

from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.render import ROW_FORMATS, Column, emit, rows


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
    Column("axes", "Axes of its input", lambda row: row.axes),
    Column("about", "What it does", lambda row: row.about),
]
OPTION_COLUMNS = [
    Column("type", "Type", lambda row: row.type),
    Column("option", "Option", lambda row: row.option),
    Column("required", "Required", lambda row: row.required),
    Column("default", "Default", lambda row: row.default, _default_text),
    Column("rule", "Must be", lambda row: row.rule),
]


@click.command(cls=Command)
@click.argument(
    "types", metavar="[TYPE]...", nargs=-1, help="Which types to show the options of.", shell_complete=_complete
)
@options.format_(*ROW_FORMATS)
def layers(types: tuple[str, ...], format: str) -> None:
    """List the types of layers that a model document may name, or the options of some.

    \b
    paramctl layers
    paramctl layers conv2d lstm
    paramctl layers --format json
    """
    from paramctl.inspect.layers import option_rows as options_of
    from paramctl.inspect.layers import type_rows as all_types

    if types:
        columns = [
            column for column in OPTION_COLUMNS if format not in ("table", "markdown") or column.key != "required"
        ]
        emit(rows(format, options_of(types), columns))
    elif format in ("table", "markdown"):
        emit(rows(format, all_types(), [TYPE_COLUMNS[0], TYPE_COLUMNS[1], TYPE_COLUMNS[-1]]))
    else:
        emit(rows(format, all_types(), TYPE_COLUMNS))
