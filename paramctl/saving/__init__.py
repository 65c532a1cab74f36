"""Saving: a source into a file, or a set of files, of whichever format a path asks for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress

from paramctl.core.dtypes import Array
from paramctl.core.indexing import select_all
from paramctl.errors import OutputError, ParamctlError
from paramctl.init.engines.native import RECIPE
from paramctl.parallel import in_parallel
from paramctl.saving.pieces import Piece, SampleMoments, Shifts, measure, written
from paramctl.saving.sets import MOST, keras_set, safetensors_set, takes_the_place_of_a_set
from paramctl.source.base import Source
from paramctl.store import KERAS, KERAS_SHARDS, KERAS_WEIGHTS, NPZ, SAFETENSORS, check_sums, format_of
from paramctl.store.io.atomic import replacing, scratch
from paramctl.store.io.extents import as_bytes
from paramctl.store.safetensors import format as safetensors

__all__ = ["Piece", "SampleMoments", "not_copied", "save", "save_as", "stream"]


def save_as(
    source: Source, path: str, force: bool = False, most: int | None = None, shifts: Shifts = None
) -> Iterator[Piece]:
    """Write a source; gives each piece as it is done, and must be exhausted.

    path: its suffix says the format; one that ends in a slash is a folder of safetensors. most: bytes of values in a
    shard. shifts: see measure. Raises OutputError; what was at the path before is then there still.
    """
    if source.checkpoint is not None:
        check_sums(source.checkpoint.file)
    if path.endswith("/"):
        yield from safetensors_set(source, path, most or MOST, force, shifts)
        return
    format_ = format_of(path)
    if format_ is KERAS_SHARDS:
        yield from keras_set(source, path, most or MOST, force)
    elif most is not None:
        if format_ is not SAFETENSORS:
            raise OutputError(f"{path}: what is cut into shards is NAME.safetensors, NAME.weights.json or FOLDER/")
        yield from safetensors_set(source, path, most, force, shifts)
    elif format_ is SAFETENSORS and takes_the_place_of_a_set(path):
        yield from safetensors_set(source, path, sys.maxsize, force, shifts)
    elif format_ is NPZ:
        yield from _in_order(source, path, force, shifts)
    elif format_ is KERAS:
        yield from _archived(source, path, force, shifts)
    else:
        yield from save(source, path, force, shifts)


def save(
    source: Source, path: str, force: bool = False, shifts: Shifts = None, threads: int | None = None
) -> Iterator[Piece]:
    """Write a source to a file, whose suffix says the format; gives each piece as it is done, and must be exhausted.

    shifts: if given, each piece is measured, about the value for its path. Raises OutputError; what was at the
    path before is then there still.
    """
    module = format_of(path).load()
    with replacing(path, force) as temporary:
        extents = module.create(temporary, source.model, source.notes, RECIPE, source.checkpoint)
        yield from written(source, source.model.parameters.values(), temporary, extents, shifts, threads)


def _in_order(source: Source, path: str, force: bool, shifts: Shifts) -> Iterator[Piece]:
    """A format whose parts come one after the other; the pieces are given when all is written."""
    npz = NPZ.load()
    done: list[Piece] = []

    def values(name: str) -> Iterator[Array]:
        for piece in source.gather(name, select_all(source.model.parameters[name].shape)):
            done.append(measure(name, piece, shifts if name not in source.model.tied else None))
            yield piece

    with replacing(path, force) as temporary:
        try:
            with temporary.open() as file:
                npz.write_model(file, source.model, source.notes, RECIPE, values)
        except OSError as error:
            raise (error if isinstance(error, ParamctlError) else temporary.trouble(error)) from error
        yield from done


def _archived(source: Source, path: str, force: bool, shifts: Shifts) -> Iterator[Piece]:
    """Keras' archive, whose weights are a file that is written first, and then moved into it."""
    archive = KERAS.load()
    with replacing(path, force) as temporary:
        layout, config = archive.configuration(source.model, path)
        with scratch(path) as inner:
            beside = source.checkpoint.beside(source.model) if source.checkpoint else None
            extents = archive.lay_out(inner, source.model, layout, beside)
            yield from written(source, source.model.parameters.values(), inner, extents, shifts)
            like = source.checkpoint.file if source.checkpoint and source.model.keras else None
            try:
                with temporary.open() as file, open(inner.address, "rb") as weights:
                    archive.write(file, weights, config, like)
            except OSError as error:
                raise (error if isinstance(error, ParamctlError) else temporary.trouble(error)) from error


def not_copied(source: Source, path: str) -> list[str]:
    """What the file holds that a source comes from, and does not go along into this one, in words."""
    checkpoint = source.checkpoint
    if checkpoint is None:
        return []
    format_, lost = None, []
    with suppress(OutputError):  # a folder, or an index, of a set that is none of Keras' own
        format_ = format_of(path)
    if checkpoint.apart and not (format_ in (KERAS, KERAS_WEIGHTS) and checkpoint.beside(source.model)):
        lost.append(checkpoint.apart.words)
    if checkpoint.more and not (format_ is KERAS and source.model.keras):
        first, *others = checkpoint.more
        lost.append(first + (f" and {len(others):,} more" if others else ""))
    return lost


def stream(source: Source) -> Iterator[bytes | memoryview]:
    """A source as a safetensors file, in order."""
    if source.checkpoint is not None:
        check_sums(source.checkpoint.file)
    data, _ = safetensors.header(source.model, source.notes, RECIPE)
    yield data
    jobs = (piece for owner in source.model.owners() for piece in source.pieces(owner))
    yield from in_parallel(lambda job: as_bytes(source.read(*job)), jobs)
