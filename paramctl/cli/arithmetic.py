"""paramctl arithmetic: an expression of several checkpoints."""

from __future__ import annotations

import click

import paramctl
from paramctl.cli import combining, options
from paramctl.cli.command import Command


@click.command(cls=Command, short_help="Compute an expression of checkpoints")
@click.argument("expression", help="Such as 'a + 0.5 * (b - a)': numbers, names, + - * / **, sqrt, exp, log, abs")
@click.argument("files", metavar="NAME=FILE...", nargs=-1, required=True, help="File of each name in the expression")
@options.combined
def arithmetic(
    expression: str,
    files: tuple[str, ...],
    output: str,
    max_shard_size: int | None,
    partial: tuple[str, ...],
    dtype: tuple[str, ...],
    allow: tuple[str, ...],
    force: bool,
    quiet: bool,
) -> None:
    """Compute an expression for each value of checkpoints that have the same names and shapes, as for task vectors.

    The files may have different formats and dtypes. Values are computed in float64 and rounded once, to the dtype of
    the first file or that of --dtype. The names, metadata, ties and layout are those of the first file.

    Arrays of integers are not computed. They are kept if all files agree; a counter or a seed that differs is that of
    the last file, and a line names it. Different integers in an array of two or more axes are an error.

    A missing or unexpected array, or another shape, is an error unless --partial names it. Such an array is kept from
    the first file.

    An infinite or NaN result from finite values, such as 1 / 0, is an error unless --allow overflow.

    \b
    Examples:
      paramctl arithmetic 'a + 0.5 * (b - a)' a=base.safetensors b=tuned.safetensors -o half.safetensors
      paramctl arithmetic 'b - a' a=base.h5 b=tuned.h5 -o task.h5
      paramctl arithmetic 'base + t - s' base=base.pt t=toxic.pt s=safe.pt -o detoxified.safetensors
    """
    names = combining.named_files(files)
    arrays = combining.open_all(tuple(names.values()), output)
    result = paramctl.arithmetic(
        expression, dict(zip(names, arrays, strict=True)), partial=partial, dtype=dtype, allow=allow
    )
    combining.write(result, output, force, max_shard_size, quiet)
