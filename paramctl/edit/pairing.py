"""Pair the arrays of several sources by name, and decide which of them are computed and which are copied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from paramctl.conversion.report import Allowed, Mismatches, prefix_hint, skipped_row
from paramctl.core.parameter import Parameter
from paramctl.core.text import abbreviate
from paramctl.edit.cast_rules import is_float
from paramctl.model import Model, Tie
from paramctl.source.base import Source, place_of
from paramctl.store.contents import check_decodable, is_transposed, read_alias


class Paired(NamedTuple):
    """The arrays of the first source, paired with those of the others.

    names: the name that each array has in each other source, by the source's key and the array's path.
    kept: the key of the source of each array that is copied, not computed.
    unchanged: the arrays that have the values of the first source.
    notes: about arrays that are copied although the sources differ.
    """

    names: Mapping[str, Mapping[str, str]]
    kept: Mapping[str, str]
    unchanged: frozenset[str]
    notes: Sequence[str]


class _Compared(NamedTuple):
    """The arrays of the first source in another one.

    names: as in Paired. skipped: allowed to differ. different: arrays of integers with other values.
    """

    names: Mapping[str, str]
    skipped: set[str]
    different: set[str]


def pair(sources: Mapping[str, Source], partial: Sequence[str]) -> Paired:
    """Pair the arrays of the first source with those of the others. Compares the values of arrays of integers.

    partial: patterns of arrays that may differ. The first source's are kept.
    Raises AddressError for arrays that differ in name, shape or kind of dtype, and for different integers in an array
    of two or more axes: those of quantized weights have no mean. Counters and seeds are those of the last source.
    """
    first_key, *keys = sources
    first, last_key = sources[first_key], [first_key, *keys][-1]
    allowed = Allowed(partial)
    compared = {key: _compare(first, sources[key], allowed) for key in keys}
    allowed.finish()
    skipped = set[str]().union(*(each.skipped for each in compared.values()))
    different = set[str]().union(*(each.different for each in compared.values())) - skipped
    owners = [owner for owner in first.model.owners() if owner.path in skipped or not is_computed(first.model, owner)]
    kept = {owner.path: last_key if owner.path in different else first_key for owner in owners}
    notes = []
    if unexpected := sorted(skipped - {owner.path for owner in first.model.owners()}):
        notes.append(f"not included, because {place_of(first)} lacks them: {abbreviate(unexpected)}")
    if partly := [path for path in kept if path in skipped]:
        notes.append(f"kept from {place_of(first)}: {abbreviate(partly)}")
    if different:
        integers = abbreviate([path for path in kept if path in different])
        notes.append(f"kept from {place_of(sources[last_key])}, because the files have other integers: {integers}")
    names = {first_key: dict[str, str](), **{key: each.names for key, each in compared.items()}}
    return Paired(names, kept, frozenset(kept) - different, notes)


def is_computed(model: Model, owner: Parameter) -> bool:
    """Return whether an array has numbers with which a rule computes: not integers, and not quantized ones."""
    names = (f"{owner.path}_scale", f"{owner.path}_scale_inv", f"{owner.path.rpartition('.')[0]}.scale")
    # 8-bit numbers with scales: the values are the products of both
    is_scaled = owner.dtype.startswith("float8") and any(name in model.parameters for name in names)
    return is_number(owner.dtype) and not is_scaled


def is_number(dtype: str) -> bool:
    """Return whether a dtype has real or complex numbers."""
    return is_float(dtype) or dtype.startswith("complex")


def has_tie(model: Model, tie: Tie) -> bool:
    """Return whether a model has a tie too, or lacks one of its names, as a safetensors file of transformers does."""
    parameters = model.parameters
    if tie.kept not in parameters or tie.tied not in parameters:
        return True  # if it lacks both, they are missing
    is_vector = len(parameters[tie.tied].shape) < 2
    relation = is_transposed(model, tie.kept) != is_transposed(model, tie.tied)
    return model.owner(tie.kept) == model.owner(tie.tied) and (is_vector or relation == tie.transpose)


def _compare(first: Source, other: Source, allowed: Allowed) -> _Compared:
    """Compare the arrays of two sources. Raises AddressError for differences that are not allowed."""
    model, owners = other.model, {owner.path: owner for owner in first.model.owners()}
    names = _names_in(model, first.model)
    mismatches = Mismatches(allowed, f"{place_of(other)} must have the arrays of {place_of(first)}")
    expected = {path: owner.shape for path, owner in owners.items()}
    actual = {path: model.parameters[name].shape for path, name in names.items()}
    actual |= {name: model.parameters[name].shape for name in _unexpected(model, first.model)}
    matching = mismatches.compare(actual, expected)
    different = set()
    for path, owner in owners.items():
        if path not in matching:
            continue
        dtype, problem = model.owner(names[path]).dtype, ""
        if dtype != owner.dtype and not (is_number(dtype) and is_number(owner.dtype)):
            problem = f"{path} of {dtype}, expected {owner.dtype}"
        elif is_computed(first.model, owner):
            check_decodable(model, names[path])
        elif not is_equal(first, other, owner, names[path]):
            different.add(path)
            problem = f"{path} of {dtype} with other values" if len(owner.shape) > 1 else ""
        if problem:
            mismatches.add(path, problem, skipped_row(path, owner.shape, problem))
    mismatches.finish(lambda: prefix_hint(actual, expected, first.model.separator))
    return _Compared(names, {row.source[0] for row in mismatches.rows}, different)


def _names_in(other: Model, first: Model) -> dict[str, str]:
    """Return the name in another model of each array of the first: its own, or one that is tied to it."""
    aliases: dict[str, list[str]] = {owner.path: [owner.path] for owner in first.owners()}
    for tie in first.ties:
        if not tie.transpose:
            aliases[tie.kept].append(tie.tied)
    found = {path: next((name for name in names if name in other.parameters), "") for path, names in aliases.items()}
    return {path: name for path, name in found.items() if name}


def _unexpected(other: Model, first: Model) -> Iterable[str]:
    """Yield the names in another model that the first lacks, and whose array has no other name that it has."""
    shared = {other.owner(name).path for name in other.parameters if name in first.parameters}
    for name in other.parameters:
        if name not in first.parameters and other.owner(name).path not in shared:
            yield name


def is_equal(first: Source, other: Source, owner: Parameter, name: str) -> bool:
    """Return whether two sources have the same values of an array."""
    return all(np.array_equal(first.read(*piece), read_alias(other, name, *piece[1:])) for piece in first.pieces(owner))
