"""paramctl set: new values for parameters, or for slices of them."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import click

from paramctl.cli import inputs, options, progress
from paramctl.cli.command import Command
from paramctl.cli.output import check_destination, report_written, stored_bytes, warm_up, write_pipe
from paramctl.cli.render import ROW_FORMATS, Column, emit, number, rows

if TYPE_CHECKING:
    from paramctl.address.resolve import Filters
    from paramctl.edit.assign import Assignment

COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("assignment", "Assignment", lambda row: row.assignment),
    Column("shape", "Shape", lambda row: list(row.shape)),
    Column("values", "Values", lambda row: row.values, right=True),
    Column("changed", "Changed in array", lambda row: row.changed, right=True),
    Column("greatest", "Max abs diff", lambda row: row.max_abs, lambda row: number(row.max_abs), right=True),
]


NOT_FINITE = {sign + dot + name: sign + name for sign in ("", "+", "-") for dot in ("", ".") for name in ("inf", "nan")}
"""Infinities and NaN as Python or YAML spells them. Documents refuse them, so ``parse_value`` does not read them."""


@click.command("set", cls=Command, short_help="Assign values to parameters")
@options.source
@click.argument(
    "assignments",
    metavar="ASSIGNMENT...",
    nargs=-1,
    required=True,
    shell_complete=options.complete_address,
    help="ADDRESS=VALUE, or with +=, -=, *= or /=",
)
@options.output("File to write; '-' writes safetensors to standard output")
@options.in_place
@options.force
@click.option("--dry-run", is_flag=True, help="Print the changes without writing")
@options.quiet("Print nothing")
@options.filters
@options.seed
@options.define
@options.input_shape
@options.format_(*ROW_FORMATS)
def set_(
    source: str | None,
    assignments: tuple[str, ...],
    output: str | None,
    in_place: bool,
    force: bool,
    dry_run: bool,
    quiet: bool,
    keep: Filters,
    seed: int | None,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
    format: str,
) -> None:
    """Assign values to parameters, from left to right. Each assignment applies to every match of its address.

    VALUE is a number, nested lists, @FILE.npy, @- for npy on standard input, or a scheme as in 'paramctl init'.
    Shapes broadcast as in NumPy. The longest operator wins and may have spaces around it: to assign to an address
    that ends in *, write '**/bias* = 0.5'.

    --in-place changes a temporary copy, syncs it and renames it over the file, so the file is always complete.
    Attributes, ties and other parameters do not change.

    \b
    Examples:
      paramctl set mlp.h5 'dense/kernel[0, 0] = 42' 'dense/kernel += 1' --in-place
      paramctl set mlp.h5 '**/bias* = 0.5' 'dense_1/kernel=@new.npy' -o new.h5
      paramctl set gpt2.h5 'tokens/embeddings[0]=zeros' --dry-run
      paramctl init mlp.yaml -o - | paramctl set - 'dense/kernel[0,0]=42' -o - | paramctl dump - 'dense/kernel[0]'
    """
    check_destination(source, output, in_place, dry_run)
    if output is not None and output != "-" and not dry_run:
        warm_up(output)
    from paramctl.edit.assign import EditedSource, changes
    from paramctl.edit.in_place import copies, write_in_place
    from paramctl.init.rules import resolve_seed
    from paramctl.inspect.edits import edits

    opened = inputs.open_argument(source, define, input_shape)
    if in_place and not opened.checkpoint:
        raise click.UsageError("--in-place requires a checkpoint: a model document has no values. Use -o FILE")
    base = inputs.value_source(opened, seed)
    parsed = [_assignment(text.strip(), source) for text in assignments]
    planned = changes(base, parsed, keep)
    edited = EditedSource(base, planned, resolve_seed(opened.model, seed))
    if dry_run:
        emit(rows(format, edits(edited, planned), COLUMNS))
    elif output == "-":
        write_pipe(edited)
    else:
        path = str(source) if in_place else str(output)
        pieces = write_in_place(edited, path, force, in_place)
        for _ in progress.track(pieces, stored_bytes(base), lambda piece: piece.bytes, f"writing {path}"):
            pass
        if not quiet:
            count = sum(changed for changed, _ in edited.tally.values())
            report_written(edited, path, f", {count:,} changed", copies(edited, path, in_place))


def _assignment(text: str, source: str | None) -> Assignment:
    from paramctl.edit.assign import Assignment, split

    address, operator, value = split(text)
    return Assignment(text, address, operator, _value(value, operator, text, source))


def _value(text: str, operator: str, assignment: str, source: str | None) -> Any:
    """Return the array or the scheme that the right side of an assignment means."""
    import numpy as np

    from paramctl.model.document import parse_value
    from paramctl.source.base import parse_scheme

    if text.startswith("@"):
        if text == "@-" and source == "-":
            raise click.UsageError("Standard input cannot be both the source and a value")
        return _from_npy(text[1:])
    if text.lower() in NOT_FINITE:
        return np.array(float(NOT_FINITE[text.lower()]))
    value = parse_value(text, assignment)
    if isinstance(value.value, (str, dict)):  # a name, or a mapping from a name to its options
        if operator != "=":
            raise click.UsageError(f"A scheme can only be assigned with '=' (got {assignment!r})")
        return parse_scheme(text, assignment)
    try:
        array = np.array(value.plain())
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise value.error("a value must be a number, or evenly nested lists of numbers")
    return array


def _from_npy(path: str) -> Any:
    """Return the array in an npy file, mapped into memory, or on standard input. Raises InputError."""
    import numpy as np

    from paramctl.errors import InputError

    try:
        if path == "-":
            array = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
        else:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not an npy file"
        raise InputError(f"{path}: {reason}") from error
    # np.load also opens npz archives, and npy files of text or of records
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc" or array.dtype.fields:
        raise InputError(f"{path}: a value must be one array of numbers in an npy file")
    return array
