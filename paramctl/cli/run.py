"""paramctl run: the outputs of a model."""

from __future__ import annotations

import click

import paramctl
from paramctl.cli import inputs, options, progress
from paramctl.cli.command import Command
from paramctl.cli.output import check_target, refuse_terminal, report_written, write_file
from paramctl.cli.render import tell

FORMATS = ("numpy", "json", "jsonl", "csv", "npy", "npz", "raw")
BINARY = ("npy", "npz", "raw")


@click.command(cls=Command, short_help="Compute the outputs of a model")
@options.model
@options.weights("Checkpoint with the parameters")
@options.input_("npy file or checkpoint with the values; '-' for standard input")
@options.rows("--input")
@click.option(
    "--taps", metavar="PATTERN", multiple=True, help="Also the outputs of these layers, such as 'block-*'; repeatable"
)
@options.batch_size("Rows computed at once")
@options.output("File to write instead of printing; its suffix sets the format, .npy for one output")
@options.force
@options.compute_dtype
@options.seed
@options.define
@options.input_shape
@options.format_(*FORMATS)
def run(
    model: str | None,
    weights: str | None,
    input_: tuple[str, ...],
    count: int | None,
    taps: tuple[str, ...],
    batch_size: int,
    output: str | None,
    force: bool,
    dtype: str,
    seed: int | None,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> None:
    """Compute the outputs of a model for a row of each example, and print or save them.

    The model is a document or a .keras file; its parameters have the values of --weights, in Keras' or torch's layout,
    or else its own. Outputs are as outside training: no dropout, and batches are normalized by the moving averages.

    The values of the inputs have the batch axis first. With several inputs, they are arrays of one npz or other
    checkpoint, by name, or NAME=FILE for each. Targets y in the same file are ignored. Without --input
    they are random: standard normal values, or, for an embedding, valid integers; both depend on --seed alone.

    Values are computed in float32, or float64 with --dtype, whatever the dtype of the file. A note says where a value
    is not finite first. Rows are read and computed in batches, so any number of them fits in memory.

    \b
    Examples:
      paramctl run mlp.yaml --rows 2
      paramctl run fancy_mlp.yaml --seed 1
      paramctl run lenet.yaml --weights lenet.safetensors --input x.npy -o y.npy
      paramctl run gpt2.yaml --taps 'block-*' --input-shape 8 --format npz > taps.npz
      paramctl run model.keras --input x=x.npy --input y=y.npy --format json
    """
    if format in BINARY and output is None:
        refuse_terminal(format)
    opened = inputs.open_argument(model, define, input_shape)
    values = inputs.open_argument(weights) if weights is not None else None
    if output is not None:
        from paramctl.library.running import output_names

        check_target(output, force, output_names(opened, taps))
    with progress.bar("computing", "rows") as report:
        outputs = paramctl.run(
            opened,
            inputs.input_files(input_),
            weights=values,
            taps=taps,
            rows=count,
            batch_size=batch_size,
            seed=seed,
            dtype=dtype,
            progress=report,
        )
    if output is None:
        paramctl.dump(outputs, format=format)
        for note in outputs.notes:
            tell(f"note: {note}")
        return
    write_file(outputs, output, force=force)
    report_written(outputs, output)
