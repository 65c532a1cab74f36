"""What is at a path: a model document or a checkpoint, told apart by content, as one thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from paramctl import store
from paramctl.declare.located import Located
from paramctl.errors import InputError
from paramctl.model import Model, from_bytes
from paramctl.model.document import MAX_BYTES
from paramctl.store.location import open_location

if TYPE_CHECKING:
    from paramctl.store.checkpoint import Checkpoint


class Opened(NamedTuple):
    """A model, and the checkpoint that it is read from, if it is."""

    model: Model
    checkpoint: Checkpoint | None


def open_source(
    path: str,
    variables: Mapping[str, Located] | None = None,
    input_shapes: Mapping[str | None, Located] | None = None,
) -> Opened:
    """The model at a path, or on standard input if it is ``-``.

    variables and input_shapes are a document's; see model.load. Raises InputError and DocumentError.
    """
    file = open_location(store.within(path) if path != "-" else path)
    format_ = store.detect(file)
    if format_ is None:
        store.check_not_foreign(file)
        return Opened(from_bytes(file.read(0, MAX_BYTES + 1), path, variables, input_shapes), None)
    if variables or input_shapes:
        raise InputError(f"{file.name}: a checkpoint has no variables and no inputs to give values to")
    checkpoint = store.read(file, format_)
    return Opened(checkpoint.model, checkpoint)
