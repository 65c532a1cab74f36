"""Open model documents and checkpoints from Python."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from paramctl.declare.located import Located
from paramctl.errors import InputError
from paramctl.library.weights import Weights
from paramctl.model import Model
from paramctl.model.document import parse_value
from paramctl.source.base import Source
from paramctl.source.open import Opened, open_path, source_of

Openable = str | PathLike[str] | Model | Weights
"""The sources of arrays that the functions of this library accept: a path, a model, or weights."""

Shape = Sequence[int | None]


def load_model(
    path: str | PathLike[str],
    *,
    variables: Mapping[str, Any] | None = None,
    input_shapes: Shape | Mapping[str, Shape] | None = None,
) -> Model:
    """Load a model document, or the model of a checkpoint, without values.

    variables: values for the document's variables, by name. input_shapes: the shape of the only input, without the
    batch axis, or shapes by the names of inputs; None is an unknown size.
    Raises InputError if the file cannot be read, and DocumentError, with line and column, if the document is wrong.
    """
    return opened(path, variables, input_shapes).model


def open(path: str | PathLike[str]) -> Weights:  # noqa: A001  read as paramctl.open
    """Open a checkpoint of any format: a file, or a folder of safetensors.

    Only its header is read; values are read on demand. Raises InputError if the file is damaged, or if the path is a
    model document.
    """
    checkpoint = opened(path)
    if checkpoint.checkpoint is None:
        raise InputError(f"{fspath(path)}: must be a checkpoint, not a model document")
    return Weights(source_of(checkpoint), _notes(checkpoint))


def openable(arrays: Openable) -> Model | Weights:
    """Return a model or weights unchanged; for a path, the model of a document or the weights of a checkpoint."""
    if isinstance(arrays, (Model, Weights)):
        return arrays
    content = opened(arrays)
    return content.model if content.checkpoint is None else Weights(source_of(content), _notes(content))


def as_weights(arrays: Openable, seed: int | None = None) -> Weights:
    """Return weights unchanged, the weights of a checkpoint, or weights drawn by a model's own initializers."""
    content = openable(arrays)
    return content if isinstance(content, Weights) else Weights(source_of(Opened(content, None), seed))


def as_source(arrays: Openable, seed: int | None = None) -> Source:
    return as_weights(arrays, seed).source


def as_model(arrays: Openable) -> Model:
    """Return the model of anything openable. Shapes of a document's parameters may be unknown."""
    if isinstance(arrays, Weights):
        return arrays.model
    return arrays if isinstance(arrays, Model) else opened(arrays).model


def opened(
    path: str | PathLike[str],
    variables: Mapping[str, Any] | None = None,
    input_shapes: Shape | Mapping[str, Shape] | None = None,
) -> Opened:
    """Open a path; see load_model."""
    values = {name: _located(value, f"variables[{name!r}]") for name, value in (variables or {}).items()}
    named = input_shapes if isinstance(input_shapes, Mapping) else {None: input_shapes} if input_shapes else {}
    shapes = {name: _located(list(shape), f"input_shapes[{name!r}]") for name, shape in named.items()}
    return open_path(fspath(path), values, shapes)


def _located(value: Any, option: str) -> Located:
    """Return a Python value as a located value of a document. Errors name the argument."""
    return parse_value(json.dumps(value), option)


def _notes(content: Opened) -> tuple[str, ...]:
    skipped = content.checkpoint.skipped if content.checkpoint is not None else ()
    return tuple(f"skipped {name}: not numeric" for name in skipped)
