"""Which conversion is meant: a source into a layout, held against a model, under other names; two to be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paramctl.address.rename import renamer
from paramctl.convert.match import align_lenient, in_torch, is_torch_layout, match_to, to_keras, to_torch, with_layers
from paramctl.convert.report import Allowed, TensorRow, as_they_are, from_names, to_names
from paramctl.errors import AddressError
from paramctl.model import Model
from paramctl.source.base import Source
from paramctl.source.renamed import renamed


def convert(
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
    model = like or with_layers(source.model)
    if layout is not None and model is None:
        rule = "which layers these arrays are of is not known: name their model by --like"
        raise AddressError(rule, allowed.source or source.model.name)
    if layout is not None and like is not None and not like.inputs:
        raise AddressError("--like must be a model whose layers are known", f"{allowed.like}, which holds arrays alone")
    torchs = is_torch_layout(source.model, model)
    if layout == "torch" and not torchs:
        held = match_to(source, like, allowed)[0] if like is not None else source
        return to_torch(held, allowed)
    if layout == "torch" and like is not None:
        return match_to(source, in_torch(like), allowed)
    if layout == "keras" and model is not None:
        return (to_keras if torchs else match_to)(source, model, allowed)
    if like is not None:
        return match_to(source, like, allowed)
    return source, as_they_are(source.model)


def align(
    a: Source, b: Source, rename: Sequence[str], like: Model | None = None
) -> tuple[Source, Source, Callable[[str], str]]:
    """Two sources to be compared, and what b's names are in a's.

    Where one of the two is in torch's layout and the other is not, it is turned, if ``like`` or one of them tells of
    which layers.
    """
    named = renamed(b, rename) if rename else b
    own_a, own_b = (None, None) if like is not None else (with_layers(a.model), with_layers(b.model))
    of_a, of_b = like or own_b or own_a, like or own_a or own_b
    in_a, in_b = is_torch_layout(a.model, of_a), is_torch_layout(named.model, of_b)
    if in_a and not in_b and of_a is not None:
        a = align_lenient(a, of_a)
    if in_b and not in_a and of_b is not None:
        return a, align_lenient(named, of_b), lambda path: path
    return a, b, renamer(rename, b.model)
