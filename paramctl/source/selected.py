"""A source with some of another source's arrays, or slices of them. Nothing is read until its values are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from paramctl.address.grammar import parse_address
from paramctl.address.resolve import NO_FILTERS, Filters, resolve_all, resolve_whole
from paramctl.core.indexing import Index, Selection, select, slice_text
from paramctl.core.parameter import Axis, Parameter
from paramctl.core.text import abbreviate
from paramctl.core.views import Arrangement, View, view
from paramctl.errors import AddressError
from paramctl.model import Model, Tie
from paramctl.source.arranged import Arranged
from paramctl.source.base import Source
from paramctl.store.checkpoint import build_model
from paramctl.store.contents import check_decodable

Chosen = Mapping[str, tuple[Index, ...] | None]
"""The slice of each selected parameter, by its path; None for the whole parameter."""


@dataclass(frozen=True)
class Selecting:
    """A selection as a user writes it.

    addresses: of parameters, optionally with a slice; none for all.
    drop: patterns of parameters that are left out.
    filters: conditions that the others must meet.
    """

    addresses: Sequence[str] = ()
    drop: Sequence[str] = ()
    filters: Filters = NO_FILTERS

    @property
    def selects_all(self) -> bool:
        return not self.addresses and not self.drop and self.filters == NO_FILTERS

    def resolve(self, model: Model) -> Chosen:
        """Return the selected parameters of a model, in its order.

        Raises AddressError for an address or pattern that matches nothing, for two slices of one parameter, and if
        nothing is left.
        """
        # without addresses resolve_all gives each array once, but a tied name is selected too
        matches = resolve_all(model, self.addresses or (["**"] if model.parameters else []), self.filters)
        dropped = {path for pattern in self.drop for path in resolve_whole(model, pattern, "dropped")}
        chosen: dict[str, tuple[Index, ...] | None] = {}
        for path, indices in matches:
            if path in dropped:
                continue
            if path in chosen:  # w[0] and w[1] would be two arrays called w
                rule = f"{path} is selected twice, and a file has one array of this name"
                raise AddressError(rule, " and ".join(map(_text, (chosen[path], indices))))
            chosen[path] = indices
        if matches and not chosen:
            raise AddressError(f"{model.name}: --drop leaves no array", f"{len(matches):,} dropped")
        return chosen


def _text(indices: tuple[Index, ...] | None) -> str:
    return "the whole array" if indices is None else f"[{slice_text(indices)}]"


class Kept(NamedTuple):
    """A selection of a source, and a line about each part of it that was left out."""

    source: Source
    notes: list[str]


def select_arrays(source: Source, selecting: Selecting) -> Kept:
    """Return the selected arrays of a source. Raises AddressError; see Selecting.resolve."""
    if selecting.selects_all:
        return Kept(source, [])
    return keep(source, selecting.resolve(source.model), _missing(source, selecting))


def keep(source: Source, chosen: Chosen, missing: Iterable[str] = ()) -> Kept:
    """Return the chosen arrays of a source; the source itself if these are all.

    missing: the parameters that its file lacks, and that belong to the selection.
    """
    if chosen.keys() == source.model.parameters.keys() and not any(chosen.values()):
        return Kept(source, [])
    notes = [*_left_out(source.model, chosen), *_unverified(source)]
    return Kept(Selected(source, chosen, missing), notes)


def _left_out(model: Model, chosen: Chosen) -> list[str]:
    """Return a line about the arrays that are left out, and one about names of arrays that are kept."""
    kept = {model.owner(path).path for path in chosen}
    owners = [owner.path for owner in model.owners()]
    lost = [path for path in owners if path not in kept]
    notes = [f"dropped {len(lost):,} of {len(owners):,} arrays: {abbreviate(lost)}"] if lost else []
    names = [path for path in model.parameters if path not in chosen and model.owner(path).path in kept]
    return [*notes, f"dropped names of shared arrays: {abbreviate(names)}"] if names else notes


def _unverified(source: Source) -> list[str]:
    """Return a line about the zips at URLs, whose checksums a save of a part does not check."""
    remote = dict.fromkeys(location.name for location in source.origin.zips() if location.connections > 1)
    names = abbreviate(list(remote))
    return [f"the checksums of {names} were not checked, because only a part was read"] if remote else []


def _missing(source: Source, selecting: Selecting) -> list[str]:
    """Return the parameters that the source's file lacks, and that a selection would have."""
    # --partial is needed for those that the selection would have: conv/kernel for conv, but not for dense
    absent = source.origin.missing
    parameters = {path: Parameter(path, (), "unknown", None) for path in absent}
    model, _ = build_model("", parameters, ())
    selected = _matched(model, selecting.addresses) if selecting.addresses else set(absent)
    return [path for path in absent if path in selected - _matched(model, selecting.drop)]


def _matched(model: Model, addresses: Iterable[str]) -> set[str]:
    """Return the parameters that any of these addresses matches."""
    matched: set[str] = set()
    for address in addresses:
        try:
            matched |= {path for path, _ in resolve_all(model, [address])}
        except AddressError:  # it matches arrays of the file only
            continue
    return matched


class Selected(Arranged):
    """The chosen arrays of a source, under their names. A tie between two of them is kept.

    If the name that keeps a shared array is left out, the first of its other names keeps it.
    """

    def __init__(self, base: Source, chosen: Chosen, missing: Iterable[str] = ()) -> None:
        model = base.model
        selections = {path: select(indices, model.parameters[path].shape, path) for path, indices in chosen.items()}
        whole = [path for path, indices in chosen.items() if indices is None]
        for path in chosen.keys() - set(whole):
            check_decodable(model, path)
        parameters = {path: _part(model, path, selection) for path, selection in selections.items()}
        subset, _ = build_model(model.name, parameters, _ties(model, whole))
        arrangements = {
            path: _unchanged(model, path) if chosen[path] is None else _sliced(model, path, selection)
            for path, selection in selections.items()
        }
        document = base.origin.document or model.document
        matches = [[path, None if indices is None else slice_text(indices)] for path, indices in chosen.items()]
        absent = list(missing)
        super().__init__(base, subset, arrangements, "select", document, matches=matches, missing=absent)
        # the layout of a Keras file is that of all its arrays, and its attributes say so
        companion = None if base.origin.keras is not None or model.aliases else base.origin.companion
        lacking = {path: base.origin.missing[path] for path in absent}
        has_state = any(not parameter.is_parameter for parameter in model.parameters.values())
        optimizer = None if has_state else self.origin.optimizer  # a note names those of its arrays that are left out
        self.origin = replace(self.origin, companion=companion, missing=lacking, optimizer=optimizer, is_part=True)


def reopened(base: Source, matches: Sequence[Sequence[str | None]], missing: Iterable[str]) -> Selected:
    """Return the selection of a description."""
    chosen = {str(path): None if text is None else parse_address(f"x[{text}]").indices for path, text in matches}
    return Selected(base, chosen, missing)


def _part(model: Model, path: str, selection: Selection) -> Parameter:
    """Return the parameter that holds a selection of another's values."""
    parameter = model.parameters[path]
    axes = [
        axis if len(positions) == axis.size else _shortened(axis, len(positions))
        for axis, positions, dropped in zip(parameter.axes, selection.ranges, selection.dropped, strict=True)
        if not dropped
    ]
    owner = model.owner(path)
    return replace(parameter, axes=tuple(axes), dtype=owner.dtype, encoding=owner.encoding)


def _shortened(axis: Axis, size: int) -> Axis:
    """Return a part of an axis. A part of a grouped axis may have channels of some groups only."""
    return replace(axis, size=size) if axis.groups == 1 else Axis(size, "unknown")


def _unchanged(model: Model, path: str) -> Arrangement:
    """Return a whole array as an arrangement. A transposed tie views the array that has its values."""
    owner, tie = model.owner(path), model.tied.get(path)
    # a view of the owner is read slab by slab; reading the alias would cross the whole array for each block
    axes = tuple(reversed(range(len(owner.shape)))) if tie is not None and tie.transpose else None
    return Arrangement(model.parameters[path].shape, (view(owner.path, owner.shape, axes),))


def _sliced(model: Model, path: str, selection: Selection) -> Arrangement:
    shape = model.parameters[path].shape
    return Arrangement(selection.shape, (View(path, shape, selection.ranges, tuple(range(len(shape)))),))


def _ties(model: Model, whole: Iterable[str]) -> tuple[Tie, ...]:
    """Return the ties between whole parameters. The first name keeps an array whose own name is left out."""
    names, ties = set(whole), []
    # the first tie of each array whose own name is left out: a = b, a = c becomes b = c
    keepers: dict[str, Tie] = {}
    for tie in model.ties:
        if tie.tied not in names:  # its name is left out, or only a slice of it is selected
            continue
        if tie.kept in names:
            ties.append(tie)
        elif (keeper := keepers.setdefault(tie.kept, tie)) is not tie:
            ties.append(Tie(keeper.tied, tie.tied, keeper.transpose != tie.transpose))
    return tuple(ties)
