"""Combine the arrays of several sources that have the same names and shapes: means, and expressions of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from paramctl.core.text import abbreviate
from paramctl.edit.cast_rules import cast_source
from paramctl.edit.pairing import has_tie, pair
from paramctl.source.base import Source
from paramctl.source.combined import Combined, Rule
from paramctl.source.derived import Retied
from paramctl.store.contents import Origin, Provenance

STATISTICS = ("running_mean", "running_var", "moving_mean", "moving_variance")
"""The last names of the statistics that batch normalization gathers, in torch and in Keras."""


class Combination(NamedTuple):
    """A combined source, and notes about the arrays that need attention."""

    source: Combined
    notes: Sequence[str]


def combine(
    sources: Mapping[str, Source],
    rule: Rule,
    partial: Sequence[str] = (),
    dtype: Sequence[str] = (),
    allow: Sequence[str] = (),
) -> Combination:
    """Combine sources by a rule. The result has the names, dtypes, ties and metadata of the first.

    sources: by the names that the rule uses.
    partial: patterns of arrays that may differ in name, shape or kind of dtype. The first source's are kept.
    dtype, allow: other dtypes of the result, and the losses to accept; see cast_source.
    Raises AddressError for arrays that differ otherwise. Reads the arrays of integers, to compare them.
    """
    key, *keys = sources
    first, others = sources[key], [sources[name] for name in keys]
    common = [tie for tie in first.model.ties if all(has_tie(other.model, tie) for other in others)]
    notes = []
    if untied := [tie.tied for tie in first.model.ties if tie not in common]:
        notes.append(f"untied, because another file does not share the array: {abbreviate(untied)}")
        first = Retied(first, replace(first.model, ties=tuple(common)))
    paired = pair({**sources, key: first}, partial)
    typed = cast_source(first, dtype, allow)
    provenance = {path: known for path, known in typed.origin.provenance.items() if path in paired.unchanged}
    origin = combined_origin(first.origin, [other.origin for other in others], provenance)
    options = {"partial": list(partial), "dtype": list(dtype), "allow": list(allow)}
    combined = Combined({**sources, key: first}, rule, typed, origin, paired.kept, paired.names, **options)
    paths = [owner.path for owner in typed.model.owners() if owner.path not in paired.kept]
    if statistics := [path for path in paths if path.endswith(STATISTICS)]:
        notes.append(
            f"not the statistics of a model with the new weights, so measure them again: {abbreviate(statistics)}"
        )
    return Combination(combined, [*notes, *paired.notes])


def combined_origin(first: Origin, others: Sequence[Origin], provenance: Mapping[str, Provenance]) -> Origin:
    """Return the origin of arrays that are computed from those of several files.

    provenance: of the arrays that keep their values.
    """
    # the optimizer's state belongs to the old values: without its layout, it is reported as not included
    optimizer = first.optimizer and replace(first.optimizer, layout=None)
    combined = (*first.others, *others)
    return replace(first, provenance=provenance, extents={}, rewrite=None, optimizer=optimizer, others=combined)
