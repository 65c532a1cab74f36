"""Checks of equal arrays that are not tied, and of ties that a model declares but the file does not keep."""

from __future__ import annotations

from collections.abc import Iterator

from paramctl.conversion.match import same_values
from paramctl.core.text import abbreviate
from paramctl.errors import InputError
from paramctl.inspect.check.expected import is_weight, recorded_laws
from paramctl.inspect.check.facts import Facts
from paramctl.inspect.check.language_models import CONFIG, declared_pairs
from paramctl.inspect.check.registry import Observation, check
from paramctl.inspect.check.subject import Subject
from paramctl.inspect.check.units import DENSE_LAWS
from paramctl.inspect.ties import equal_among
from paramctl.model import Tie
from paramctl.source.base import SelectedValues


@check("warning")
def broken_tie(subject: Subject) -> Iterator[Observation]:
    """Find arrays that the model ties, but whose values differ; a note if they are equal copies."""
    for tie, place in _declared_ties(subject):
        if difference := _difference(subject, tie):
            text = f"{difference} {tie.kept}, to which {place} ties it"
            # a model has both arrays, and other checks compare them with it
            if place == CONFIG:
                yield Observation(tie.tied, text, (tie.tied, tie.kept))
            continue
        try:
            equal = same_values(subject.source, tie)
        except InputError:  # found as unreadable
            continue
        text = "is a copy of" if equal else "differs from"
        observation = f"{text} {tie.kept}, to which {place} ties it"
        yield Observation(tie.tied, observation, (tie.tied, tie.kept), "note" if equal else None)


@check("note")
def equal_arrays(subject: Subject) -> Iterator[Observation]:
    """Find weights that are equal but not tied; a warning if each was drawn at random."""
    known = {frozenset((tie.kept, tie.tied)) for tie, _ in _declared_ties(subject)}
    by_form: dict[tuple[object, ...], list[str]] = {}
    for selected, facts in subject.measured:
        if _is_compared(subject, selected, facts):
            owner = subject.source.model.owner(selected.path)
            ends = [(part.minimum, part.maximum) for part in facts.tally.parts]
            # the moments depend on the pieces by which an array is read; the ends and counts do not
            form = owner.shape, owner.dtype, *ends, facts.tally.zeros, facts.tally.nan, facts.tally.inf
            by_form.setdefault(form, []).append(owner.path)
    candidates = {path for paths in by_form.values() if len(paths) > 1 for path in paths}
    for paths in equal_among(subject.source, candidates):
        if frozenset(paths) in known:
            continue
        text = f"equal to {abbreviate(paths[1:])}, but not tied"
        drawn = all(_is_drawn(subject, path) for path in paths)
        yield Observation(subject.address(paths[0]), text, tuple(paths), "warning" if drawn else None)


def _is_compared(subject: Subject, selected: SelectedValues, facts: Facts) -> bool:
    """Return whether equal values of an array mean something: of a whole weight that no other check finds."""
    if facts.unreadable or facts.is_constant or facts.tally.nan == facts.tally.size or facts.tally.size < 2:
        return False
    return selected.selection.everything and is_weight(subject.parameter(selected))


def _is_drawn(subject: Subject, path: str) -> bool:
    laws = recorded_laws(subject.source, path)
    return bool(laws) and all(isinstance(law, DENSE_LAWS) for law in laws)


def _declared_ties(subject: Subject) -> Iterator[tuple[Tie, str]]:
    """Yield the ties that a model declares between two arrays that the source keeps apart, and who declares them."""
    source = subject.source
    model = source.model
    declared = list(declared_pairs(source))
    known = subject.expected or subject.recorded
    if known is not None:
        declared += [(tie, known.name) for tie in known.ties]
    seen = set()
    for tie, place in declared:
        names = frozenset((tie.kept, tie.tied))
        if names in seen or not names <= model.parameters.keys():
            continue
        seen.add(names)
        if model.owner(tie.kept).path != model.owner(tie.tied).path:
            yield tie, place


def _difference(subject: Subject, tie: Tie) -> str:
    """Return how the shapes or dtypes of two arrays differ from those of a tie; empty if they do not."""
    kept, tied = (subject.source.model.parameters[name] for name in (tie.kept, tie.tied))
    shape = kept.shape[::-1] if tie.transpose else kept.shape
    if shape != tied.shape:
        return f"has the shape {tied.shape}, not the {shape} of"
    return f"is {tied.dtype}, not {kept.dtype} as" if kept.dtype != tied.dtype else ""
