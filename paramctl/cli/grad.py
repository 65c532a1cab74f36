"""paramctl grad: the gradient of a loss."""

from __future__ import annotations

from collections.abc import Iterable

import click

import paramctl
from paramctl.cli import inputs, options, progress
from paramctl.cli.command import Command
from paramctl.cli.output import check_target, report_written, write_file
from paramctl.cli.render import ROW_FORMATS, Column, emit, numeric, rows, tell

COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("shape", "Shape", lambda row: row.shape),
    numeric("norm", "Gradient norm"),
    numeric("weight_norm", "Weight norm"),
    numeric("ratio", "Ratio"),
    numeric("max_abs", "Max abs"),
    Column("uses", "Uses", lambda row: row.uses, right=True),
]


def losses() -> Iterable[str]:
    from paramctl.compute.losses import LOSSES

    return LOSSES


@click.command(cls=Command, short_help="Compute gradients of a loss")
@options.model
@options.data()
@click.option(
    "--loss", type=options.LazyChoice(losses), default="mse", show_default=True, help="Loss of outputs and targets"
)
@options.weights("Checkpoint with the parameters")
@click.option("--split-ties", is_flag=True, help="Also the share of each use of a parameter that is used several times")
@click.option("--training", is_flag=True, help="With dropout, and batches normalized by their own statistics")
@options.rows("--data")
@options.batch_size("Rows computed at once")
@options.output("File to write the gradients to; its suffix sets the format")
@options.force
@options.compute_dtype
@options.seed
@options.define
@options.input_shape
@options.format_(*ROW_FORMATS)
def grad(
    model: str | None,
    data: str | None,
    loss: str,
    weights: str | None,
    split_ties: bool,
    training: bool,
    count: int | None,
    batch_size: int,
    output: str | None,
    force: bool,
    dtype: str,
    seed: int | None,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> None:
    """Compute the gradient of a loss for each trainable parameter, over all examples.

    Prints the norm of each gradient, the norm of the parameter, and their ratio; -o writes the gradients themselves,
    under the names of the parameters, for dump, stat and diff. A parameter that is used several times, by a shared
    layer or a tie, has the sum of its uses' gradients; --split-ties shows the share of each as PATH#1, PATH#2.

    The data are arrays with a row for each example: the inputs by name, x or any name for the only one, and the
    targets y. A loss requires a model with one output. Only sum adds up all outputs; it has no targets, and takes
    random inputs without --data.

    cross_entropy takes the indices of classes, or rows of probabilities from 0 to 1, which need not sum to 1;
    binary_cross_entropy takes numbers from 0 to 1. Outputs are probabilities if they come from a softmax, sigmoid,
    hard_sigmoid, sparsemax or sparse_sigmoid through layers that only move, select or average values, such as reshape;
    all others are logits, also those of a recurrent layer. cross_entropy divides probabilities by their sum, as Keras
    does. Steps that an embedding or masking layer masks do not count in a loss with targets.

    Gradients require autograd: pip install 'paramctl[grad]'.

    \b
    Examples:
      paramctl grad tied_mlp.yaml --loss sum --rows 2 --split-ties
      paramctl grad mlp.yaml --data xy.npz --loss cross_entropy
      paramctl grad model.keras --data xy.npz -o gradients.h5
    """
    opened = inputs.open_argument(model, define, input_shape)
    values = inputs.open_argument(weights) if weights is not None else None
    if output is not None:
        structure = opened if isinstance(opened, paramctl.Model) else opened.model
        check_target(output, force, [owner.path for owner in structure.owners() if owner.trainable])
    with progress.bar("computing", "rows") as report:
        gradients = paramctl.gradients(
            opened,
            data,
            loss=loss,
            weights=values,
            split_ties=split_ties,
            training=training,
            rows=count,
            batch_size=batch_size,
            seed=seed,
            dtype=dtype,
            progress=report,
        )
    if output is not None:
        write_file(gradients, output, force=force)
    emit(rows(format, gradients.report, COLUMNS))
    if output is not None:
        report_written(gradients, output)
    else:
        for note in gradients.notes:
            tell(note)
