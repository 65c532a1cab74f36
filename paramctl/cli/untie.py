"""paramctl untie: give tied parameters separate arrays."""

from __future__ import annotations

import click

import paramctl
from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.retie import retie
from paramctl.core.text import abbreviate


@click.command(cls=Command, short_help="Give tied parameters separate arrays")
@options.source
@options.required_addresses("others", "OTHER...", "Tied parameters that will have separate arrays")
@options.output("File to write; '-' is standard output")
@options.in_place
@options.force
def untie(source: str | None, others: tuple[str, ...], output: str | None, in_place: bool, force: bool) -> None:
    """Give tied parameters separate arrays, with unchanged values.

    In a document, removes the line of the tie. A layer that 'reuse' applies again cannot be untied: replace the
    'reuse' by another layer.

    \b
    Examples:
      paramctl untie gpt2.yaml head/kernel -o untied.yaml
      paramctl untie tied.h5 head/kernel --in-place
    """

    removed = retie(source, output, in_place, force, lambda arrays: paramctl.untie(arrays, others))
    click.echo(f"{abbreviate([each.tied for each in removed])} untied; values unchanged", err=True)
