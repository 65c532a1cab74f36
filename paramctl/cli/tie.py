"""paramctl tie: make parameters share one array."""

from __future__ import annotations

import click

import paramctl
from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.retie import retie
from paramctl.core.text import abbreviate


@click.command(cls=Command, short_help="Make parameters share one array")
@options.source
@click.argument("keep", shell_complete=options.complete_address, help="Parameter whose values are kept")
@options.required_addresses("others", "OTHER...", "Addresses of the parameters that will share its array; not of KEEP")
@click.option("--transpose", is_flag=True, help="Tie OTHER to the transpose of KEEP")
@options.output("File to write; '-' is standard output")
@options.in_place
@options.force
def tie(
    source: str | None,
    keep: str,
    others: tuple[str, ...],
    transpose: bool,
    output: str | None,
    in_place: bool,
    force: bool,
) -> None:
    """Make parameters share one array, in a model document or in a checkpoint. The values of KEEP are kept. KEEP
    is the address of one parameter. Each OTHER can be a pattern that matches several.

    In a document, adds a line under 'ties' and changes nothing else. In a checkpoint, removes the other arrays and
    frees their space. HDF5 stores a tie as a hard link; transposed ties are listed in the file's metadata.

    \b
    Examples:
      paramctl tie mlp.yaml a/kernel b/kernel --in-place
      paramctl tie gpt2.h5 tokens/embeddings head/kernel --transpose -o tied.h5
    """

    added = retie(
        source, output, in_place, force, lambda arrays: paramctl.tie(arrays, keep, others, transpose=transpose)
    )
    names = abbreviate([each.tied for each in added])
    click.echo(f"{names} tied to {added[0].kept}; values of {added[0].kept} kept", err=True)
