"""Pieces of arrays as they are written, and what is measured of them on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite, sqrt
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.core.indexing import select_all
from paramctl.core.parameter import Parameter
from paramctl.init.engines.native import BLOCK_SIZE
from paramctl.parallel import in_parallel
from paramctl.source.base import Source
from paramctl.store.io.atomic import Temporary
from paramctl.store.io.extents import Extent, as_bytes


class Sums(NamedTuple):
    """Sums of ``x - shift`` and of its square over values of an array. A shift near the mean keeps them precise."""

    size: int
    total: float
    squares: float

    def join(self, later: Sums) -> Sums:
        """Return the sums over both together."""
        return Sums(self.size + later.size, self.total + later.total, self.squares + later.squares)


class Piece(NamedTuple):
    """A piece of an array that has been written: its size in values and in bytes, and its sums, if measured."""

    path: str
    size: int
    bytes: int
    sums: Sums | None = None


Shifts = Mapping[str, float] | None


def written(
    source: Source,
    parameters: Iterable[Parameter],
    temporary: Temporary,
    extents: Mapping[str, Extent],
    shifts: Shifts = None,
    threads: int | None = None,
) -> Iterator[Piece]:
    """Write the values of arrays into their extents, in parallel; then those of copies there, and of what is apart."""
    given = [parameter for parameter in parameters if parameter.path in extents]
    copies = [parameter for parameter in given if parameter.path in source.model.tied]

    def work(job: tuple[str, int, int]) -> Piece:
        values, extent = source.read(*job), extents[job[0]]
        temporary.write(as_bytes(values), extent.offset + job[1] * extent.dtype.itemsize)
        return measure(job[0], values, shifts)

    owners = (parameter for parameter in given if parameter.path not in source.model.tied)
    yield from in_parallel(work, (piece for owner in owners for piece in source.pieces(owner)), threads)
    for parameter in copies:
        pieces = source.gather(parameter.path, select_all(parameter.shape))
        yield from _one_by_one(parameter.path, pieces, temporary, extents[parameter.path])
    yield from _beside(source, temporary, extents)


def _beside(source: Source, temporary: Temporary, extents: Mapping[str, Extent]) -> Iterator[Piece]:
    """Write what stands apart in a Keras file; see keras.file.lay_out."""
    apart = source.checkpoint.beside(source.model) if source.checkpoint else None
    if apart is None:
        return
    for path, array in apart.arrays.items():
        if f"/{path}" in extents:
            cuts = ((start, min(start + BLOCK_SIZE, array.size)) for start in range(0, array.size, BLOCK_SIZE))
            pieces = (apart.reader.read(path, *cut) for cut in cuts)
            yield from _one_by_one(path, pieces, temporary, extents[f"/{path}"])


def _one_by_one(path: str, pieces: Iterable[Array], temporary: Temporary, extent: Extent) -> Iterator[Piece]:
    """Write pieces of an array one after the other."""
    offset = extent.offset
    for values in pieces:
        temporary.write(as_bytes(values), offset)
        offset += values.nbytes
        yield Piece(path, values.size, values.nbytes)


def measure(path: str, values: Array, shifts: Shifts) -> Piece:
    """Return a piece with its sums about the shift of its path; without sums if no shifts are given, or not floats."""
    if shifts is None or not values.size or values.dtype.kind not in "fV":
        return Piece(path, values.size, values.nbytes)
    numbers = values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)
    if shift := shifts.get(path, 0.0):
        numbers = numbers - numbers.dtype.type(shift)
    sums = Sums(values.size, float(numbers.sum()), float(np.dot(numbers, numbers)))
    return Piece(path, values.size, values.nbytes, sums)


class SampleMoments:
    """The mean and the standard deviation of arrays, from the pieces that were measured while they were written."""

    def __init__(self, shifts: Mapping[str, float]) -> None:
        self.shifts = shifts
        self.sums: dict[str, Sums] = {}

    def add(self, piece: Piece) -> None:
        """Add a piece. The pieces of an array come in order."""
        if piece.sums is not None:
            before = self.sums.get(piece.path)
            self.sums[piece.path] = piece.sums if before is None else before.join(piece.sums)

    def of(self, path: str) -> tuple[float, float] | None:
        """Return the mean and the standard deviation of an array; None if not measured, or not finite."""
        sums = self.sums.get(path)
        if sums is None or not isfinite(sums.total) or not isfinite(sums.squares):
            return None
        mean = sums.total / sums.size
        return self.shifts.get(path, 0.0) + mean, sqrt(max(sums.squares / sums.size - mean**2, 0.0))
