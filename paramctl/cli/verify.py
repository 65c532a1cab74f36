"""paramctl verify: files checked against the hashes that they record, or against a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import paramctl
from paramctl.cli import options, progress
from paramctl.cli.command import Command
from paramctl.cli.render import ROW_FORMATS, Column, emit, rows
from paramctl.cli.several import of_each, refuse_standard_input
from paramctl.core.text import printable, quantity

if TYPE_CHECKING:
    from paramctl.inspect.verify import Verification

COLUMNS = [
    Column("file", "File", lambda row: row.file),
    Column("path", "Array", lambda row: row.path),
    Column("status", "Status", lambda row: row.status),
    Column("expected", "Recorded SHA-256", lambda row: row.expected, priority=3),
    Column("sha256", "SHA-256", lambda row: row.sha256, priority=3),
    Column("detail", "What", lambda row: row.detail),
]


@click.command(cls=Command, short_help="Find out if saved files have been altered")
@options.files
@click.option("--against", metavar="SUMS", help="Check the values against the output of paramctl sum instead")
@options.quiet("Print nothing; the exit code is the result")
@options.format_("lines", *ROW_FORMATS)
def verify(files: tuple[str, ...], against: str | None, quiet: bool, format: str) -> int:
    """Check that files are as paramctl saved them, to the last bit, and name what has changed.

    Exit code: 0 everything matches; 1 something has changed, or cannot be read; 2 error, or a file without a record.

    Every file that paramctl saves records a hash of each array, and a seal of everything else: names, shapes, metadata,
    and the structure of the file. A set of files is checked by its index, which has the seals of its files. The record
    shows damage and accidental changes. A program that changes a file on purpose can write a new record too: against
    that, compare with a list from elsewhere, or sign it, as docs/trust.md shows.

    --against checks the values of one file, of any format, against the lines or the JSON of paramctl sum, and names
    arrays that are missing, extra or different. An npy file and the files of other programs have no record, and can be
    checked this way alone.

    The lines name what has changed; the other formats have a row for each array and for the rest of each file.

    \b
    Examples:
      paramctl verify model.safetensors
      paramctl verify *.h5
      paramctl sum model.h5 > model.sums
      paramctl verify converted.safetensors --against model.sums
    """
    if against is not None and len(files) > 1:
        raise click.UsageError("--against checks one file")
    refuse_standard_input(files)

    def check(file: str) -> Verification:
        with progress.bar("verifying") as report:
            return paramctl.verify(file, against=against, progress=report)

    results, code = of_each(files, check) if len(files) > 1 else ([(files[0], check(files[0]))], 0)
    checked = [result for _, result in results]
    if not quiet and format == "lines":
        emit(line for result in checked for line in _lines(result))
    elif not quiet:
        emit(rows(format, [row for result in checked for row in result.rows], COLUMNS))
    return code or int(not all(result.matches for result in checked))


def _lines(result: Verification) -> list[str]:
    """Return a line for each part that has changed, or one for a file that matches."""
    if result.matches:
        frame = "and the header match" if result.frame else "match" if result.arrays != 1 else "matches"
        return [f"{printable(result.file)}: {quantity(result.arrays, 'array')} {frame}"]
    return [
        printable(f"{row.file}: {f'{row.path}: ' if row.path else ''}{row.status}: {row.detail}")
        for row in result.altered
    ]
