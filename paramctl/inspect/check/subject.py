"""Subject: the arrays to check, with their facts, which are measured when a check first asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np

from paramctl.address.quoting import address_of
from paramctl.conversion.match import Reference, is_torch_layout, like_reference, reference, torch_reference
from paramctl.core.parameter import Parameter, bytes_of
from paramctl.inspect.check.facts import NO_FACTS, Facts, HashedPart, read_facts
from paramctl.inspect.check.sample import sampled_values
from paramctl.inspect.fold import PieceToMeasure, fold
from paramctl.model import Model
from paramctl.parallel import Progress, advancing
from paramctl.source.base import SelectedValues, Source
from paramctl.store.contents import Recorded, RecordedSum, connections, undecodable
from paramctl.store.keras.config_names import declared_shapes
from paramctl.store.sums.array_sum import leaf_bytes


@dataclass(frozen=True, eq=False)
class Subject:
    """The arrays that are checked.

    source: the model or file. selected: the arrays, or slices of them, whose values are checked.
    reference: the model that it must match. dtypes: those that must hold the values, by the path of the array.
    hashed: True to compute the hashes of arrays whose file records them.
    """

    source: Source
    selected: Sequence[SelectedValues]
    reference: Source | None = None
    dtypes: Mapping[str, str] = field(default_factory=dict)
    progress: Progress | None = None
    threads: int | None = field(default=None, compare=False)
    hashed: bool = True

    @cached_property
    def measured(self) -> list[tuple[SelectedValues, Facts]]:
        """The selected values with their facts."""
        total = sum(bytes_of(selected.dtype, selected.selection.size) for selected in self.selected)
        workers = self.threads or connections(self.source)
        facts = fold(self._pieces(), advancing(self.progress, total), workers)
        return [
            (selected, self._undecodable(selected) or facts.get(number, NO_FACTS))
            for number, selected in enumerate(self.selected)
        ]

    def _undecodable(self, selected: SelectedValues) -> Facts | None:
        """Return the facts of an array whose values cannot be decoded: the reason alone."""
        reason = undecodable(self.source.model, selected.path)
        return None if reason is None else NO_FACTS._replace(unreadable=reason)

    def _pieces(self) -> Iterator[PieceToMeasure[int, Facts]]:
        # Keyed by number: two slices of one array are selected apart.
        for number, selected in enumerate(self.selected):
            if self._undecodable(selected):
                continue
            dtype = self.dtypes.get(self.source.model.owner(selected.path).path)
            sampled, start = sampled_values(self.parameter(selected)) if selected.selection.everything else None, 0
            for size, read in selected.reads():
                within = None if sampled is None else sampled[slice(*np.searchsorted(sampled, (start, start + size)))]
                part = self._hashed_part(selected, start)
                measure = partial(read_facts, read, dtype, None if within is None else within - start, part)
                yield PieceToMeasure(number, bytes_of(selected.dtype, size), measure)
                start += size

    @cached_property
    def recorded_sums(self) -> Mapping[str, RecordedSum]:
        """The hashes that the file records, by the path of the array."""
        return self.source.recorded_sums() if self.hashed and isinstance(self.source, Recorded) else {}

    def _hashed_part(self, selected: SelectedValues, start: int) -> HashedPart | None:
        """Return the place of values in an array whose hash is recorded. start: the number of the first value."""
        recorded = self.recorded_sums.get(self.source.model.owner(selected.path).path)
        if not selected.selection.everything or recorded is None or not recorded.digest:
            return None
        return HashedPart(bytes_of(selected.dtype, start), leaf_bytes(selected.dtype))

    def parameter(self, selected: SelectedValues) -> Parameter:
        """Return the parameter whose values are selected."""
        return self.source.model.parameters[selected.path]

    @cached_property
    def expected(self) -> Model | None:
        """The model that the file must match, in the layout of the file."""
        return None if self.reference is None else self._in_layout(like_reference(self.reference))

    @cached_property
    def recorded(self) -> Model | None:
        """The model that the file records for itself, in the layout of the file."""
        known = reference(self.source)
        return None if known is None else self._in_layout(known)

    @cached_property
    def configured(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes that Keras' configuration in the file declares, if the file's arrays differ from them."""
        keras = self.source.origin.keras
        if keras is None or keras.config is None or self.source.model.document is not None:
            return {}
        declared, actual = declared_shapes(keras.config, self.source.model.name), self.source.model.parameters
        # with arrays missing and others added, the names are others, and the arrays cannot be matched by them
        same_names = declared.keys() <= actual.keys() or actual.keys() <= declared.keys()
        return declared if same_names else {}

    def _in_layout(self, known: Reference) -> Model:
        return (torch_reference(known) if is_torch_layout(self.source.model, known) else known).model

    def address(self, path: str) -> str:
        """Return the address of an array."""
        return address_of(path, self.source.model.separator)

    def place(self, selected: SelectedValues, number: int | None = None) -> str:
        """Return the address of selected values, or of the one with a number in reading order."""
        path = self.address(selected.path)
        if number is None:
            return path
        indices = ", ".join(map(str, selected.index_of(number)))
        return f"{path}[{indices}]" if indices else path
