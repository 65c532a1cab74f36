"""paramctl freeze: mark parameters as not trainable."""

from __future__ import annotations

import click

import paramctl
from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.marking import mark


@click.command(cls=Command, short_help="Mark parameters as not trainable")
@options.source
@options.required_addresses("patterns", "PATTERN...", "Addresses of parameters")
@options.output("File to write; '-' is standard output")
@options.in_place
@options.force
def freeze(source: str | None, patterns: tuple[str, ...], output: str | None, in_place: bool, force: bool) -> None:
    """Mark parameters as not trainable, in a model document or in a checkpoint. Values stay the same.

    In a document, adds 'trainable: false' to layers or blocks, so all parameters of a layer must be named. A checkpoint
    records it for each array, in metadata that paramctl reads; frameworks ignore it. Keras' files and .npy cannot
    record it. A tied array is frozen under all of its names.

    \b
    Examples:
      paramctl freeze mlp.yaml 'dense/**' --in-place
      paramctl freeze gpt2.safetensors 'tokens/**' '**/kernel' -o frozen.safetensors
    """
    mark(source, patterns, output, in_place, force, paramctl.freeze, trainable=False)
