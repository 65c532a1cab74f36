"""paramctl save: a model or checkpoint in a file of any format."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

import paramctl
from paramctl.cli import inputs, options, progress
from paramctl.cli.command import Command
from paramctl.cli.output import hold_source, report_written, warm_up, write_file, write_pipe
from paramctl.cli.render import ROW_FORMATS, Column, emit, rows, tell
from paramctl.cli.suggestion import print_suggestion

if TYPE_CHECKING:
    from paramctl.library.weights import Weights

COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("status", "Status", lambda row: row.status, priority=0),
    Column("shape", "Shape", lambda row: row.shape),
    Column("source", "Source", lambda row: list(row.source)),
    Column("was", "Source shape", lambda row: row.was, priority=2),
    Column("note", "Note", lambda row: row.note, priority=2),
]

PLANNED = [
    Column("path", "Parameter", lambda row: row[0].path),
    Column("shape", "Shape", lambda row: row[0].shape),
    Column("dtype", "Dtype", lambda row: row[0].dtype),
    Column("bytes", "Bytes", lambda row: 0 if row[1] else row[0].bytes, right=True),
    Column("tied_to", "Tied to", lambda row: row[1], priority=2),
]
"""The columns of a dry run, for pairs of a parameter and the one that has its values."""


@click.command(cls=Command, short_help="Write a model or checkpoint in any format")
@options.source
@options.addresses
@click.option("--drop", metavar="PATTERN", multiple=True, help="Leave these arrays out; repeatable")
@options.filters_without_dtype
@options.output("File to write; its suffix sets the format; '-' is a safetensors stream")
@options.shard_size
@click.option("--rebuild-index", is_flag=True, help="Index the files of a set again; without -o, write only that index")
@options.layout("Framework whose names and shapes to write", "the source's")
@click.option("--like", metavar="MODEL", help="Check the source against this model, and take its layers from it")
@options.partial("Skip these if missing, unexpected or of another shape; repeatable")
@options.rename
@click.option("--suggest-renames", is_flag=True, help="Print --rename options that give the names of --like, and end")
@options.seed
@options.cast_dtype
@options.allow
@options.state
@options.force
@click.option("--dry-run", is_flag=True, help="Check everything and print what would be written, without writing")
@options.quiet("Print no report and no notes")
@options.define
@options.input_shape
@options.format_(*ROW_FORMATS)
def save(
    source: str | None,
    addresses: tuple[str, ...],
    drop: tuple[str, ...],
    trainable: bool | None,
    kind: str | None,
    min_size: int | None,
    output: str | None,
    max_shard_size: int | None,
    rebuild_index: bool,
    layout: str | None,
    like: str | None,
    partial: tuple[str, ...],
    rename: tuple[str, ...],
    suggest_renames: bool,
    seed: int | None,
    dtype: tuple[str, ...],
    allow: tuple[str, ...],
    state: bool,
    force: bool,
    dry_run: bool,
    quiet: bool,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> int:
    """Write a model, with values from its initializers, or a checkpoint to a file of any format.

    With addresses, --drop or a filter, writes only these arrays, and says how many are left out. A slice is written
    under the name of its parameter. If the name that keeps a shared array is left out, another of its names keeps it.
    Addresses are those of the source.

    Formats: NAME.h5, .safetensors, .npz, .keras, .weights.h5 and .weights.json; FOLDER/ is a set of safetensors.
    NAME.safetensors, NAME.weights.json and FOLDER/ can be split by --max-shard-size. The .keras and .weights files
    are those of the Keras model that the document describes, and require its layers to be known.

    The write is atomic: until the new file is complete and on disk, the old one stays. The index of a set is written
    last.

    --layout torch writes the names and shapes of torch.nn modules; --layout keras reverses this. It covers dense,
    convolutional, recurrent, attention, embedding and normalization layers, and dense layers on flattened feature
    maps. The layers must be known, from the source or from --like. What a module of torch.nn cannot compute is an
    error, and notes give the arguments that it needs to compute the same.

    --like checks the source against a model: a missing or unexpected array, or another shape, is an error unless
    --partial names it. So is a parameter that a Keras file has in its configuration, but not among its arrays. --rename
    applies to the written names with --layout torch, otherwise to the names read.

    With any of these, a report has each array's status: mapped, transposed, packed with others, added to another,
    folded (a weight and its
    weight normalization), made (without a source), or skipped. Weight normalization is folded where --like or --layout
    expects the weight.

    --suggest-renames writes nothing. It proposes --rename options that give the arrays the names of --like, by shape,
    order and similar names. Arrays that could be matched in several ways are listed, and the exit code is 1.

    --dry-run prints the arrays that would be written, and the files on standard error. It reads all values, so every
    error of the real command occurs.

    --rebuild-index writes the index of a folder of safetensors or Keras shards again, from the headers of its files.
    With -o, the arrays of all files are written, and the index does not change.

    --allow overflow lets a cast write infinities, integers lets it round whole numbers or truncate fractions, and
    parts lets it drop imaginary parts.

    --state writes the arrays of the file's optimizer too, under their own names. .h5, .safetensors and .npz record
    that they are not parameters. A Keras file keeps those of its own kind without it.

    \b
    Examples:
      paramctl save mlp.yaml -o mlp.h5
      paramctl save model.safetensors 'encoder/**' --drop '**/bias' -o encoder.safetensors --dry-run
      paramctl save folder/ --rebuild-index
      paramctl save weights.safetensors -o weights.h5 --dtype bfloat16
      paramctl save mlp.yaml -o - | paramctl dump - dense/bias
      paramctl save model.keras -o model.safetensors --layout torch
      paramctl save net.safetensors --like lenet.yaml --layout keras --rename 'net.**=**' -o lenet.weights.h5
    """
    if suggest_renames:
        if like is None or layout == "torch":
            raise click.UsageError("--suggest-renames requires --like, and the names read, so not --layout torch")
        return print_suggestion(
            paramctl.suggest_renames(inputs.open_argument(source), inputs.open_argument(like)), like
        )
    if rebuild_index and output is None:
        _write_index(source or ".", quiet)
        return 0
    if output is None:
        raise click.UsageError("Missing option '-o' / '--output'.")
    if output != "-":
        warm_up(output)
    if not rebuild_index and not dry_run:  # without an index, a folder has no file to hold
        hold_source(source, output)
    arrays = inputs.open_argument(source, define, input_shape, rebuild_index)
    incomplete = not isinstance(arrays, paramctl.Model) and bool(arrays.source.origin.missing)
    if partial and like is None and layout is None and not incomplete:
        raise click.UsageError("--partial requires --like or --layout, or a file that lacks parameters of its model")
    reference = inputs.open_argument(like) if like is not None else None
    converted = paramctl.convert(
        arrays,
        select=addresses,
        drop=drop,
        trainable=trainable,
        kind=kind,
        min_size=min_size,
        layout=layout,
        like=reference,
        partial=partial,
        rename=rename,
        seed=seed,
        dtype=dtype,
        allow=allow,
        state=state,
    )
    if dry_run:
        _plan(converted, output, force, max_shard_size, format, quiet)
        return 0
    if output == "-":
        write_pipe(converted)
        return 0
    write_file(converted, output, force=force, max_shard_size=max_shard_size)
    if not quiet:
        if report := converted.report:
            emit(rows(format, report, COLUMNS))
        report_written(converted, output)
    return 0


def _plan(weights: Weights, output: str, force: bool, max_shard_size: int | None, format: str, quiet: bool) -> None:
    """Print the arrays that a save would write, and its files on standard error."""
    options: dict[str, Any] = {"force": force, "max_shard_size": max_shard_size} if output != "-" else {}
    with progress.bar("checking") as report:
        target: Any = output if output != "-" else sys.stdout.buffer
        files = paramctl.save(weights, target, **options, dry_run=True, progress=report)
    # a tied name is written too, and takes no bytes
    tied = weights.model.tied
    arrays = [(each, tied[path].kept if path in tied else None) for path, each in weights.parameters.items()]
    emit(rows(format, arrays, PLANNED))
    if not quiet:
        for note in weights.notes:
            tell(f"note: {note}")
        for file in files:
            tell(f"would write {file.path}: {file.bytes:,} bytes of values")


def _write_index(path: str, quiet: bool) -> None:
    """Write the index of a set again. Raises UsageError for an option that needs an output."""
    context = click.get_current_context()
    typed = click.core.ParameterSource.COMMANDLINE
    if any(
        context.get_parameter_source(name) is typed and name not in ("source", "rebuild_index", "quiet")
        for name in context.params
    ):
        raise click.UsageError("Other options with --rebuild-index require -o")
    gone: list[str] = []
    index = paramctl.rebuild_index(path, on_gone=gone.extend)
    if not quiet:
        tell(f"wrote {index}")
    inputs.name_gone(index, gone)  # with --quiet too: their values are lost
