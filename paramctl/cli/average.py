"""paramctl average: the mean of several checkpoints."""

from __future__ import annotations

import click

import paramctl
from paramctl.cli import combining, options
from paramctl.cli.command import Command


@click.command(cls=Command, short_help="Average several checkpoints")
@options.sources
@click.option(
    "--weights",
    metavar="W,...",
    show_default="equal",
    help="Weight of each file, such as 0.7,0.3; they sum to 1",
)
@options.combined
def average(
    sources: tuple[str, ...],
    weights: str | None,
    output: str,
    max_shard_size: int | None,
    partial: tuple[str, ...],
    dtype: tuple[str, ...],
    allow: tuple[str, ...],
    force: bool,
    quiet: bool,
) -> None:
    """Average checkpoints that have the same names and shapes, as for SWA, model soups and EMA.

    The files may have different formats and dtypes. Values are computed in float64 and rounded once, to the dtype of
    the first file or that of --dtype. The names, metadata, ties and layout are those of the first file.

    Arrays of integers have no mean. They are kept if all files agree; a counter or a seed that differs is that of the
    last file, and a line names it. Different integers in an array of two or more axes are an error. The running
    statistics of batch normalization are averaged, as torch.optim.swa_utils does with use_buffers; a line names them,
    because a model with the new weights has others.

    A missing or unexpected array, or another shape, is an error unless --partial names it. Such an array is kept from
    the first file.

    \b
    Examples:
      paramctl average epoch-8.pt epoch-9.pt epoch-10.pt -o swa.safetensors
      paramctl average ema.safetensors new.safetensors --weights 0.999,0.001 -o ema.safetensors --force
    """
    factors = combining.fractions(weights) if weights is not None else None
    arrays = combining.open_all(sources, output)
    averaged = paramctl.average(arrays, weights=factors, partial=partial, dtype=dtype, allow=allow)
    combining.write(averaged, output, force, max_shard_size, quiet)
