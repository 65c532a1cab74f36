"""The options that every command has: --wide, --pager, --color and --verbose. Those of the group come first.

They set the display of the running command, and reach no command as an argument.
"""

from __future__ import annotations

from typing import Any

import click

from paramctl.cli.display import COLORS, display_of


def _set_wide(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    display_of(context).wide |= value


def _set_pager(context: click.Context, parameter: click.Parameter, value: bool | None) -> None:
    if value is not None:
        display_of(context).pager = value


def _set_color(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        display_of(context).color = value


def _set_verbosity(context: click.Context, parameter: click.Parameter, value: int) -> None:
    display_of(context).verbosity += value


def common_options(has_tables: bool) -> list[click.Option]:
    """Return the options of a command, or of the group. has_tables: True for a command that prints tables."""
    hidden: dict[str, Any] = {"expose_value": False}
    wide = click.Option(
        ["--wide"],
        is_flag=True,
        callback=_set_wide,
        help="Show every column and whole names, also on a narrow terminal",
        **hidden,
    )
    pager = click.Option(
        ["--pager/--no-pager", "pager"],
        default=None,
        callback=_set_pager,
        allow_from_autoenv=False,  # PARAMCTL_PAGER is the pager's command
        show_default="for long tables on a terminal",
        help="Show output in a pager, or do not",
        **hidden,
    )
    color = click.Option(
        ["--color"], type=click.Choice(COLORS), callback=_set_color, show_default="auto", help="Use colors", **hidden
    )
    verbose = click.Option(
        ["-v", "--verbose"],
        count=True,
        callback=_set_verbosity,
        help="Say on standard error which files were read; -vv says more",
        **hidden,
    )
    return [*([wide] if has_tables else []), pager, color, verbose]
