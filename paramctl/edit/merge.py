"""Merge LoRA adapters into the weights of their base model, as PEFT's ``merge_and_unload`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from paramctl.edit.cast_rules import cast_source
from paramctl.edit.combine import combined_origin
from paramctl.edit.lora_adapter import Adapter, open_adapter
from paramctl.edit.lora_match import match
from paramctl.errors import AddressError
from paramctl.model import Model, shared_text
from paramctl.source.base import Source
from paramctl.source.merged import Change, LowRank, Merged, Whole


@dataclass(frozen=True, slots=True)
class MergeRow:
    """One change of an array by an adapter.

    change: added, with a rank and a scale, or replaced.
    nan, inf: the numbers of such values in the array after all changes; None if they were not counted.
    """

    path: str
    shape: tuple[int, ...]
    adapter: str
    change: str
    rank: int | None = None
    scale: float | None = None
    nan: int | None = None
    inf: int | None = None


class MergeResult(NamedTuple):
    """A base with its adapters merged, a row for each change, and notes."""

    source: Merged
    rows: list[MergeRow]
    notes: list[str]


def merge(
    base: Source, paths: Sequence[str], scale: float = 1.0, dtype: Sequence[str] = (), allow: Sequence[str] = ()
) -> MergeResult:
    """Merge adapters into a base, one after the other.

    paths: of the adapters, folders or files. scale: a factor for all their products.
    dtype, allow: other dtypes of the result, and the losses to accept; see cast_source.
    Raises AddressError for a tensor that belongs to no array of the base, and InputError for a damaged adapter.
    """
    changes: dict[str, list[Change]] = {}
    rows: list[MergeRow] = []
    notes: list[str] = []
    adapters = [open_adapter(path) for path in paths]
    for adapter in adapters:
        matched = match(base, adapter, scale)
        notes += matched.notes
        for path, change in matched.changes:
            _check_not_tied(base.model, path, adapter)
            if _replaces(change) and path in changes:
                notes.append(f"{adapter.place} replaces {path}, including the change of an earlier adapter")
            changes.setdefault(path, []).append(change)
            rows.append(_row(base.model, path, change, adapter))
    typed = cast_source(base, dtype, allow)
    provenance = {path: known for path, known in typed.origin.provenance.items() if path not in changes}
    origin = combined_origin(base.origin, [adapter.source.origin for adapter in adapters], provenance)
    options = {"adapters": [*paths], "scale": scale, "dtype": [*dtype], "allow": [*allow]}
    return MergeResult(Merged(typed, origin, changes, **options), rows, notes)


def _replaces(change: Change) -> bool:
    return isinstance(change, Whole) and change.scale is None


def _row(model: Model, path: str, change: Change, adapter: Adapter) -> MergeRow:
    status = "replaced" if _replaces(change) else "added"
    rank = change.source.model.parameters[change.right].shape[0] if isinstance(change, LowRank) else None
    return MergeRow(path, model.parameters[path].shape, adapter.place, status, rank, change.scale)


def _check_not_tied(model: Model, path: str, adapter: Adapter) -> None:
    """Raise AddressError for an array with several names: an adapter changes one of them, and the file both."""
    for tie in model.ties:
        if path in (tie.kept, tie.tied):
            rule = f"{adapter.place}: changes {path}, which shares its array"
            received = f"{tie.tied} {shared_text(tie.kept, tie.transpose)}"
            raise AddressError(rule, received, f"Untie them first: paramctl untie FILE {tie.tied} -o NEW.")
