"""The work that tie and untie share: write a document or a checkpoint with other ties."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from paramctl.cli import inputs
from paramctl.cli.output import check_destination, report_written, write_file, write_pipe
from paramctl.cli.render import emit

if TYPE_CHECKING:
    from paramctl.model import Model, Tie
    from paramctl.source.open import Opened


def retie(
    source: str | None,
    output: str | None,
    in_place: bool,
    force: bool,
    change: Callable[[Model], Model],
    edit: Callable[[Opened, Model, str], str],
) -> Sequence[Tie]:
    """Write a source with other ties, and return the ties that were added or removed.

    change: from the model to the model with other ties.
    edit: from the opened document, the changed model and the document's path to the new text.
    """
    check_destination(source, output, in_place)
    opened = inputs.open_argument(source)
    retied = change(opened.model)
    path = str(source) if in_place else str(output)
    # None for a Keras 2 file, whose layout is only read; in Keras 3's, a transposed tie would become a copy
    keras = opened.checkpoint.origin.keras if opened.checkpoint else None
    if in_place and retied.aliases and (keras is None or any(tie.transpose for tie in retied.ties)):
        raise click.UsageError("Keras' own layout cannot store these ties. Use -o NAME.h5")
    if opened.checkpoint is None:
        _write_document(edit(opened, retied, str(source)), source, path, force or in_place)
    else:
        _write_checkpoint(opened, retied, path, force, in_place)
    after, before = set(retied.ties), set(opened.model.ties)
    return [tie for tie in (*retied.ties, *opened.model.ties) if (tie in after) != (tie in before)]


def _write_document(text: str, source: str | None, path: str, force: bool) -> None:
    if path == "-":
        emit([text.removesuffix("\n")])
        return
    from paramctl.model.document import read
    from paramctl.store.io.atomic import write_text
    from paramctl.store.registry import FORMATS

    if path.lower().endswith(tuple(suffix for format_ in FORMATS for suffix in format_.suffixes)):
        raise click.UsageError(f"The source is a model document, and {path} is the name of a checkpoint")
    # An editor wrote the byte order mark, and the rest of the file must stay the same to the byte.
    mark = "\ufeff" if source not in (None, "-") and read(str(source)).startswith(b"\xef\xbb\xbf") else ""
    write_text(path, mark + text, force)


def _write_checkpoint(opened: Opened, retied: Model, path: str, force: bool, in_place: bool) -> None:
    from paramctl.edit.in_place import rewrite_target
    from paramctl.source.derived import Retied
    from paramctl.source.open import source_of
    from paramctl.store.io.write_values import WriteOptions

    assert opened.checkpoint is not None
    values = Retied(source_of(opened), retied)
    if path == "-":
        write_pipe(values)
        return
    target, shard_size = rewrite_target(path, opened.checkpoint.origin) if in_place else (path, None)
    write_file(values, target, WriteOptions(force or in_place, shard_size))
    report_written(values, target)
