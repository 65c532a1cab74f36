"""paramctl dump: values on standard output."""

from __future__ import annotations

from typing import Any

import click

import paramctl
from paramctl.cli import inputs, options
from paramctl.cli.command import Command
from paramctl.cli.completions import complete_names
from paramctl.cli.output import refuse_terminal
from paramctl.cli.render import tell

FORMATS = ("numpy", "json", "jsonl", "csv", "arrow", "parquet", "npy", "npz", "raw")
BINARY = ("arrow", "parquet", "npy", "npz", "raw")


@click.command(cls=Command, short_help="Print values of parameters")
@options.source
@options.addresses
@options.format_(*FORMATS)
@click.option(
    "--columns",
    metavar="NAME,...",
    show_default="path,i0,...,value",
    shell_complete=complete_names(lambda: ("path", "i0", "i1", "i2", "i3", "index", "value", "real", "imag")),
    help="csv, arrow, parquet: columns; also index, real, imag",
)
@click.option(
    "--precision",
    type=click.IntRange(0, 40),
    metavar="N",
    show_default="8",
    help="numpy: digits after the decimal point",
)
@click.option(
    "--threshold",
    type=click.IntRange(min=0),
    metavar="N",
    show_default="1000",
    help="numpy: abbreviate arrays of more than N values",
)
@click.option("--full", is_flag=True, help="numpy: abbreviate no array")
@options.filters
@options.state
@options.seed
@options.define
@options.input_shape
def dump(
    source: str | None,
    addresses: tuple[str, ...],
    format: str,
    columns: str | None,
    precision: int | None,
    threshold: int | None,
    full: bool,
    filters: dict[str, Any],
    state: bool,
    seed: int | None,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
) -> None:
    """Print values of a checkpoint, or of a model, generated on demand by its initializers.

    Without an address, prints every array once. The path of a block means every parameter below it. A slice is
    written as in NumPy, and only the selected values are read or generated.

    Formats: numpy prints as NumPy does. json is one object, from paths to nested lists. jsonl has a line for each
    parameter. Numbers are the shortest that read back exactly; NaN and infinities are strings in JSON. npy holds one
    parameter, npz any number. raw is the bytes alone, little-endian. npy and npz store bfloat16 as float32.

    csv, arrow and parquet are tables with a row for each value: the path, the index of each axis in the whole array
    (i0, i1 and so on; the last ones are empty for arrays with fewer axes), and the value. Complex values have the
    columns real and imag. --columns chooses others: index is the whole index as one text. arrow is an Arrow IPC file,
    also called Feather; both need pyarrow: pip install 'paramctl[arrow]'. Their values have the narrowest type that
    holds all of them exactly.

    With --state, the arrays of the file's optimizer follow the parameters, and addresses select them too.

    \b
    Examples:
      paramctl dump mlp.h5 dense/bias
      paramctl dump mlp.yaml 'dense/kernel[0, :2]' --seed 1
      paramctl dump mlp.h5 '**/kernel[..., 0]' --format csv
      paramctl dump mlp.h5 '*/bias' --format csv --columns path,i0,value
      paramctl dump mlp.h5 --format parquet > mlp.parquet
      paramctl dump mlp.h5 dense/kernel --format npy > kernel.npy
      paramctl dump mlp.h5 dense --format raw | python -c 'import sys, numpy; print(numpy.frombuffer(sys.stdin.buffer.read(), "f4"))'
      paramctl dump fitted.keras --state 'optimizer/**'
      paramctl init mlp.yaml --scheme constant:1 -o - | paramctl dump -
    """  # noqa: E501  a command is copied as one line
    styling = {"--precision": precision is not None, "--threshold": threshold is not None, "--full": full}
    if format != "numpy" and any(styling.values()):
        raise click.UsageError(f"{next(name for name in styling if styling[name])} requires --format numpy")
    if format in BINARY:
        refuse_terminal(format)
    arrays = inputs.open_argument(source, define, input_shape)
    if state:
        inputs.note_state(arrays, source)
    paramctl.dump(
        arrays,
        *addresses,
        format=format,
        columns=columns,
        precision=precision,
        threshold=threshold,
        full=full,
        **filters,
        seed=seed,
        state=state,
    )
    if not arrays.parameters:
        tell(f"{source}: contains no arrays")
