"""paramctl dump: values on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from paramctl.cli import options
from paramctl.cli.command import Command

if TYPE_CHECKING:
    from paramctl.address.resolve import Filters

FORMATS = ("numpy", "json", "jsonl", "csv", "npy", "npz", "raw")


@click.command(cls=Command)
@options.source
@options.addresses
@options.format_(*FORMATS)
@click.option(
    "--precision", type=click.IntRange(0, 40), metavar="N", help="numpy: digits after the point. [default: 8]"
)
@click.option(
    "--threshold",
    type=click.IntRange(min=0),
    metavar="N",
    help="numpy: arrays of more values are shortened to their edges. [default: 1000]",
)
@click.option("--full", is_flag=True, help="numpy: shorten nothing.")
@options.filters
@options.seed
@options.define
@options.input_shape
def dump(
    source: str | None,
    addresses: tuple[str, ...],
    format: str,
    precision: int | None,
    threshold: int | None,
    full: bool,
    keep: Filters,
    seed: int | None,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
) -> None:
    """Print values: of a model, drawn by its initializers as far as they are asked for, or of a checkpoint.

    Without an address, every array once. A path that is a block's means all below it; either name of a tied
    pair will do. A slice is written as in NumPy, and only what it selects is read or drawn.

    numpy prints as NumPy does, with a heading for each parameter where there are several. json is one object from
    paths to nested lists, jsonl a line for each parameter, csv a line for each value with its place. Numbers are
    the shortest that read back the same; what is not finite is text in JSON. npy holds one parameter, npz any number;
    raw is nothing but the bytes, little-endian. npy and npz have no bfloat16: it becomes float32.

    \b
    paramctl dump mlp.h5 dense/bias
    paramctl dump mlp.yaml 'dense/kernel[0, :2]' --seed 1
    paramctl dump mlp.h5 '**/kernel[..., 0]' --format csv
    paramctl dump mlp.h5 dense/kernel --format npy > kernel.npy
    paramctl dump mlp.h5 dense --format raw | python -c 'import sys, numpy; print(numpy.frombuffer(sys.stdin.buffer.read(), "f4"))'
    paramctl init mlp.yaml --scheme constant:1 -o - | paramctl dump -
    """  # noqa: E501  a command is copied as one line
    given = {"--precision": precision is not None, "--threshold": threshold is not None, "--full": full}
    if format != "numpy" and any(given.values()):
        raise click.UsageError(f"{next(name for name in given if given[name])} is for --format numpy.")
    if format in ("npy", "npz", "raw"):
        options.refuse_terminal(format)
    from paramctl.cli import values
    from paramctl.source.base import select_values

    made = options.as_drawn(options.open_argument(source, define, input_shape), seed)
    chosen = select_values(made, addresses, keep)
    if format == "npy" and len(chosen) != 1:
        raise click.UsageError(f"npy holds one parameter, and {len(chosen):,} are asked for; npz holds many.")
    if format == "numpy":
        values.print_numpy(chosen, values.Style(precision, threshold, full))
    else:
        values.WRITERS[format](chosen)
