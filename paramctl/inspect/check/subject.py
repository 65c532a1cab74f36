"""Subject: the arrays to check, with their facts, which are measured when a check first asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from paramctl.address.quoting import address_of
from paramctl.core.parameter import Parameter, bytes_of
from paramctl.inspect.check.facts import NO_FACTS, Facts, read_facts
from paramctl.inspect.fold import PieceToMeasure, fold
from paramctl.parallel import Progress, advancing
from paramctl.source.base import SelectedValues, Source
from paramctl.store.contents import connections


@dataclass(frozen=True)
class Subject:
    """The arrays that are checked.

    source: the model or file. selected: the arrays, or slices of them, whose values are checked.
    """

    source: Source
    selected: Sequence[SelectedValues]
    progress: Progress | None = None
    threads: int | None = field(default=None, compare=False)

    @cached_property
    def measured(self) -> list[tuple[SelectedValues, Facts]]:
        """The selected values with their facts."""
        total = sum(bytes_of(selected.dtype, selected.selection.size) for selected in self.selected)
        workers = self.threads or connections(self.source)
        facts = fold(self._pieces(), advancing(self.progress, total), workers)
        return [(selected, facts.get(number, NO_FACTS)) for number, selected in enumerate(self.selected)]

    def _pieces(self) -> Iterator[PieceToMeasure[int, Facts]]:
        # Keyed by number: two slices of one array are selected apart.
        for number, selected in enumerate(self.selected):
            for size, read in selected.reads():
                yield PieceToMeasure(number, bytes_of(selected.dtype, size), partial(read_facts, read))

    def parameter(self, selected: SelectedValues) -> Parameter:
        """Return the parameter whose values are selected."""
        return self.source.model.parameters[selected.path]

    def place(self, selected: SelectedValues, number: int | None = None) -> str:
        """Return the address of selected values, or of the one with a number in reading order."""
        path = address_of(selected.path, self.source.model.separator)
        if number is None:
            return path
        indices = ", ".join(map(str, selected.index_of(number)))
        return f"{path}[{indices}]" if indices else path
