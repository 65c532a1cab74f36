"""paramctl set: other values for parameters, or for parts of them."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import click

from paramctl.cli import options, progress
from paramctl.cli.command import Command
from paramctl.cli.init import tell, to_pipe
from paramctl.cli.render import ROW_FORMATS, Column, emit, number, rows

if TYPE_CHECKING:
    from paramctl.address.resolve import Filters
    from paramctl.edit.assign import Assignment

COLUMNS = [
    Column("path", "Parameter", lambda row: row.path),
    Column("assignment", "Assignment", lambda row: row.assignment),
    Column("shape", "Shape", lambda row: list(row.shape)),
    Column("values", "Values", lambda row: row.values, right=True),
    Column("changed", "Changed in all", lambda row: row.changed, right=True),
    Column("greatest", "By at most", lambda row: row.max_abs, lambda row: number(row.max_abs), right=True),
]


NOT_FINITE = {sign + dot + name: sign + name for sign in ("", "+", "-") for dot in ("", ".") for name in ("inf", "nan")}
"""What is a number here, and in no document: as Python writes it, or YAML."""


@click.command("set", cls=Command)
@options.source
@click.argument(
    "assignments",
    metavar="ASSIGNMENT...",
    nargs=-1,
    required=True,
    shell_complete=options.complete_address,
    help="ADDRESS=VALUE, or with +=, -=, *= or /=.",
)
@options.output("Where to write; '-' streams safetensors to standard output.")
@options.in_place
@options.force
@click.option("--dry-run", is_flag=True, help="Print what would change, and by how much, and write nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
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
    """Assign values to parameters, from left to right, each to all that its address matches.

    A value is a number, nested lists, @FILE.npy, @- for npy on standard input, or a scheme, as paramctl init has them.
    Shapes broadcast as NumPy's do. The longest operator counts and spaces may stand around it, so an address that
    ends in * is written '**/bias* = 0.5'.

    In place means a copy beside the file, changed where it must be, synced and renamed over it: the old file or the
    new one, always. Attributes, ties and everything that was not named stay as they are.

    \b
    paramctl set mlp.h5 'dense/kernel[0, 0] = 42' 'dense/kernel += 1' --in-place
    paramctl set mlp.h5 '**/bias* = 0.5' 'dense_1/kernel=@new.npy' -o new.h5
    paramctl set gpt2.h5 'tokens/embeddings[0]=zeros' --dry-run -o gpt2-b.h5
    paramctl init mlp.yaml -o - | paramctl set - 'dense/kernel[0,0]=42' -o - | paramctl dump - 'dense/kernel[0]'
    """
    options.check_destination(source, output, in_place, dry_run)
    if output is not None and output != "-" and not dry_run:
        options.warm_up(output)
    from paramctl.edit.assign import EditedSource, changes
    from paramctl.edit.in_place import copies, write_in_place
    from paramctl.inspect.edits import edits

    found = options.open_argument(source, define, input_shape)
    if in_place and not found.checkpoint:
        raise click.UsageError("A model document has no values to change in place: give a file to write by -o.")
    base = options.as_drawn(found, seed)
    parsed = [_assignment(text.strip(), source) for text in assignments]
    made = changes(base, parsed, keep)
    edited = EditedSource(base, made, seed if seed is not None else base.seed)
    if dry_run:
        emit(rows(format, edits(edited, made), COLUMNS))
    elif output == "-":
        options.refuse_terminal("safetensors")
        to_pipe(edited)
    else:
        path = str(source) if in_place else str(output)
        total = sum(parameter.bytes for parameter in base.model.owners())
        pieces = write_in_place(edited, path, force, in_place)
        for _ in progress.shown(pieces, total, lambda piece: piece.bytes, "writing"):
            pass
        if not quiet:
            count = sum(changed for changed, _ in edited.tally.values())
            tell(edited, path, f", {count:,} of them changed", copies(edited, path, in_place))


def _assignment(text: str, source: str | None) -> Assignment:
    from paramctl.edit.assign import Assignment, split

    address, operator, value = split(text)
    return Assignment(text, address, operator, _value(value, operator, text, source))


def _value(text: str, operator: str, assignment: str, source: str | None) -> Any:
    import numpy as np

    from paramctl.errors import InputError
    from paramctl.model.document import parse_value
    from paramctl.source.base import parse_scheme

    if text.startswith("@"):
        if text == "@-" and source == "-":
            raise click.UsageError("Standard input cannot be both the source and a value.")
        try:
            file = io.BytesIO(sys.stdin.buffer.read()) if text == "@-" else text[1:]
            loaded = np.load(file, mmap_mode=None if text == "@-" else "r", allow_pickle=False)
            if not isinstance(loaded, np.ndarray) or loaded.dtype.kind not in "biufc" or loaded.dtype.fields:
                raise InputError(f"{text[1:]}: a value is one array of numbers, in an npy file")
            return loaded
        except InputError:
            raise
        except (OSError, ValueError, EOFError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no npy file"
            raise InputError(f"{text[1:]}: {reason}") from error
    if text.lower() in NOT_FINITE:
        return np.array(float(NOT_FINITE[text.lower()]))
    node = parse_value(text, assignment)
    if isinstance(node.value, (str, dict)):
        if operator != "=":
            raise click.UsageError(f"A scheme is assigned by '=' alone (got {assignment!r})")
        return parse_scheme(text, assignment)
    try:
        array = np.array(node.plain())
    except ValueError:
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise node.error("a value is a number, or lists of numbers that nest evenly")
    return array
