"""Files and pipes of values, and the notes on standard error about them."""

from __future__ import annotations

import sys
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any

import click

import paramctl
from paramctl.cli import progress
from paramctl.cli.options import DEFAULT_MODEL
from paramctl.cli.render import tell
from paramctl.core.text import abbreviate, quantity

if TYPE_CHECKING:
    from paramctl.library.weights import Weights
    from paramctl.model import Model


def check_destination(source: str | None, output: str | None, in_place: bool, dry_run: bool = False) -> None:
    """Raise UsageError or OutputError, before any work, unless exactly one of -o and --in-place is given and possible.

    If the destination is the source, no other process replaces it until the command ends.
    """
    from paramctl.store.urls import check_local

    if in_place and output is not None:
        raise click.UsageError("-o and --in-place exclude each other")
    if in_place and source in (None, "-"):
        raise click.UsageError("--in-place requires the name of a file")
    if output is None and not in_place and not dry_run:
        raise click.UsageError("No destination: use -o FILE or --in-place")
    if in_place and source is not None:
        check_local(source)
    if not dry_run:
        hold_source(source, source if in_place else output)


def hold_source(source: str | None, target: str | None) -> None:
    """Keep other processes from replacing the source until the command ends, if the target replaces the source.

    So that changes by several commands at once all count: each reads what the one before it has written.
    """
    from os.path import isfile

    from paramctl.store.folder import replaces, resolve_folder
    from paramctl.store.io.locks import exclusive

    if "-" in (source, target) or target is None:
        return
    opened = resolve_folder(source or DEFAULT_MODEL)
    if isfile(opened) and replaces(target, opened):
        waiting = partial(tell, f"{opened}: waiting for another process that uses it")
        click.get_current_context().with_resource(exclusive(opened, waiting))


def check_target(path: str, force: bool, names: Collection[str] = ()) -> None:
    """Raise OutputError, before any work, for a file that save would refuse: its suffix, its folder, or that it exists.

    names: of the arrays to write; none if they are not known yet.
    """
    from paramctl.source.save import check_target

    check_target(path, force, names)


def default_output(model: Model, suffix: str = ".h5") -> str:
    """Return NAME.h5 for a model called NAME, or the name with another suffix."""
    if not model.name or "/" in model.name or "\0" in model.name:
        raise click.UsageError(f"{model.name!r} cannot be a file name. Use -o FILE")
    return f"{model.name}{suffix}"


def warm_up(path: str) -> None:
    """Let the format of a path start what it needs while the model is being read. Raises OutputError for no format."""
    from paramctl.store.registry import for_writing

    for_writing(path).warm_up()


def refuse_terminal(what: str) -> None:
    """Raise UsageError if standard output, about to receive binary data, is a terminal."""
    if sys.stdout.isatty():
        raise click.UsageError(f"{what} is binary and standard output is a terminal. Redirect it to a file or a pipe")


def write_file(weights: Weights, path: str, **options: Any) -> list[Any]:
    """Write weights to a file, with a progress bar, and return the report. options: of paramctl.save."""
    with progress.bar(f"writing {path}") as report:
        return paramctl.save(weights, path, **options, progress=report)


def write_pipe(weights: Weights) -> None:
    """Write weights to standard output as safetensors."""
    refuse_terminal("safetensors")
    with progress.bar("writing") as report:
        paramctl.save(weights, sys.stdout.buffer, progress=report)
    sys.stdout.buffer.flush()


def note_ties(model: Model, changed: Collection[str]) -> None:
    """Write to standard error which names share an array that an edit has changed under another name."""
    from paramctl.model import shared_text

    shared = [f"{tie.tied} ({shared_text(tie.kept, tie.transpose)})" for tie in model.ties if tie.kept in changed]
    if shared:
        tell(f"changed through a tie: {abbreviate(shared)}")


def _state_text(model: Model) -> str:
    """Return the words for the arrays of an optimizer among those of a model."""
    count = sum(not owner.is_parameter for owner in model.owners())
    return f", and {quantity(count, 'array')} of the optimizer" if count else ""


def report_written(weights: Weights, path: str, more: str = "", in_place: bool = False) -> None:
    """Write to standard error what was written, the notes, and a line for each part of the source that was not.

    more: appended, such as ``, seed 0``.
    """
    from paramctl.edit.save_edited import copies_file
    from paramctl.model import totals
    from paramctl.source.edited import Edited
    from paramctl.source.save import copied_ties, dequantized, not_carried, not_combined
    from paramctl.store.registry import written_name

    path = written_name(path)
    sys.stdout.flush()  # the report comes first, also where both streams go to one file
    owners = [owner for owner in weights.model.owners() if owner.is_parameter]
    arrays, values = quantity(len(owners), "array"), quantity(totals(owners).parameters, "value")
    tell(f"wrote {path}: {arrays}, {values}{_state_text(weights.model)}{more}")
    for note in weights.notes:
        tell(f"note: {note}")
    source = weights.source
    if copied := copied_ties(source, path):
        tell(f"{path} has copies of arrays that were shared: {abbreviate(copied)}")
    if decoded := dequantized(source):
        tell(f"{path} has dequantized arrays: {abbreviate(decoded)}")
    if isinstance(source, Edited) and copies_file(source, path, in_place):
        return  # a patched copy has everything
    for part in not_carried(source, path):
        tell(f"{path} does not include {part} of the source")
    for other in source.origin.others:
        if parts := not_combined(other, source.origin):
            place = other.location.name if other.location else "a model"
            tell(f"{path} does not include, of {place}: {abbreviate(parts)}")
