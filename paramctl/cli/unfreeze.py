"""paramctl unfreeze: mark parameters as trainable again."""

from __future__ import annotations

import click

import paramctl
from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.marking import mark


@click.command(cls=Command, short_help="Mark parameters as trainable again")
@options.source
@options.required_addresses("patterns", "PATTERN...", "Addresses of parameters")
@options.output("File to write; '-' is standard output")
@options.in_place
@options.force
def unfreeze(source: str | None, patterns: tuple[str, ...], output: str | None, in_place: bool, force: bool) -> None:
    """Mark frozen parameters as trainable again, in a model document or in a checkpoint. Values stay the same.

    In a document, replaces 'trainable: false' by 'trainable: true'. A pattern that matches only state, such as moving
    means, is an error; among others, state does not change.

    \b
    Examples:
      paramctl unfreeze mlp.yaml 'dense/**' --in-place
      paramctl unfreeze frozen.safetensors '**' -o trainable.safetensors
    """
    mark(source, patterns, output, in_place, force, paramctl.unfreeze, trainable=True)
