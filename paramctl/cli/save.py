"""paramctl save: a model, or any checkpoint, into a file of any format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.init import tell, to_file, to_pipe
from paramctl.cli.render import ROW_FORMATS, Column, emit, rows

if TYPE_CHECKING:
    from paramctl.convert.report import TensorRow

COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("status", "Status", lambda row: row.status),
    Column("shape", "Shape", lambda row: None if row.shape is None else list(row.shape)),
    Column("source", "From", lambda row: list(row.source)),
    Column("was", "Shape there", lambda row: None if row.was is None else list(row.was)),
    Column("note", "Note", lambda row: row.note),
]


@click.command(cls=Command)
@options.source
@options.output(
    "Where to write: the suffix says the format, .h5, .safetensors, .npz, .keras, .weights.h5 or .weights.json;"
    " FOLDER/ holds safetensors, and '-' streams them.",
    required=True,
)
@click.option(
    "--max-shard-size",
    type=options.Size(),
    metavar="N[MB|GB]",
    help="Cut NAME.safetensors, NAME.weights.json or FOLDER/ into files of at most this size, with an index."
    " [default: one file; in a folder and for .weights.json, 5GB]",
)
@options.layout("In whose layout and under whose names: keras is that of documents, torch that of torch.nn's modules.")
@click.option("--like", metavar="MODEL", help="The model that it is: a document or a checkpoint that knows its layers.")
@click.option(
    "--partial",
    metavar="PATTERN",
    multiple=True,
    help="What may be missing, unexpected, or of another shape than MODEL says, and is left out. May be repeated.",
)
@options.rename
@options.seed
@click.option(
    "--dtype",
    metavar="[PATTERN=]DTYPE",
    multiple=True,
    help="The dtype of floating-point arrays, or of those that match. May be repeated: the first that matches counts."
    " [default: the one they have]",
)
@click.option(
    "--allow",
    metavar="LOSS[=PATTERN]",
    multiple=True,
    help="What a cast may lose: overflow (infinities come of it), integers (whole numbers are rounded, fractions cut)"
    " or parts (imaginary ones). May be repeated.",
)
@options.force
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@options.define
@options.input_shape
@options.format_(*ROW_FORMATS)
def save(
    source: str | None,
    output: str,
    max_shard_size: int | None,
    layout: str | None,
    like: str | None,
    partial: tuple[str, ...],
    rename: tuple[str, ...],
    seed: int | None,
    dtype: tuple[str, ...],
    allow: tuple[str, ...],
    force: bool,
    quiet: bool,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> None:
    """Write a model, drawn by its own initializers, or a checkpoint as it is, to a file of any format.

    The file is complete or not there: whatever happens, what was at its name before is there until the new one
    is on the disk; of a set of files the index comes last. A native file (.h5) has a group for each block and a dataset
    for each parameter; ties are hard links, and the model document goes with it. .keras, .weights.h5 and .weights.json
    are Keras' own files of the model that the document is, and need its layers to be known.

    --layout torch gives the arrays the names and the shapes of torch.nn's modules, --layout keras turns them back:
    dense, convolutions, recurrent gates, attention, embeddings, norms; where an image is laid flat, channels come
    first in torch. The kinds of the layers must be known, from the source or by --like. --like also holds what is read
    against a model: what is missing, unexpected or of another shape is an error. --rename gives names to what is
    written in torch's layout, and otherwise to what is read, before anything else. With any of these a report says
    what became of each array: mapped as it is, transposed, packed with others, added to another, made, or skipped.

    \b
    paramctl save mlp.yaml -o mlp.h5
    paramctl save weights.safetensors -o weights.h5 --dtype bfloat16
    paramctl save mlp.yaml -o - | paramctl dump - dense/bias
    paramctl save model.keras -o model.safetensors --layout torch
    paramctl save net.safetensors --like lenet.yaml --layout keras --rename 'net.**=**' -o lenet.weights.h5
    """
    if partial and like is None and layout is None:
        raise click.UsageError("--partial is for --like and --layout.")
    if output != "-":
        options.warm_up(output)
    found = options.open_argument(source, define, input_shape)
    drawn = found.checkpoint is None and not allow and len(dtype) == 1 and dtype[0] in options.DRAWN
    made = options.as_drawn(found, seed, dtype[0] if drawn else None)
    report: list[TensorRow] = []
    if layout or like is not None or rename:
        from paramctl.convert.dispatch import convert
        from paramctl.convert.report import Allowed

        model = options.like_model(like) if like is not None else None
        name = found.checkpoint.file.name if found.checkpoint else made.model.name
        made, report = convert(made, layout, model, Allowed(partial, name, like or ""), rename)
    if (dtype or allow) and not drawn:
        from paramctl.edit.cast import cast_source

        made = cast_source(made, dtype, allow)
    if output == "-":
        options.refuse_terminal("safetensors")
        to_pipe(made)
        return
    to_file(made, output, force, most=max_shard_size)
    if not quiet:
        if report:
            emit(rows(format, report, COLUMNS))
        tell(made, output)
