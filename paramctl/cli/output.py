"""The output of commands: values in files and pipes, and notes about them on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from paramctl.cli import progress
from paramctl.cli.render import printable

if TYPE_CHECKING:
    from paramctl.model import Model
    from paramctl.source.base import Source
    from paramctl.store.io.write_values import WriteOptions


def check_destination(source: str | None, output: str | None, in_place: bool, dry_run: bool = False) -> None:
    """Raise UsageError, before any work, unless exactly one of -o and --in-place is given and possible."""
    if in_place and output is not None:
        raise click.UsageError("-o and --in-place exclude each other")
    if in_place and source in (None, "-"):
        raise click.UsageError("--in-place requires the name of a file")
    if output is None and not in_place and not dry_run:
        raise click.UsageError("No destination: use -o FILE or --in-place")


def default_output(model: Model) -> str:
    """Return NAME.h5 for a model called NAME."""
    if not model.name or "/" in model.name or "\0" in model.name:
        raise click.UsageError(f"{model.name!r} cannot be a file name. Use -o FILE")
    return f"{model.name}.h5"


def warm_up(path: str) -> None:
    """Start the process that lays out HDF5 while the model is read. Raises OutputError for an unknown suffix."""
    from paramctl.store.hdf5.client import warm_up
    from paramctl.store.registry import for_writing

    if for_writing(path).name == "HDF5":
        warm_up()


def refuse_terminal(format_: str) -> None:
    """Raise UsageError if standard output, about to receive binary data, is a terminal."""
    if sys.stdout.isatty():
        raise click.UsageError(
            f"{format_} is binary and standard output is a terminal. Redirect it to a file or a pipe"
        )


def write_file(source: Source, path: str, options: WriteOptions) -> dict[str, Any]:
    """Write a source to a file, with a progress bar, and return the measurements that the options request."""
    from paramctl.source.save import save

    with progress.bar(f"writing {path}") as report:
        return save(source, path, options, report)


def write_pipe(source: Source) -> None:
    """Write a source to standard output as safetensors."""
    from paramctl.source.save import stream

    refuse_terminal("safetensors")
    for data in progress.track(stream(source), stored_bytes(source), len, "writing"):
        sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def stored_bytes(source: Source) -> int:
    """Return the size of a source's arrays, a shared one counted once."""
    return sum(parameter.bytes for parameter in source.model.owners())


def report_written(source: Source, path: str, more: str = "", complete: bool = False) -> None:
    """Report the written file on standard error, with a line for each part of the source that it does not include.

    more: appended, such as ``, seed 0``.
    complete: the file is a copy of the source's file, so it includes everything.
    """
    from paramctl.model import totals
    from paramctl.source.save import not_carried

    owners = list(source.model.owners())
    count = "1 array" if len(owners) == 1 else f"{len(owners):,} arrays"
    click.echo(printable(f"wrote {path}: {count}, {totals(owners).parameters:,} values{more}"), err=True)
    for part in [] if complete else not_carried(source, path):
        click.echo(printable(f"{path} does not include {part} of the source"), err=True)
