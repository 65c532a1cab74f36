"""paramctl help: the help of paramctl, or of a command."""

from __future__ import annotations

import click

from paramctl.cli.command import Command, Group
from paramctl.cli.render import emit


class HelpCommand(Command):
    """The command help, whose output is paged as that of --help is."""

    def is_listing(self, ctx: click.Context) -> bool:
        """Return True: help is to read."""
        return True


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    group = context.find_root().command
    assert isinstance(group, Group)
    return [name for name in group.list_commands(context) if name.startswith(incomplete)]


@click.command("help", cls=HelpCommand, short_help="Show the help of a command")
@click.argument("command", required=False, help="The command; by default, all are listed", shell_complete=_complete)
@click.pass_context
def help_(context: click.Context, command: str | None) -> None:
    """Show the help of a command, as its --help does, or that of paramctl.

    \b
    Examples:
      paramctl help
      paramctl help init
    """
    root = context.find_root()
    if command is None:
        emit([root.get_help()])
        return
    group = root.command
    assert isinstance(group, Group)
    name, shown, _ = group.resolve_command(root, [command])
    assert shown is not None
    with click.Context(shown, info_name=name, parent=root) as of_command:
        emit([shown.get_help(of_command)])
