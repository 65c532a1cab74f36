"""The conversion that a command's options request: to a layout, checked against a model, or renamed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from paramctl.address.rename import renamer
from paramctl.conversion.match import (
    Converted,
    Reference,
    align_lenient,
    is_torch_layout,
    like_reference,
    match_to,
    reference,
    to_keras,
    to_torch,
    torch_reference,
)
from paramctl.conversion.report import (
    Allowed,
    Mismatches,
    TensorRow,
    skipped_row,
    unchanged_rows,
    with_source_names,
    with_target_names,
)
from paramctl.conversion.torch import torch_layout
from paramctl.conversion.weight_norm import Factors, fold, folded_rows
from paramctl.errors import AddressError
from paramctl.source.base import Source
from paramctl.source.derived import Partial, rename
from paramctl.source.with_state import split_state, with_state


def convert(
    source: Source,
    layout: str | None = None,
    like: Source | None = None,
    rules: Sequence[str] = (),
    allowed: Allowed | None = None,
) -> Converted:
    """Return the converted source, a row for each array, and notes.

    layout: "keras" or "torch"; None keeps the layout.
    like: a source of the model that the result must match.
    rules: for the names that are written if the layout is torch, and for those that are read otherwise.
    allowed: the mismatches that are no errors.
    Raises AddressError for arrays that do not match, and if the layout requires layers that are unknown.
    """
    allowed = allowed or Allowed(())
    source, skipped = _complete(source, like, allowed)
    old_names: Mapping[str, str] = {}
    if rules and layout != "torch":
        renamed = rename(source, rules)
        source, old_names = renamed, renamed.old_names
    model = like_reference(like) if like is not None else None
    source, folded = _fold(source, layout, model)
    converted = _in_layout(source, layout, model, allowed)
    rows = folded_rows(converted.rows, folded)
    if rules and layout == "torch":  # torch's names exist only in the result
        renamed = rename(converted.source, rules)
        converted, rows = converted._replace(source=renamed), with_target_names(rows, renamed.old_names)
    allowed.finish()
    rows = with_source_names(rows, old_names)
    named = {name for row in rows for name in row.source}
    return converted._replace(rows=rows + [row for row in skipped if row.source[0] not in named])


def _fold(source: Source, layout: str | None, like: Reference | None) -> tuple[Source, Mapping[str, Factors]]:
    """Return a source with its weight normalization folded, where the model that it must match has the weights."""
    known = like or (reference(source) if layout is not None else None)
    if known is None or source.model.inputs:
        return source, {}
    # a file may have the model's own names or those of torch
    expected = known.model
    return fold(source, lambda: expected.parameters.keys() | torch_layout(expected).tensors.keys())


def _complete(source: Source, like: Source | None, allowed: Allowed) -> tuple[Source, list[TensorRow]]:
    """Return a source and the rows of the parameters that its file lacks, if all of these are allowed to be missing.

    like: the model that it must match, whose file may lack parameters too.
    """
    present = source.model.parameters
    required = like.origin.missing if like is not None else {}
    lacking = {name: shape for name, shape in required.items() if shape is not None and name not in present}
    missing = {**source.origin.missing, **lacking}
    if not missing:
        return source, []
    mismatches = Mismatches(allowed, f"{allowed.source or source.model.name} must have all parameters of its model")
    for name, shape in missing.items():
        text = f"missing {name} {shape}" if shape is not None else f"missing {name}"
        mismatches.add(name, text, skipped_row(name, None, "missing"))
    mismatches.finish()
    return Partial(source, allowed.patterns), mismatches.rows


def _in_layout(source: Source, layout: str | None, like: Reference | None, allowed: Allowed) -> Converted:
    """Return the parameters in a layout. The arrays of an optimizer follow them, as they are."""
    if layout is None and like is None:
        return Converted(source, unchanged_rows(source.model))
    # an optimizer's arrays have the shapes of parameters, but no layer says which, so they are never rearranged
    parameters, state = split_state(source)
    converted = _parameters_in_layout(parameters, layout, like, allowed)
    return converted if state is None else converted._replace(source=with_state(converted.source, source))


def _parameters_in_layout(source: Source, layout: str | None, like: Reference | None, allowed: Allowed) -> Converted:
    known = like or reference(source)
    if layout is not None and known is None:
        received = f"{allowed.source or source.model.name}, which has only arrays"
        raise AddressError("--layout requires a model with layers", received, "Name it with --like.")
    if layout is not None and like is not None and not like.model.inputs:
        raise AddressError("--like must be a model with layers", f"{allowed.like}, which has only arrays")
    is_torch = is_torch_layout(source.model, known)
    if layout == "torch" and not is_torch:
        matched = match_to(source, like, allowed)[0] if like is not None else source
        return to_torch(matched, allowed)
    if layout == "torch" and like is not None:  # in torch's layout already: only check it
        return Converted(*match_to(source, torch_reference(like), allowed))
    if layout == "keras" and known is not None:
        return Converted(*(to_keras if is_torch else match_to)(source, known, allowed))
    if like is not None:
        return Converted(*match_to(source, like, allowed))
    return Converted(source, unchanged_rows(source.model))


def _renamed(b: Source, rules: Sequence[str], a: Source) -> Source:
    """Return the second of two sources with new names. The error for rules that fit only the first says so."""
    try:
        return rename(b, rules)
    except AddressError as error:
        try:
            renamer(rules, a.model)
        except AddressError:
            raise error from None
        raise AddressError(error.rule, error.received, "The first of the two has it: exchange them.") from error


def align(
    a: Source, b: Source, rules: Sequence[str] = (), like: Source | None = None
) -> tuple[Source, Source, Callable[[str], str]]:
    """Return two sources to be compared, and the function from names of b to names of a.

    If only one of them has torch's layout, it is converted to the other's.

    rules: for the names of b. like: a source of a model with layers; None takes the layers of a or b, if known.
    """
    renamed_b = _renamed(b, rules, a) if rules else b
    named = like_reference(like) if like is not None else None
    layers_a, layers_b = (None, None) if named is not None else (reference(a), reference(b))
    # A file in torch's layout may be of the other's model, so that comes first for b.
    model_a, model_b = named or layers_b or layers_a, named or layers_a or layers_b
    is_torch_a, is_torch_b = is_torch_layout(a.model, model_a), is_torch_layout(renamed_b.model, model_b)
    if is_torch_a and not is_torch_b and model_a is not None:
        a = align_lenient(a, model_a)
    if is_torch_b and not is_torch_a and model_b is not None:
        return a, align_lenient(renamed_b, model_b), lambda path: path
    return a, b, renamer(rules, b.model)
