"""The work that tie, untie, freeze and unfreeze share: write a document or a checkpoint with another structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from paramctl.cli import inputs
from paramctl.cli.options import DEFAULT_MODEL
from paramctl.cli.output import check_destination, report_written, write_file, write_pipe
from paramctl.cli.render import emit

if TYPE_CHECKING:
    from paramctl.library.weights import Weights
    from paramctl.model import Model, Tie


def retie(
    source: str | None,
    output: str | None,
    in_place: bool,
    force: bool,
    change: Callable[[Model | Weights], Model | Weights],
) -> Sequence[Tie]:
    """Write a source with other ties, and return the ties that were added or removed.

    change: from the opened source to the same with other ties.
    """
    before, after = restructure(source, output, in_place, force, change)
    unchanged = set(before.ties) & set(after.ties)
    return [tie for tie in (*after.ties, *before.ties) if tie not in unchanged]


def restructure(
    source: str | None,
    output: str | None,
    in_place: bool,
    force: bool,
    change: Callable[[Model | Weights], Model | Weights],
) -> tuple[Model, Model]:
    """Write a source with another structure and the same values, and return its model before and after.

    change: from the opened source to the same with another structure.
    """
    check_destination(source, output, in_place)
    from paramctl.library.opening import as_model
    from paramctl.model import Model

    arrays = inputs.open_argument(source)
    changed = change(arrays)
    from paramctl.store.folder import resolve_folder

    # a folder is changed at its index or its only file
    path = resolve_folder(str(source)) if in_place else str(output)
    if isinstance(changed, Model):
        _write_document(arrays, changed, source, path, force or in_place)
    elif path == "-":
        write_pipe(changed)
    else:
        write_file(changed, path, force=force, in_place=in_place)
        report_written(changed, path, in_place=in_place)
    return as_model(arrays), as_model(changed)


def _write_document(before: Model | Weights, model: Model, source: str | None, path: str, force: bool) -> None:
    """Write the document of a model. before: the model as it was read."""
    from paramctl.library.opening import as_model

    document, document_before = model.document, as_model(before).document
    assert document is not None
    assert document_before is not None
    text, original = document.text, document_before.text
    if path == "-":
        emit([text.removesuffix("\n")])
        return
    from paramctl.model.document import decode, read
    from paramctl.store.folder import replaces
    from paramctl.store.io.atomic import changed, write_text
    from paramctl.store.registry import FORMATS

    if path.lower().endswith(tuple(suffix for format_ in FORMATS for suffix in format_.suffixes)):
        raise click.UsageError(f"The source is a model document, and {path} is the name of a checkpoint")
    opened = source or DEFAULT_MODEL

    def check_unchanged() -> None:
        if decode(read(opened), opened) != original:
            raise changed(opened)

    # An editor wrote the byte order mark, and the rest of the file must stay the same to the byte.
    mark = "\ufeff" if opened != "-" and read(opened).startswith(b"\xef\xbb\xbf") else ""
    is_same_file = opened != "-" and replaces(path, opened)
    write_text(path, mark + text, force, check_unchanged if is_same_file else lambda: None)
