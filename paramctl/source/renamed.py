"""A source under other names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from paramctl.address.rename import renamer
from paramctl.core.dtypes import Array
from paramctl.core.parameter import Parameter
from paramctl.model import Model, Tie
from paramctl.source.base import Source
from paramctl.store.checkpoint import Provenance, model_of


class RenamedSource(Source):
    """A source whose parameters have other names; ``old`` is what each of them is called in the base."""

    def __init__(self, base: Source, model: Model, old: dict[str, str]) -> None:
        super().__init__(model)
        self.base, self.old = base, old

    @property
    def notes(self) -> dict[str, Provenance]:
        notes = self.base.notes
        return {new: notes[old] for new, old in self.old.items() if old in notes}

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.base.read(self.old[path], start, stop)


def renamed(source: Source, rules: Sequence[str]) -> RenamedSource:
    """A source under the names that rules give. Raises AddressError; see naming."""
    model = source.model
    new = renamer(rules, model)
    parameters: dict[str, Parameter] = {}
    for path, parameter in model.parameters.items():
        parameters[new(path)] = replace(parameter, path=new(path))
    ties = tuple(Tie(new(tie.kept), new(tie.tied), tie.transpose) for tie in model.ties)
    renamed = replace(model_of(model.name, parameters, ties), origin=model.origin or model.document)
    return RenamedSource(source, renamed, {new(path): path for path in model.parameters})
