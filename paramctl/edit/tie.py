"""Add ties to a model, so that several names share one array, or remove them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from paramctl.address.resolve import resolve_whole
from paramctl.core.parameter import Parameter
from paramctl.errors import AddressError
from paramctl.model import Model, Tie


def add_ties(model: Model, keep: str, others: Sequence[str], transpose: bool = False) -> Model:
    """Return a model in which the parameters that ``others`` match share the array of ``keep``.

    transpose: they have the transposed values of that array.
    Raises AddressError if shapes or dtypes differ, or a parameter is already tied or would be tied to itself.
    """
    kept = _resolve_one(model, keep)
    if kept.path in model.tied:
        owner = model.tied[kept.path].kept
        raise AddressError(f"{kept.path} is itself tied to {owner}", repr(keep), f"Keep {owner} instead.")
    ties = []
    kept_by_others = {tie.kept for tie in model.ties}
    for path in dict.fromkeys(path for other in others for path in resolve_whole(model, other, "tied")):
        parameter = model.parameters[path]
        if path == kept.path:
            raise AddressError("a parameter cannot be tied to itself", repr(path))
        if path in model.tied:
            raise AddressError(f"{path} is already tied to {model.tied[path].kept}", repr(path))
        if path in kept_by_others:
            raise AddressError(f"other parameters are tied to {path}", repr(path), "Untie them first.")
        _check_tie(kept, parameter, transpose)
        ties.append(Tie(kept.path, path, transpose))
    return replace(model, ties=(*model.ties, *ties))


def _check_tie(kept: Parameter, other: Parameter, transpose: bool) -> None:
    both = f"{kept.path} {kept.shape} {kept.dtype} and {other.path} {other.shape} {other.dtype}"
    if other.shape != (kept.shape[::-1] if transpose else kept.shape):
        rule = f"tied parameters must have {'reversed' if transpose else 'equal'} shapes"
        is_reversed = not transpose and other.shape == kept.shape[::-1]
        raise AddressError(rule, both, "Use --transpose to tie one to the other's transpose." if is_reversed else "")
    if other.dtype != kept.dtype:
        raise AddressError("tied parameters must have equal dtypes", both)


def remove_ties(model: Model, others: Sequence[str]) -> Model:
    """Return a model in which these names no longer share an array. Raises AddressError for one that is not tied."""
    freed = set()
    for path in dict.fromkeys(path for other in others for path in resolve_whole(model, other, "tied")):
        if path not in model.tied:
            names = [tie.tied for tie in model.ties if tie.kept == path]
            if names:
                others = " and ".join(names)
                raise AddressError("a tie is removed by its other name", f"{path}, which keeps it", f"Untie {others}.")
            raise AddressError("only a tied parameter can be untied", path)
        freed.add(path)
    return replace(model, ties=tuple(tie for tie in model.ties if tie.tied not in freed))


def _resolve_one(model: Model, text: str) -> Parameter:
    paths = resolve_whole(model, text, "tied")
    if len(paths) > 1:
        raise AddressError("a tie keeps one parameter", f"{text!r}, which matches {len(paths):,}")
    return model.parameters[paths[0]]
