"""freeze and unfreeze: weights and models that record other parameters as trainable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from paramctl.edit.freeze import select_marks
from paramctl.edit.freeze_document import mark_document
from paramctl.library.opening import Openable, as_model, openable, texts
from paramctl.library.weights import Weights
from paramctl.model import Model
from paramctl.source.derived import Marked, with_trainable


@overload
def freeze(weights: Model, patterns: str | Sequence[str]) -> Model: ...
@overload
def freeze(weights: Openable, patterns: str | Sequence[str]) -> Model | Weights: ...
def freeze(weights: Openable, patterns: str | Sequence[str]) -> Model | Weights:
    """Mark parameters as not trainable. A model stays a model, with its document edited. Values stay the same.

    patterns: addresses of parameters. A tied array is frozen under all of its names.
    Raises AddressError for a pattern that matches nothing, and DocumentError where a document cannot record it: for
    only some parameters of a layer.
    """
    return _marked(weights, patterns, trainable=False)


@overload
def unfreeze(weights: Model, patterns: str | Sequence[str]) -> Model: ...
@overload
def unfreeze(weights: Openable, patterns: str | Sequence[str]) -> Model | Weights: ...
def unfreeze(weights: Openable, patterns: str | Sequence[str]) -> Model | Weights:
    """Mark parameters as trainable; see freeze. State, such as a moving mean, does not change.

    Raises AddressError for a pattern that matches nothing, or only state.
    """
    return _marked(weights, patterns, trainable=True)


def _marked(weights: Openable, patterns: str | Sequence[str], trainable: bool) -> Model | Weights:
    arrays = openable(weights)
    marks = select_marks(as_model(arrays), texts(patterns), trainable)
    if not isinstance(arrays, Model):
        return Weights(Marked(arrays.source, marks.paths, trainable), skipped=arrays.skipped)
    if arrays.document is None:
        return with_trainable(arrays, marks.paths, trainable)
    return mark_document(arrays, arrays.document, marks.paths, trainable)
