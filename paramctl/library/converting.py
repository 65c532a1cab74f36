"""convert: names, shapes and dtypes of another framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from paramctl.core.parameter import FLOAT_DTYPES
from paramctl.library.arguments import choice, filters
from paramctl.library.opening import Openable, as_source, openable, rename_rules, texts
from paramctl.library.weights import Weights
from paramctl.model import Model
from paramctl.source.base import place_of
from paramctl.source.selected import Selecting, select_arrays
from paramctl.source.with_state import drop_state, with_state

if TYPE_CHECKING:
    from paramctl.conversion.report import TensorRow


def convert(
    weights: Openable,
    *,
    select: str | Sequence[str] = (),
    drop: str | Sequence[str] = (),
    trainable: bool | None = None,
    kind: str | None = None,
    min_size: int | None = None,
    layout: str | None = None,
    like: Openable | None = None,
    partial: str | Sequence[str] = (),
    rename: Mapping[str, str] | Sequence[str] = (),
    seed: int | None = None,
    dtype: str | Sequence[str] = (),
    allow: str | Sequence[str] = (),
    state: bool = False,
) -> Weights:
    """Select arrays, convert them to the names, shapes and dtypes of another layout, and check them against a model.

    select: addresses of the arrays to keep, or of slices of them; all by default.
    drop: patterns of arrays to leave out, those of the optimizer among them.
    trainable, kind, min_size: only parameters like this.
    layout: ``keras``, that of documents, or ``torch``, that of torch.nn's modules; unchanged by default.
    like: the model that the arrays belong to.
    partial: patterns of names that may be missing, unexpected or of another shape. A file may also lack parameters of
        its own configuration.
    rename: new names, of the written arrays for the layout torch, otherwise of the arrays read.
    seed: of a model's values.
    dtype: DTYPE, or PATTERN=DTYPE rules.
    state: convert the arrays of the file's optimizer too. They keep their shapes, and their dtypes unless a rule of
        ``dtype`` names them.
    allow: losses that a cast may have: ``overflow``, ``integers``, ``parts``, each optionally with ``=PATTERN``.
    The report has the status of each array. The notes have the arrays left out, and the settings of torch code. Raises
    AddressError for arrays that do not match, and for an address or a pattern that matches nothing.
    """
    choice("layout", layout, ("keras", "torch"))
    arrays = openable(weights)
    dtypes, losses, skipped = texts(dtype), texts(allow), texts(partial)
    # Initializers generate in the dtype itself: a cast after them would round twice.
    generated = isinstance(arrays, Model) and not losses and len(dtypes) == 1 and dtypes[0] in FLOAT_DTYPES
    source = as_source(arrays, seed, dtypes[0] if generated else None)
    selecting = Selecting(texts(select), texts(drop), filters(trainable, None, kind, min_size))
    source, patterns, dropped = drop_state(source, selecting.drop)
    source, selecting = with_state(source) if state else source, replace(selecting, drop=patterns)
    # a conversion to torch's layout requires all layers, so a selection by their names comes after it
    selects_later = layout == "torch" and bool(source.model.inputs) and not selecting.selects_all
    source, left_out = (source, []) if selects_later else select_arrays(source, selecting)
    rows: list[TensorRow] = []
    notes: Sequence[str] = ()
    if layout is not None or like is not None or rename or skipped or source.origin.missing:
        from paramctl.conversion.convert import convert as convert_source  # most saves convert nothing
        from paramctl.conversion.report import Allowed

        reference = as_source(like) if like is not None else None
        allowed = Allowed(skipped, place_of(source), place_of(reference) if reference is not None else "")
        converted = convert_source(source, layout, reference, rename_rules(rename), allowed)
        if selects_later:
            from paramctl.conversion.selecting import select_converted

            converted, left_out = select_converted(converted, source.model, selecting)
        source, rows, notes = converted
    if (dtypes or losses) and not generated:
        from paramctl.edit.cast_rules import cast_source

        source = cast_source(source, dtypes, losses)
    return Weights(source, lambda measured: rows, notes=[*dropped, *left_out, *notes])
