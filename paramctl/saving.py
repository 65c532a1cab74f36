"""Saving: a source into a file, or a set of files, of whichever format a path asks for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite, sqrt
from typing import NamedTuple

import numpy as np

from paramctl.arrays import Array
from paramctl.errors import OutputError, ParamctlError
from paramctl.init.streams import RECIPE
from paramctl.parameter import Parameter
from paramctl.slices import everything
from paramctl.source import Source
from paramctl.store import NPZ, format_of, safetensors, sharded
from paramctl.store.atomic import Temporary, check_target, remove, replacing, write_text
from paramctl.store.extents import Extent, as_bytes, in_parallel

MOST = 5_000_000_000
"""How many bytes of values a shard has at most in a folder, if nobody says otherwise: as transformers has it."""


def save_as(
    source: Source, path: str, force: bool = False, most: int | None = None, shifts: Shifts = None
) -> Iterator[Piece]:
    """Write a source; gives each piece as it is done, and must be exhausted.

    path: its suffix says the format; one that ends in a slash is a folder of safetensors. most: bytes of values in a
    shard. shifts: see measure. Raises OutputError; what was at the path before is then there still.
    """
    if path.endswith("/") or most is not None:
        yield from _sharded(source, path, most or MOST, force)
    elif format_of(path) is NPZ:
        yield from _in_order(source, path, force, shifts)
    else:
        yield from save(source, path, force, shifts)


def _in_order(source: Source, path: str, force: bool, shifts: Shifts) -> Iterator[Piece]:
    """A format whose parts come one after the other; the pieces are given when all is written."""
    done: list[Piece] = []

    def values(name: str) -> Iterator[Array]:
        for piece in source.gather(name, everything(source.model.parameters[name].shape)):
            done.append(measure(name, piece, shifts if name not in source.model.tied else None))
            yield piece

    with replacing(path, force) as temporary:
        try:
            with temporary.open() as file:
                NPZ.load().write_model(file, source.model, source.notes, RECIPE, values)
        except OSError as error:
            raise (error if isinstance(error, ParamctlError) else temporary.trouble(error)) from error
        yield from done


def _sharded(source: Source, path: str, most: int, force: bool) -> Iterator[Piece]:
    """Safetensors files of at most ``most`` bytes of values each, beside an index, which comes last.

    What the index that is there now names stays as it is until the new one has taken its place, and goes then.
    """
    folder, stem = _set_of(path)
    shards = sharded.plan(source.model, most)
    index = os.path.join(folder, f"{stem}.safetensors.index.json")
    old = sharded.files_of(index)
    if old and not force:
        check_target(index, force)
    names = sharded.names(folder, stem, len(shards), old)
    metadata = {"format": "pt"} if len(shards) > 1 else safetensors.metadata_of(source.model, source.notes, RECIPE)
    for name, shard in zip(names, shards, strict=True):
        with replacing(os.path.join(folder, name), force) as temporary:
            data, extents = safetensors.header_of(shard, metadata)
            temporary.reserve(len(data) + sum(each.bytes for each in shard))
            temporary.write(data, 0)
            yield from _written(source, shard, temporary, extents)
    if len(shards) > 1:
        write_text(index, sharded.index_of(source.model, source.notes, RECIPE, shards, names), True)
    elif old:
        remove([index])
    remove([os.path.join(folder, name) for name in old if name not in names])


def _set_of(path: str) -> tuple[str, str]:
    """The folder that a set of files is in, and what their names begin with. Raises OutputError."""
    if path.endswith("/"):
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror or error}", error.errno) from error
        return path, "model"
    if not path.endswith(".safetensors"):
        raise OutputError(f"{path}: only safetensors are cut into shards, NAME.safetensors or FOLDER/")
    return os.path.dirname(path), os.path.basename(path).removesuffix(".safetensors")


class Piece(NamedTuple):
    """A piece of an array that has been written: its bytes, and, if measured, its sums about the ``shift``."""

    path: str
    size: int
    bytes: int
    total: float = 0.0
    squares: float = 0.0


Shifts = Mapping[str, float] | None


def save(
    source: Source, path: str, force: bool = False, shifts: Shifts = None, threads: int | None = None
) -> Iterator[Piece]:
    """Write a source to a file, whose suffix says the format; gives each piece as it is done, and must be exhausted.

    shifts: if given, each piece is measured, about the value for its path. Raises OutputError; what was at the
    path before is then there still.
    """
    format_ = format_of(path)
    with replacing(path, force) as temporary:
        like = source.checkpoint.file if source.checkpoint and not source.model.stored else None
        extents = format_.load().create(temporary, source.model, source.notes, RECIPE, like)
        yield from _written(source, source.model.owners(), temporary, extents, shifts, threads)


def _written(
    source: Source,
    owners: Iterable[Parameter],
    temporary: Temporary,
    extents: Mapping[str, Extent],
    shifts: Shifts = None,
    threads: int | None = None,
) -> Iterator[Piece]:
    """Write the values of arrays into their extents, in parallel."""

    def work(job: tuple[str, int, int]) -> Piece:
        values, extent = source.values(*job), extents[job[0]]
        temporary.write(as_bytes(values), extent.offset + job[1] * extent.dtype.itemsize)
        return measure(job[0], values, shifts)

    yield from in_parallel(work, (piece for owner in owners for piece in source.pieces(owner)), threads)


def stream(source: Source) -> Iterator[bytes | memoryview]:
    """A source as a safetensors file, in order."""
    data, _ = safetensors.header(source.model, source.notes, RECIPE)
    yield data
    jobs = (piece for owner in source.model.owners() for piece in source.pieces(owner))
    yield from in_parallel(lambda job: as_bytes(source.values(*job)), jobs)


def measure(path: str, values: Array, shifts: Shifts) -> Piece:
    """What is measured of a piece: sums about a shift near the mean, so that they lose nothing."""
    if shifts is None or not values.size or values.dtype.kind not in "fV":
        return Piece(path, values.size, values.nbytes)
    numbers = values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)
    if shift := shifts.get(path, 0.0):
        numbers = numbers - numbers.dtype.type(shift)
    return Piece(path, values.size, values.nbytes, float(numbers.sum()), float(np.dot(numbers, numbers)))


class Moments:
    """The mean and the deviation of arrays, from the pieces that were measured."""

    def __init__(self, shifts: Mapping[str, float]) -> None:
        self.shifts = shifts
        self.sums: dict[str, tuple[int, float, float]] = {}

    def add(self, piece: Piece) -> None:
        size, total, squares = self.sums.get(piece.path, (0, 0.0, 0.0))
        self.sums[piece.path] = size + piece.size, total + piece.total, squares + piece.squares

    def of(self, path: str) -> tuple[float, float] | None:
        """(mean, deviation) of an array; None if nothing of it was measured."""
        size, total, squares = self.sums.get(path, (0, 0.0, 0.0))
        if not size:
            return None
        mean = total / size
        if not isfinite(total) or not isfinite(squares):
            return None
        return self.shifts.get(path, 0.0) + mean, sqrt(max(squares / size - mean**2, 0.0))
