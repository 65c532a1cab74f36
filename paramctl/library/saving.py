"""save: weights or a model in a file, atomically."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike, fspath
from os.path import realpath
from typing import IO, Any, NamedTuple

from paramctl.conversion.exact.source import Exactly
from paramctl.edit.save_edited import rewrite_target, save_edited, with_kept_state
from paramctl.errors import OutputError
from paramctl.inspect.combined import count_nonfinite
from paramctl.inspect.measured import sums_about
from paramctl.inspect.plan import shifts
from paramctl.library.arguments import whole
from paramctl.library.converting import convert
from paramctl.library.opening import Openable, openable
from paramctl.model import Model
from paramctl.parallel import Progress
from paramctl.source.arranged import Arranged
from paramctl.source.base import Source
from paramctl.source.combined import Combined
from paramctl.source.drawn import Drawn
from paramctl.source.edited import Edited
from paramctl.source.merged import Merged
from paramctl.source.rehearse import rehearse
from paramctl.source.save import check_complete, write_stream
from paramctl.source.save import save as save_source
from paramctl.store.folder import replaces, resolve_folder
from paramctl.store.io.atomic import changed
from paramctl.store.io.write_values import WriteOptions
from paramctl.store.location import LocalFile
from paramctl.store.urls import check_local


def save(
    weights: Openable,
    path: str | PathLike[str] | IO[bytes],
    *,
    force: bool = False,
    in_place: bool = False,
    max_shard_size: int | None = None,
    select: str | Sequence[str] = (),
    drop: str | Sequence[str] = (),
    trainable: bool | None = None,
    kind: str | None = None,
    min_size: int | None = None,
    layout: str | None = None,
    like: Openable | None = None,
    partial: str | Sequence[str] = (),
    rename: Mapping[str, str] | Sequence[str] = (),
    seed: int | None = None,
    dtype: str | Sequence[str] = (),
    allow: str | Sequence[str] = (),
    state: bool = False,
    measure: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> list[Any]:
    """Write weights, or a model with values from its initializers, to a file.

    path: its suffix names the format: .h5, .safetensors, .npz, .keras, .weights.h5, .weights.json, or ``/`` for a
        folder of safetensors. To an open file, the bytes of a safetensors file are written.
    force: replace an existing file.
    in_place: the path is the file that the weights come from. Where only values change, all other bytes stay.
    max_shard_size: of each file of a set, in bytes.
    select, drop, trainable, kind, min_size, layout, like, partial, rename, seed, dtype, allow, state: see convert.
    measure: return a report: the mean and standard deviation of the values that ``initialize`` generated, the
        changes that ``assign`` made, or the NaN and infinities in a combination of files.
    dry_run: check all that a save checks, values too, and write nothing. Returns a PlannedFile for each file.
    progress: called with the bytes done and in total.
    A file is replaced atomically: until the new one is complete and on disk, the old one stays.
    Returns the report of a conversion, or that of ``measure``. Raises OutputError.
    """
    max_shard_size = whole("max_shard_size", max_shard_size, 1)
    arrays = openable(weights)
    selection = {"select": select, "drop": drop, "trainable": trainable, "kind": kind, "min_size": min_size}
    conversion = {"layout": layout, "like": like, "partial": partial, "rename": rename, "dtype": dtype, "allow": allow}
    converts = any(value is not None and value != () for value in (*selection.values(), *conversion.values()))
    if isinstance(arrays, Model) or converts or state:
        arrays = convert(arrays, seed=seed, state=state, **selection, **conversion)  # type: ignore[arg-type]
    measured: Mapping[str, Any] = {}
    if dry_run:  # after the conversion, whose refusals are the same
        return _plan_files(arrays.source, path, WriteOptions(force or in_place, max_shard_size), progress)
    if isinstance(path, (str, PathLike)):
        options = WriteOptions(force or in_place, max_shard_size)
        if in_place:
            _check_in_place(arrays.source, fspath(path), max_shard_size)
        measured = _write_file(arrays.source, fspath(path), options, in_place, measure, progress)
    else:
        if in_place or max_shard_size is not None:
            raise OutputError("an open file can be written neither in place nor in shards")
        if not hasattr(path, "write"):
            raise TypeError(f"path must be a path or an open file (got {type(path).__name__})")
        write_stream(arrays.source, path, progress)
    return list(arrays.make_report(measured)) if converts or measure else []


class PlannedFile(NamedTuple):
    """A file that a save would write. bytes: of its values, without its header."""

    path: str
    bytes: int


def _plan_files(source: Source, path: Any, options: WriteOptions, progress: Progress | None) -> list[PlannedFile]:
    """Return the files that a save would write; none for an open file. Raises every error of the save."""
    name = fspath(path) if isinstance(path, (str, PathLike)) else None
    return [PlannedFile(*file) for file in rehearse(source, name, options, progress).items()]


def _check_in_place(source: Source, path: str, max_shard_size: int | None) -> None:
    """Raise OutputError unless a path is that of the local file that values come from."""
    check_local(path)
    location = source.origin.location
    if location is None or realpath(location.name) != realpath(resolve_folder(path)):
        raise OutputError(f"{path}: only the file that the weights come from can be changed in place")
    if max_shard_size is not None:
        raise OutputError(f"{path}: in place, the size of shards stays, so max_shard_size must be None")


def _check_unchanged(location: LocalFile) -> None:
    """Raise OutputError if a file has changed since its values were read."""
    if not location.is_unchanged():
        raise changed(location.name)


def _write_file(
    source: Source, path: str, options: WriteOptions, in_place: bool, measure: bool, progress: Progress | None
) -> Mapping[str, Any]:
    """Write a file, and return what was measured of each array."""
    for origin in (source.origin, *source.origin.others):
        location = origin.location
        if isinstance(location, LocalFile) and replaces(path, location.name):
            _check_unchanged(location)  # before the work, and again after it
            options = replace(options, confirm=partial(_check_unchanged, location))
    if isinstance(source, Edited):
        if not in_place:  # which adds no file that its readers refuse
            check_complete(source)
        return save_edited(source, path, options, in_place, progress)
    if in_place:
        path, options = rewrite_target(path, source, options)
    if measure and isinstance(source, (Drawn, Exactly)):
        options = replace(options, measure=sums_about(shifts(source.model, source.assigned)))
    elif measure and isinstance(source, Arranged):  # drawn in another layout
        options = replace(options, measure=sums_about({}))
    elif measure and isinstance(source, (Combined, Merged)):
        options = replace(options, measure=count_nonfinite)
    return save_source(with_kept_state(source) if in_place else source, path, options, progress)
