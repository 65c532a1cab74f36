"""The click classes of every command: help without full stops, and addresses that begin with a minus sign."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import click

from paramctl.cli.common import common_options
from paramctl.cli.display import display_of, is_terminal
from paramctl.cli.help_option import HelpOption

PAGED_FORMATS = ("table", "tree", "markdown")
"""The formats for people. Longer output than the screen is shown in a pager."""

HELP_NAMES = ("-h", "--help")

_NEGATIVE_INDEX = re.compile(r"-\d+($|[/.\[ +*=-])")


class Command(click.Command):
    """A command with the options of all, that takes ``-1/kernel`` as an argument: an address from the end."""

    @cached_property
    def prints_tables(self) -> bool:
        """True for a command whose --format can be a table."""
        formats = [each.type for each in self.params if each.name == "format"]
        return any(isinstance(each, click.Choice) and "table" in each.choices for each in formats)

    @cached_property
    def writes_files(self) -> bool:
        """True for a command with -o: its tables are reports of its work, which no pager interrupts."""
        return any("--output" in each.opts for each in self.params)

    def is_listing(self, ctx: click.Context) -> bool:
        """Return whether the output of a run is to read, so that a pager shows it if it is long."""
        return self.prints_tables and not self.writes_files and ctx.params["format"] in PAGED_FORMATS

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, with its output in a pager and its work reported if options ask for it."""
        with ExitStack() as stack:
            if display_of(ctx).verbosity:
                from paramctl.cli.verbose import reported  # most runs need neither of these

                stack.enter_context(reported(ctx))
            if is_terminal():
                from paramctl.cli.pager import paged

                stack.enter_context(paged(self.is_listing(ctx)))
            return super().invoke(ctx)

    @cached_property
    def _common(self) -> list[click.Option]:
        return common_options(self.prints_tables)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters of the command, then the options of all commands."""
        if ctx.resilient_parsing:  # TAB completion
            from paramctl.cli.completions import complete_by_metavar

            complete_by_metavar(self.params)
        count = len(self.params)
        params = super().get_params(ctx)
        return [*params[:count], *self._common, *params[count:]]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments, with a space before each such address, so that click does not take it for an option."""
        with_value = {
            name
            for option in self.get_params(ctx)
            if isinstance(option, click.Option) and not option.is_flag and not option.count
            for name in option.opts
        }
        if ctx.resilient_parsing and args and args[-1] in with_value:
            args = args[:-1]  # TAB completes its value, and click would skip the arguments before it
        previous = [None, *args]
        end = args.index("--") if "--" in args else len(args)  # click itself takes what follows as arguments
        spaced = [
            # not after an option that takes a value: in '--scheme -1' the -1 is the value
            f" {arg}" if place < end and _NEGATIVE_INDEX.match(arg) and before not in with_value else arg
            for place, (before, arg) in enumerate(zip(previous, args, strict=False))
        ]
        try:
            return super().parse_args(ctx, spaced)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click's parser names no command where a value is missing or too many
            raise

    @cached_property
    def _help(self) -> HelpOption:
        return HelpOption(HELP_NAMES)

    def get_help_option(self, ctx: click.Context) -> click.Option:
        """Return the option --help, the same one each time: click compares it by identity."""
        return self._help


class Group(click.Group):
    """The group of all commands, each imported when it is used: a run needs only one.

    sections: the names of the commands, by the heading that help has for them.
    load: returns the command of a name.
    """

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Sequence[str]],
        load: Callable[[str], click.Command],
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.sections, self.load = sections, load
        self.names = [name for names in sections.values() for name in names]
        self.params += common_options(has_tables=False)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted(self.names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None for an unknown name."""
        if cmd_name not in self.names:
            return None
        return self.load(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands and what each is for, under the headings of the sections."""
        width = max(map(len, self.names))
        for heading, names in self.sections.items():
            with formatter.section(heading):
                # padded, so that the texts of all sections begin in one column
                formatter.write_dl([(name.ljust(width), self.load(name).get_short_help_str(60)) for name in names])

    @cached_property
    def _help(self) -> HelpOption:
        return HelpOption(HELP_NAMES)

    def get_help_option(self, ctx: click.Context) -> click.Option:
        """Return the option --help, the same one each time: click compares it by identity."""
        return self._help
