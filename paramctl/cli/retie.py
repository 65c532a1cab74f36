"""The work that tie and untie share: write a document or a checkpoint with other ties."""

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
    check_destination(source, output, in_place)
    from paramctl.library.opening import as_model
    from paramctl.model import Model

    arrays = inputs.open_argument(source)
    retied = change(arrays)
    path = str(source) if in_place else str(output)
    if isinstance(retied, Model):
        _write_document(arrays, retied, source, path, force or in_place)
    elif path == "-":
        write_pipe(retied)
    else:
        write_file(retied, path, force=force, in_place=in_place)
        report_written(retied, path, in_place=in_place)
    before, after = as_model(arrays).ties, as_model(retied).ties
    unchanged = set(before) & set(after)
    return [tie for tie in (*after, *before) if tie not in unchanged]


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
