"""paramctl untie: parameters that no longer share an array."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.tie import retie

if TYPE_CHECKING:
    from paramctl.model import Model
    from paramctl.source.open import Opened


@click.command(cls=Command)
@options.source
@click.argument(
    "others",
    metavar="OTHER...",
    nargs=-1,
    required=True,
    shell_complete=options.complete_address,
    help="What shall have an array of its own.",
)
@options.output("Where to write.")
@options.in_place
@options.force
def untie(source: str | None, others: tuple[str, ...], output: str | None, in_place: bool, force: bool) -> None:
    """Give tied parameters arrays of their own again, with the values that they had.

    In a document the line of the tie is taken out. A layer that is used twice is one layer: write another in the
    place of its 'reuse'.

    \b
    paramctl untie gpt2.yaml head/kernel -o untied.yaml
    paramctl untie tied.h5 head/kernel --in-place
    """

    def change(model: Model) -> Model:
        from paramctl.edit.tie import untied
        from paramctl.inspect.ties import refuse_reuse

        refuse_reuse(model, others)
        return untied(model, others)

    def edit(found: Opened, made: Model, path: str) -> str:
        from paramctl.edit.document_edit import without_ties

        assert found.model.document is not None
        return without_ties(found.model.document, [*set(found.model.ties) - set(made.ties)], path)

    gone = retie(source, output, in_place, force, change, edit)
    click.echo(
        f"{options.abbreviate(tuple(each.tied for each in gone))} untied, with the values as they were", err=True
    )
