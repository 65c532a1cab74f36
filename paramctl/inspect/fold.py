"""The fold behind statistics, histograms, comparison and checksums: measure pieces in parallel, join them by array.

A measurement is any type with a ``join`` method. Worker threads measure a few pieces at a time, which bounds memory.
Measurements are joined in the order of the pieces, so the result has the same bits for any number of threads, although
floating-point addition is not associative.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, Self, TypeVar

from paramctl.core.dtypes import Array
from paramctl.core.parameter import bytes_of
from paramctl.parallel import check_awaited, in_parallel, workers
from paramctl.source.base import SelectedValues

BATCH_PIECES, BATCH_BYTES = 8, 1 << 22
"""The pieces that a worker measures before it reports. Each report wakes another thread, which costs as much as the
measurement of a small piece. Slices and measurements wait in memory, so a batch stays small."""


class Joinable(Protocol):
    """A measurement of one piece, or of several consecutive pieces."""

    def join(self, later: Self, /) -> Self:
        """Return the measurement of both together; ``later`` covers the pieces that follow."""
        ...


Key = TypeVar("Key", bound=Hashable)
Measurement = TypeVar("Measurement", bound=Joinable)
Piece = TypeVar("Piece", bound="PieceToMeasure[Any, Any]")


@dataclass(frozen=True, slots=True)
class PieceToMeasure(Generic[Key, Measurement]):
    """A piece of an array: the array's key, the piece's size in bytes, and the function that reads and measures it."""

    key: Key
    bytes: int
    measure: Callable[[], Measurement]


def selected_pieces(
    selection: Sequence[SelectedValues], measure: Callable[[int, Array], Measurement]
) -> Iterator[PieceToMeasure[int, Measurement]]:
    """Yield the pieces of selected values, keyed by the number of the selection.

    measure: from the number of the selection and the values of a piece to their measurement.
    """
    # Keyed by number: two selections may have one name, as in ``stat FILE w w``.
    for number, selected in enumerate(selection):
        for size, read in selected.reads():
            yield PieceToMeasure(number, bytes_of(selected.dtype, size), partial(_measure, measure, number, read))


def _measure(measure: Callable[[int, Array], Measurement], number: int, read: Callable[[], Array]) -> Measurement:
    return measure(number, read())


def fold(
    pieces: Iterable[PieceToMeasure[Key, Measurement]],
    advance: Callable[[int], object] = lambda size: None,
    threads: int | None = None,
    initial: Mapping[Key, Measurement] | None = None,
) -> dict[Key, Measurement]:
    """Return the joined measurements of the pieces, by key.

    pieces: consumed lazily, a few ahead of the workers; the pieces of one key in order.
    advance: called with the size of each piece in bytes once it is measured.
    threads: the number of workers; by default one for each processor.
    initial: measurements of earlier pieces, which these continue.
    """
    joined = dict(initial or {})
    count = threads or workers()
    for batch in in_parallel(_measure_batch, _batches(pieces, count), count):
        for piece, measurement in batch:
            before = joined.get(piece.key)
            joined[piece.key] = measurement if before is None else before.join(measurement)
            advance(piece.bytes)
    return joined


def _batches(pieces: Iterable[Piece], count: int) -> Iterator[list[Piece]]:
    """Yield the pieces in batches, which grow, so that the pieces of a small file are spread over all workers."""
    batch: list[Piece] = []
    size = before = 0
    for piece in pieces:
        batch.append(piece)
        size += piece.bytes
        if len(batch) > min(before // (2 * count), BATCH_PIECES - 1) or size >= BATCH_BYTES:
            yield batch
            before += len(batch)
            batch, size = [], 0
    if batch:
        yield batch


def _measure_batch(
    batch: list[PieceToMeasure[Key, Measurement]],
) -> list[tuple[PieceToMeasure[Key, Measurement], Measurement]]:
    results = []
    for piece in batch:
        check_awaited()
        results.append((piece, piece.measure()))
    return results
