"""The fold behind statistics, comparison and checksums: measure pieces in parallel, join them array by array.

A measurement is any type with a ``join`` method. Worker threads measure a few pieces at a time, which bounds memory.
Measurements are joined in the order of the pieces, so the result has the same bits for any number of threads, although
floating-point addition is not associative.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from paramctl.parallel import in_parallel


class Joinable(Protocol):
    """A measurement of one piece, or of several consecutive pieces."""

    def join(self, later: Self, /) -> Self:
        """Return the measurement of both together; ``later`` covers the pieces that follow."""
        ...


Key = TypeVar("Key", bound=Hashable)
Measurement = TypeVar("Measurement", bound=Joinable)


@dataclass(frozen=True, slots=True)
class PieceToMeasure(Generic[Key, Measurement]):
    """A piece of an array: the array's key, the piece's size in bytes, and the function that reads and measures it."""

    key: Key
    bytes: int
    measure: Callable[[], Measurement]


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
    for piece, measurement in in_parallel(lambda piece: (piece, piece.measure()), pieces, threads):
        before = joined.get(piece.key)
        joined[piece.key] = measurement if before is None else before.join(measurement)
        advance(piece.bytes)
    return joined
