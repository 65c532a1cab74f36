"""Ties: which names share an array, changed in a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from paramctl.address.resolve import resolve_whole
from paramctl.core.dtypes import Array
from paramctl.core.parameter import Parameter
from paramctl.errors import AddressError
from paramctl.model import Model, Tie
from paramctl.source.base import Source


def tied(model: Model, keep: str, others: Sequence[str], transpose: bool = False) -> Model:
    """The model with other names for an array: those that ``others`` match have the values of ``keep``.

    Raises AddressError where shapes or dtypes disagree, and where one of them is tied already or to itself.
    """
    kept = _one(model, keep)
    if kept.path in model.tied:
        owner = model.tied[kept.path].kept
        raise AddressError(f"{kept.path} is itself tied, to {owner}: keep that one instead", repr(keep))
    made = []
    kept_by_others = {tie.kept for tie in model.ties}
    for path in dict.fromkeys(path for other in others for path in resolve_whole(model, other, "tied")):
        other = model.parameters[path]
        if path == kept.path:
            raise AddressError("a parameter cannot be tied to itself", repr(path))
        if path in model.tied:
            raise AddressError(f"{path} is tied already, to {model.tied[path].kept}", repr(path))
        if path in kept_by_others:
            raise AddressError(f"{path} is what others are tied to: untie them first", repr(path))
        _check(kept, other, transpose)
        made.append(Tie(kept.path, path, transpose))
    return replace(model, ties=(*model.ties, *made))


def _check(kept: Parameter, other: Parameter, transpose: bool) -> None:
    both = f"{kept.path} {kept.shape} {kept.dtype} and {other.path} {other.shape} {other.dtype}"
    if other.shape != (kept.shape[::-1] if transpose else kept.shape):
        rule = "tied parameters must have one shape" + (", one the reverse of the other" if transpose else "")
        turned = not transpose and other.shape == kept.shape[::-1]
        raise AddressError(rule, both, "--transpose ties one to the other's transpose." if turned else "")
    if other.dtype != kept.dtype:
        raise AddressError("tied parameters must have one dtype", both)


def untied(model: Model, others: Sequence[str]) -> Model:
    """The model in which these names have arrays of their own again. Raises AddressError for one that is not tied."""
    freed = set()
    for path in dict.fromkeys(path for other in others for path in resolve_whole(model, other, "tied")):
        if path not in model.tied:
            names = [tie.tied for tie in model.ties if tie.kept == path]
            hint = f"It is kept, and {', '.join(names)} tied to it: untie that." if names else ""
            raise AddressError(f"{path} is not tied to another", repr(path), hint)
        freed.add(path)
    return replace(model, ties=tuple(tie for tie in model.ties if tie.tied not in freed))


def _one(model: Model, text: str) -> Parameter:
    paths = resolve_whole(model, text, "tied")
    if len(paths) > 1:
        raise AddressError("a tie keeps one parameter", f"{text!r}, which matches {len(paths):,}")
    return model.parameters[paths[0]]


class RetiedSource(Source):
    """A source under other ties: a name that was tied and is not has the values that it had."""

    def __init__(self, base: Source, model: Model) -> None:
        super().__init__(model, base.chosen, base.seed, base.checkpoint)
        self.base = base

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.base.read_alias(path, start, stop)
