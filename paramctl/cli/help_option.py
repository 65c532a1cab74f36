"""The option --help of every command. On a terminal, longer help than the screen is shown in a pager, as git does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import click

from paramctl.cli.display import display_of, is_terminal
from paramctl.cli.render import emit


class HelpOption(click.Option):
    """The option that prints the help of its command and ends the run."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            [*names, "show_help"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_and_exit,
            help="Show this message and exit",
        )

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Process the option, after --pager wherever that is: click would process --pager when the run has ended."""
        if opts.get("pager") is not None:
            display_of(ctx).pager = opts["pager"]
        return super().handle_parse_result(ctx, opts, args)


def _show_and_exit(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        show_help(context)
        context.exit()


def show_help(context: click.Context) -> None:
    """Print the help of the command of a context, in a pager if options and the terminal ask for one."""
    with ExitStack() as stack:
        if is_terminal():
            from paramctl.cli.pager import paged  # a pipe needs none

            stack.enter_context(paged(is_listing=True))
        emit([context.get_help()])
