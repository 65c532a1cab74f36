"""Open a model document or a checkpoint, distinguished by content."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from paramctl.declare.located import Located
from paramctl.errors import DocumentError, InputError
from paramctl.model import Model, from_bytes
from paramctl.model.document import MAX_BYTES
from paramctl.store import registry
from paramctl.store.foreign import check_not_binary, check_not_foreign, may_be_document
from paramctl.store.location import in_memory
from paramctl.store.opening import open_source
from paramctl.store.urls import is_url

if TYPE_CHECKING:
    from paramctl.source.base import Source
    from paramctl.source.stored import Stored
    from paramctl.store.checkpoint import Checkpoint
    from paramctl.store.io.new_index import NewIndex


class Opened(NamedTuple):
    """A model, and the checkpoint that it was read from; None if it was built from a document."""

    model: Model
    checkpoint: Checkpoint | None


def open_path(
    path: str,
    variables: Mapping[str, Located] | None = None,
    input_shapes: Mapping[str | None, Located] | None = None,
    lenient: bool = False,
) -> Opened:
    """Open a model document or a checkpoint: a file, folder or URL, or standard input for ``-``.

    variables and input_shapes are a document's; see model.load. lenient: a checkpoint ignores them.
    Raises InputError and DocumentError.
    """
    location = open_source(path)
    format_ = registry.detect(location)
    if format_ is None:
        check_not_foreign(location)
        # damaged so much that no format matches: the format of its suffix says where
        format_ = None if may_be_document(location) else registry.by_suffix(location.name)
    if format_ is None:
        check_not_binary(location)
        name = location.name if is_url(path) else path  # a document keeps its name
        model = from_bytes(location.read(0, MAX_BYTES + 1), name, variables, input_shapes)
        sys.audit("paramctl.open", location.name, "model document", model)
        return Opened(model, None)
    if (variables or input_shapes) and not lenient:
        raise InputError(f"{location.name}: variables and input shapes are for model documents, not for checkpoints")
    checkpoint = registry.read(location, format_)
    return Opened(checkpoint.model, checkpoint)


def open_rebuilt(path: str) -> tuple[Opened, NewIndex]:
    """Open the files in a folder with a new index, which is not written, and return it too. Raises InputError.

    path: the folder, or its index.
    """
    format_, index = registry.rebuild_index(path)
    checkpoint = registry.read(in_memory(index.text.encode(), index.path), format_)
    return Opened(checkpoint.model, checkpoint), index


def open_checkpoint(path: str) -> Stored:
    """Open a checkpoint. Raises InputError if the path is a model document."""
    from paramctl.source.stored import Stored  # imports NumPy

    opened = open_path(path)
    if opened.checkpoint is None:
        raise InputError(f"{path}: must be a checkpoint, not a model document")
    return Stored(opened.checkpoint)


def source_of(opened: Opened, seed: int | None = None, dtype: str | None = None) -> Source:
    """Return a source: drawn by the initializers of a model, or stored in a checkpoint.

    dtype: for floating-point arrays; None keeps theirs. Raises DocumentError if a shape is not known.
    """
    if opened.checkpoint is not None:
        from paramctl.source.stored import Stored

        return Stored(opened.checkpoint, dtype)
    from paramctl.init.rules import assign_schemes, resolve_seed
    from paramctl.source.drawn import Drawn

    model = require_built(opened.model).with_dtype(dtype)
    return Drawn(model, assign_schemes(model), resolve_seed(model, seed))


def require_built(model: Model) -> Model:
    """Return a model if all its shapes are known. Raises DocumentError otherwise."""
    if model.unbuilt:
        raise DocumentError(f"{model.name}: {missing_input(model.unbuilt)}", hint="Use --input-shape.")
    return model


def missing_input(layers: int) -> str:
    """Return the reason why layers have no shapes: ``2 layers need the shape of an input``."""
    return "1 layer needs the shape of an input" if layers == 1 else f"{layers:,} layers need the shape of an input"
