"""The conversion that a command's options ask for: to a layout, checked against a model, or renamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paramctl.address.rename import renamer
from paramctl.convert.match import (
    align_lenient,
    is_torch_layout,
    match_to,
    to_keras,
    to_torch,
    torch_model,
    with_layers,
)
from paramctl.convert.report import Allowed, TensorRow, unchanged_rows, with_source_names, with_target_names
from paramctl.errors import AddressError
from paramctl.model import Model
from paramctl.source.base import Source
from paramctl.source.renamed import renamed


def convert(
    source: Source, layout: str | None, like: Model | None, allowed: Allowed, rename: Sequence[str]
) -> tuple[Source, list[TensorRow]]:
    """Return the converted source and a row for each array.

    layout: "keras" or "torch"; None keeps the layout.
    like: a model with layers that the result must match.
    allowed: the mismatches that are no errors.
    rename: rules for the names that are written if the layout is torch, and for those that are read otherwise.
    Raises AddressError for arrays that do not match, and if the layout requires layers that are unknown.
    """
    old_names: dict[str, str] = {}
    if rename and layout != "torch":
        source = renamed_source = renamed(source, rename)
        old_names = renamed_source.old
    converted, rows = _in_layout(source, layout, like, allowed)
    if rename and layout == "torch":  # torch's names exist only in the result
        converted = renamed_result = renamed(converted, rename)
        rows = with_target_names(rows, renamed_result)
    allowed.finish()
    return converted, with_source_names(rows, old_names)


def _in_layout(
    source: Source, layout: str | None, like: Model | None, allowed: Allowed
) -> tuple[Source, list[TensorRow]]:
    model = like or with_layers(source.model)
    if layout is not None and model is None:
        received = f"{allowed.source or source.model.name}, which has only arrays"
        raise AddressError("--layout requires a model with layers", received, "Name it with --like.")
    if layout is not None and like is not None and not like.inputs:
        raise AddressError("--like must be a model with layers", f"{allowed.like}, which has only arrays")
    is_torch = is_torch_layout(source.model, model)
    if layout == "torch" and not is_torch:
        matched = match_to(source, like, allowed)[0] if like is not None else source
        return to_torch(matched, allowed)
    if layout == "torch" and like is not None:
        return match_to(source, torch_model(like), allowed)
    if layout == "keras" and model is not None:
        return (to_keras if is_torch else match_to)(source, model, allowed)
    if like is not None:
        return match_to(source, like, allowed)
    return source, unchanged_rows(source.model)


def align(
    a: Source, b: Source, rename: Sequence[str], like: Model | None = None
) -> tuple[Source, Source, Callable[[str], str]]:
    """Return two sources to be compared, and the function from names of b to names of a.

    If only one of them has torch's layout, it is converted to the other's.

    rename: rules for the names of b. like: a model with layers; None takes the layers of a or b, if known.
    """
    renamed_b = renamed(b, rename) if rename else b
    layers_a, layers_b = (None, None) if like is not None else (with_layers(a.model), with_layers(b.model))
    # A file in torch's layout may be of the other's model, so that comes first for b.
    model_a, model_b = like or layers_b or layers_a, like or layers_a or layers_b
    is_torch_a, is_torch_b = is_torch_layout(a.model, model_a), is_torch_layout(renamed_b.model, model_b)
    if is_torch_a and not is_torch_b and model_a is not None:
        a = align_lenient(a, model_a)
    if is_torch_b and not is_torch_a and model_b is not None:
        return a, align_lenient(renamed_b, model_b), lambda path: path
    return a, b, renamer(rename, b.model)
