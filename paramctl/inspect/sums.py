"""The content hashes of arrays and slices, always computed from the values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from paramctl.core.parameter import bytes_of
from paramctl.inspect.fold import PieceToMeasure, fold
from paramctl.parallel import Progress, advancing
from paramctl.source.base import SelectedValues, Source
from paramctl.store.contents import connections, is_transposed
from paramctl.store.io.extents import as_bytes
from paramctl.store.sums.array_sum import ArraySum, empty_sum, leaf_bytes, sum_of


@dataclass(frozen=True, slots=True)
class SumRow:
    """The hash of an array or a slice. sha256: 64 hexadecimal digits."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str


def content_sums(selection: Sequence[SelectedValues], progress: Progress | None = None) -> list[SumRow]:
    """Return the hash of each selection, read in parallel."""
    total = sum(bytes_of(selected.dtype, selected.selection.size) for selected in selection)
    threads = connections(*(selected.source for selected in selection)) if selection else None
    joined = fold(_pieces(selection), advancing(progress, total), threads)
    return [_row(selected, joined.get(number)) for number, selected in enumerate(selection)]


def _row(selected: SelectedValues, total: ArraySum | None) -> SumRow:
    dtype, shape = selected.dtype, tuple(selected.selection.shape)
    digest = empty_sum(dtype, shape) if total is None else total.finish(dtype, shape)
    return SumRow(selected.name, dtype, shape, digest)


def _pieces(selection: Sequence[SelectedValues]) -> Iterator[PieceToMeasure[int, ArraySum]]:
    for number, selected in enumerate(selection):
        source, path, dtype = selected.source, selected.path, selected.dtype
        leaf = leaf_bytes(dtype)
        if selected.selection.everything and not is_transposed(source.model, path):
            for owner, start, stop in source.pieces(source.model.owner(path)):
                begin, size = bytes_of(dtype, start), bytes_of(dtype, stop - start)
                yield PieceToMeasure(number, size, partial(_read_sum, source, owner, start, stop, begin, leaf))
            continue
        begin = 0
        for values in selected.pieces():  # a slice is gathered in order, in this thread
            yield PieceToMeasure(number, values.nbytes, partial(sum_of, as_bytes(values), begin, leaf))
            begin += values.nbytes


def _read_sum(source: Source, path: str, start: int, stop: int, begin: int, leaf: int) -> ArraySum:
    return sum_of(as_bytes(source.read(path, start, stop)), begin, leaf)
