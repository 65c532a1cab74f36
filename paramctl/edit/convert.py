"""Which conversion is meant: a source into a layout, held against a model, under other names; two to be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paramctl.edit.layout import held_against, in_torch, is_torchs, layered, loosely, to_keras, to_torch
from paramctl.edit.rename import renamed
from paramctl.edit.report import Allowed, TensorRow, as_they_are, from_names, to_names
from paramctl.errors import AddressError
from paramctl.model import Model
from paramctl.naming import renamer
from paramctl.source import Source


def converted(
    source: Source, layout: str | None, like: Model | None, allowed: Allowed, rename: Sequence[str]
) -> tuple[Source, list[TensorRow]]:
    """A source in the layout, under the names and as the model that are asked for, and what became of each array.

    like: a model whose layers are known, if one is named. rename: for what is written in torch's layout, else for
    what is read. Raises AddressError for what does not fit, and where a layout needs layers that nothing tells.
    """
    old: dict[str, str] = {}
    if rename and layout != "torch":
        source = read = renamed(source, rename)
        old = read.old
    made, report = _laid_out(source, layout, like, allowed)
    if rename and layout == "torch":
        named = renamed(made, rename)
        made, report = named, to_names(report, named)
    allowed.finish()
    return made, from_names(report, old)


def _laid_out(
    source: Source, layout: str | None, like: Model | None, allowed: Allowed
) -> tuple[Source, list[TensorRow]]:
    model = like or layered(source.model)
    if layout is not None and model is None:
        rule = "which layers these arrays are of is not known: name their model by --like"
        raise AddressError(rule, allowed.source or source.model.name)
    if layout is not None and like is not None and not like.inputs:
        raise AddressError("--like must be a model whose layers are known", f"{allowed.like}, which holds arrays alone")
    torchs = is_torchs(source.model, model)
    if layout == "torch" and not torchs:
        held = held_against(source, like, allowed)[0] if like is not None else source
        return to_torch(held, allowed)
    if layout == "torch" and like is not None:
        return held_against(source, in_torch(like), allowed)
    if layout == "keras" and model is not None:
        return (to_keras if torchs else held_against)(source, model, allowed)
    if like is not None:
        return held_against(source, like, allowed)
    return source, as_they_are(source.model)


def alike(
    a: Source, b: Source, rename: Sequence[str], like: Model | None = None
) -> tuple[Source, Source, Callable[[str], str]]:
    """Two sources to be compared, and what b's names are in a's.

    Where one of the two is in torch's layout and the other is not, it is turned, if ``like`` or one of them tells of
    which layers.
    """
    named = renamed(b, rename) if rename else b
    own_a, own_b = (None, None) if like is not None else (layered(a.model), layered(b.model))
    of_a, of_b = like or own_b or own_a, like or own_a or own_b
    in_a, in_b = is_torchs(a.model, of_a), is_torchs(named.model, of_b)
    if in_a and not in_b and of_a is not None:
        a = loosely(a, of_a)
    if in_b and not in_a and of_b is not None:
        return a, loosely(named, of_b), lambda path: path
    return a, b, renamer(rename, b.model)
