"""The texts from which ``paramctl.quick`` answers, written from the commands by man/generate.py."""

from __future__ import annotations

from collections.abc import Iterator

import click

from paramctl.cli import CONTEXT, all_commands, paramctl
from paramctl.cli.completions import FILES, Completed, complete_by_metavar
from paramctl.quick.texts import sources_mark


def quick_texts() -> dict[str, str]:
    """Return the texts by the names of their files in paramctl/quick, each after the mark of the commands' sources."""
    return {name: f"{sources_mark()}\n{text}" for name, text in (("help.txt", _help()), ("words.txt", _words()))}


def _help() -> str:
    """Return what --help prints on a terminal of 80 columns or more."""
    with click.Context(paramctl, info_name="paramctl", terminal_width=78, **CONTEXT) as context:
        return f"{context.get_help()}\n"


def _words() -> str:
    """Return the table that paramctl/quick/completion.py describes, with an empty line at its start."""
    group = click.Context(paramctl, info_name="paramctl", resilient_parsing=True, **CONTEXT)
    lines = ["", "paramctl\t", *map(_line, paramctl.get_params(group))]
    for command in sorted(all_commands(), key=lambda each: str(each.name)):
        context = click.Context(command, parent=group, info_name=command.name, resilient_parsing=True)
        lines += [f"{command.name}\t{command.get_short_help_str()}", *_lines(command.get_params(context))]
    return "\n".join([*lines, ""])


def _lines(parameters: list[click.Parameter]) -> Iterator[str]:
    complete_by_metavar(parameters)
    yield from map(_line, parameters)


def _line(parameter: click.Parameter) -> str:
    role, names, text = "argument", "", ""
    many = parameter.nargs != 1
    if isinstance(parameter, click.Option):
        role, many = "option", parameter.multiple
        names, text = " ".join([*parameter.opts, *parameter.secondary_opts]), parameter.help or ""
    return "\t".join(["", role, _kind(parameter), "many" if many else "one", names, text])


def _kind(parameter: click.Parameter) -> str:
    """Return what a value of the parameter is: see paramctl/quick/completion.py."""
    if isinstance(parameter, click.Option) and (parameter.is_flag or parameter.count):
        return "flag"
    if isinstance(parameter.type, click.Choice):
        return " ".join(["choice", *parameter.type.choices])
    is_file = isinstance(parameter.type, Completed) and parameter.type.metavar in FILES
    return "file" if is_file or isinstance(parameter.type, click.Path) else "ask"
