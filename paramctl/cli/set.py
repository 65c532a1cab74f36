"""paramctl set: new values for parameters, or for slices of them."""

from __future__ import annotations

from typing import Any

import click

import paramctl
from paramctl.cli import inputs, options
from paramctl.cli.command import Command
from paramctl.cli.metadata import changed_text, check_separate, parse_pairs
from paramctl.cli.output import check_destination, note_ties, report_written, warm_up, write_file, write_pipe
from paramctl.cli.render import ROW_FORMATS, Column, emit, numeric, rows, tell

COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("assignment", "Assignment", lambda row: row.assignment),
    Column("shape", "Shape", lambda row: row.shape),
    Column("values", "Values", lambda row: row.values, right=True),
    Column("changed", "Changed in array", lambda row: row.changed, right=True),
    numeric("max_abs", "Max abs diff"),
]


@click.command("set", cls=Command, short_help="Assign values to parameters")
@options.source
@click.argument(
    "assignments",
    metavar="[ASSIGNMENT]...",
    nargs=-1,
    help="ADDRESS=VALUE, or with +=, -=, *= or /=",
)
@click.option("--metadata", metavar="KEY=VALUE", multiple=True, help="Set metadata of the file instead; repeatable")
@click.option("--drop-metadata", metavar="KEY", multiple=True, help="Remove metadata of the file instead; repeatable")
@options.output("File to write; '-' writes safetensors to standard output")
@options.in_place
@options.force
@click.option("--dry-run", is_flag=True, help="Print the changes without writing")
@options.quiet("Print no note of the file written")
@options.filters
@options.seed
@options.define
@options.input_shape
@options.format_(*ROW_FORMATS)
def set_(
    source: str | None,
    assignments: tuple[str, ...],
    metadata: tuple[str, ...],
    drop_metadata: tuple[str, ...],
    output: str | None,
    in_place: bool,
    force: bool,
    dry_run: bool,
    quiet: bool,
    filters: dict[str, Any],
    seed: int | None,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> None:
    """Assign values to parameters, from left to right. Each assignment applies to every match of its address.

    VALUE is a number, nested lists, @FILE.npy, @- for npy on standard input, or a scheme as in 'paramctl init'.
    Shapes broadcast as in NumPy. An address that ends in * needs a space before =, because *= is an operator:
    '**/bias* = 0.5'.

    --in-place changes a temporary copy, syncs it and renames it over the file, so the file is always complete.
    Attributes, ties and other parameters do not change.

    --metadata changes the metadata of a safetensors file or set, or attributes of an HDF5 file: NAME=VALUE of the file,
    PATH@NAME=VALUE of a group or an array. An attribute that is a number stays one. The bytes of the arrays stay the
    same. Metadata that describes the arrays, such as a tie, is refused.

    \b
    Examples:
      paramctl set mlp.h5 'dense/kernel[0, 0] = 42' 'dense/kernel += 1' --in-place
      paramctl set mlp.h5 '**/bias* = 0.5' 'dense_1/kernel=@new.npy' -o new.h5
      paramctl set gpt2.h5 'tokens/embeddings[0]=zeros' --dry-run
      paramctl set model.safetensors --metadata license=mit --drop-metadata epoch --in-place
      paramctl init mlp.yaml -o - | paramctl set - 'dense/kernel[0,0]=42' -o - | paramctl dump - 'dense/kernel[0]'
    """
    _check_quoted(assignments)
    check_destination(source, output, in_place, dry_run)
    if metadata or drop_metadata:
        check_separate(source, assignments, output, dry_run)
        pairs = parse_pairs(metadata)
        path = paramctl.set_metadata(str(source), pairs, drop_metadata=drop_metadata, output=output, force=force)
        if not quiet:
            tell(f"wrote {path}: {changed_text(len(pairs) + len(drop_metadata))}")
        return
    if not assignments:
        raise click.UsageError("Missing argument 'ASSIGNMENT...'.")
    if output is not None and output != "-" and not dry_run:
        warm_up(output)
    if source == "-" and any(text.rstrip().endswith("@-") for text in assignments):
        raise click.UsageError("Standard input cannot be both the source and a value")
    arrays = inputs.open_argument(source, define, input_shape)
    if in_place and isinstance(arrays, paramctl.Model):
        raise click.UsageError("--in-place requires a checkpoint: a model document has no values. Use -o FILE")
    edited = paramctl.assign(arrays, assignments, **filters, seed=seed)
    if dry_run:
        emit(rows(format, edited.report, COLUMNS))
    elif output == "-":
        write_pipe(edited)
    else:
        path = str(source) if in_place else str(output)
        report = write_file(edited, path, force=force, in_place=in_place, measure=not quiet)
        if not quiet:
            note_ties(edited.model, {edited.model.owner(row.parameter).path for row in report if row.changed})
            count = sum({row.parameter: row.changed for row in report}.values())
            report_written(edited, path, f", {count:,} changed", in_place)


def _check_quoted(assignments: tuple[str, ...]) -> None:
    """Raise UsageError for an assignment that a shell has split at its spaces: ``a = 1`` gives three arguments."""
    from paramctl.address.quoting import shell_quoted
    from paramctl.edit.assign import OPERATORS

    for place, text in enumerate(assignments):
        is_operator = text in OPERATORS
        if is_operator or text.startswith(OPERATORS) or (text.endswith("=") and place + 1 < len(assignments)):
            first = place - (place > 0 and (is_operator or text.startswith(OPERATORS)))
            last = place + (is_operator or text.endswith("="))
            whole = " ".join(assignments[first : last + 1])
            raise click.UsageError(f"An assignment with spaces must be in quotes: {shell_quoted(whole)}")
