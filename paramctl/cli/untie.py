"""paramctl untie: give tied parameters separate arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.inputs import abbreviate
from paramctl.cli.retie import retie

if TYPE_CHECKING:
    from paramctl.model import Model
    from paramctl.source.open import Opened


@click.command(cls=Command, short_help="Give tied parameters separate arrays")
@options.source
@click.argument(
    "others",
    metavar="OTHER...",
    nargs=-1,
    required=True,
    shell_complete=options.complete_address,
    help="Tied parameters that will have separate arrays",
)
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

    def change(model: Model) -> Model:
        from paramctl.edit.tie import remove_ties
        from paramctl.inspect.ties import refuse_reuse

        refuse_reuse(model, others)
        return remove_ties(model, others)

    def edit(opened: Opened, retied: Model, path: str) -> str:
        from paramctl.edit.document_edit import without_ties

        assert opened.model.document is not None
        return without_ties(opened.model.document, [*set(opened.model.ties) - set(retied.ties)], path)

    removed = retie(source, output, in_place, force, change, edit)
    click.echo(f"{abbreviate([tie.tied for tie in removed])} untied; values unchanged", err=True)
