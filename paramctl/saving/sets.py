"""Sets of files with an index, which is written last: until then the set that is there stays usable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from paramctl.errors import OutputError
from paramctl.init.engines.native import RECIPE
from paramctl.model import KerasLayout
from paramctl.saving.pieces import Piece, Shifts, written
from paramctl.source.base import Source
from paramctl.store import KERAS_WEIGHTS
from paramctl.store.io.atomic import check_target, locked, mode_for, remove, replacing, sync_folder, write_text
from paramctl.store.io.file_set import named_in, pending_files, sweep
from paramctl.store.io.shards import ShardNames, plan
from paramctl.store.keras import shards as keras
from paramctl.store.safetensors import format as safetensors
from paramctl.store.safetensors import sharded

MOST = 5_000_000_000
"""How many bytes of values a shard has at most in a folder, if nobody says otherwise: as transformers has it."""


@dataclass(frozen=True)
class SetTarget:
    """Where a set is: its folder, what its files' names begin with, and its index.

    alone: the file that some readers open whatever the index says.
    """

    folder: str
    stem: str
    index: str
    alone: str
    names: ShardNames

    def check(self, force: bool) -> None:
        """Raise OutputError unless what is there, a set or a single file, may be replaced."""
        check_target(self.alone, force)
        check_target(self.index, force)

    def replaced(self) -> list[str]:
        """The files of the set that is there now: those that it can have written, and that no other index names."""
        try:
            told = sharded.named(self.index) - named_in(self.folder, but=os.path.basename(self.index))
        except (OSError, ValueError):
            return []
        return sorted(name for name in told if self.names.has(self.stem, name))


def safetensors_set(source: Source, path: str, most: int, force: bool, shifts: Shifts = None) -> Iterator[Piece]:
    """Safetensors files of at most ``most`` bytes of values each, beside an index; without one if there is one file.

    What the index that is there now names stays as it is until the new one has taken its place, and goes then.
    shifts: see measure.
    """
    place = _safetensors(path)
    sweep(place.folder)
    place.check(force)
    shards = plan(source.model.owners(), most)
    if len(shards) == 1:
        yield from _one(source, place, force, shifts)
        return
    with pending_files(place.folder, path) as files:
        for shard in shards:
            with files.another(mode_for(place.index)) as temporary:
                data, extents = safetensors.header_of(shard, {"format": "pt"})
                temporary.reserve(len(data) + sum(each.bytes for each in shard))
                temporary.write(data, 0)
                yield from written(source, shard, temporary, extents, shifts)
        with locked(place.folder):
            place.check(force)
            old = place.replaced()
            names = files.publish(place.names, place.stem)
            write_text(place.index, sharded.index_of(source.model, source.notes, RECIPE, shards, names), force)
            files.take([*old, os.path.basename(place.alone)] if force else [])


def _one(source: Source, place: SetTarget, force: bool, shifts: Shifts) -> Iterator[Piece]:
    """A single file in the place of a set, or of another single file."""
    with ExitStack() as held:
        with replacing(place.alone, force) as temporary:
            extents = safetensors.create(temporary, source.model, source.notes, RECIPE, source.checkpoint)
            yield from written(source, source.model.parameters.values(), temporary, extents, shifts)
            held.enter_context(locked(place.folder))
            place.check(force)
            old = place.replaced()
        try:
            if os.path.lexists(place.index):
                os.unlink(place.index)
                sync_folder(place.folder)
        except OSError as error:
            raise OutputError(f"{place.index}: {error.strerror or error}", error.errno) from error
        remove(os.path.join(place.folder, name) for name in old)


def keras_set(source: Source, path: str, most: int, force: bool) -> Iterator[Piece]:
    """The same of Keras' weights: ``NAME.weights.json`` and the HDF5 files that it names."""
    place = _keras(path)
    first = os.path.basename(place.alone)
    sweep(place.folder)
    place.check(force)
    weights = KERAS_WEIGHTS.load()
    shards = keras.plan(source.model, weights.layout_of(source.model, path), most)
    with pending_files(place.folder, path) as files:
        for shard in shards:
            with files.another(mode_for(path)) as temporary:
                extents = weights.lay_out(temporary, source.model, shard)
                yield from written(source, source.model.parameters.values(), temporary, extents)
        with locked(place.folder):
            place.check(force)
            old = place.replaced()
            names = files.publish(place.names, place.stem)
            write_text(path, keras.index_of(source.model, shards, names), force)
            if first not in names:
                with replacing(place.alone, True) as temporary:
                    weights.lay_out(temporary, source.model, KerasLayout({}, {}))
            files.take(name for name in old if name != first)


def takes_the_place_of_a_set(path: str) -> bool:
    """Whether a safetensors file of this name is none yet, and an index is there for it."""
    return not os.path.lexists(path) and os.path.lexists(_safetensors(path).index)


def _safetensors(path: str) -> SetTarget:
    """The place of safetensors files, in a folder or of a name. Raises OutputError."""
    folder, stem, alone = os.path.dirname(path) or ".", os.path.basename(path)[: -len(".safetensors")], path
    if path.endswith("/"):
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror or error}", error.errno) from error
        folder, stem, alone = path, "model", os.path.join(path, "model.safetensors")
    index = os.path.join(os.path.dirname(alone), f"{stem}.safetensors{sharded.INDEX}")
    return SetTarget(folder, stem, index, alone, sharded.NAMES)


def _keras(path: str) -> SetTarget:
    """The place of Keras' files. Raises OutputError if another set has the file that Keras opens first."""
    folder, stem = os.path.dirname(path) or ".", os.path.basename(path)[: -len(keras.SUFFIX)]
    (first,) = keras.NAMES.of(stem, 1, 1)
    others: set[str] = set()
    with suppress(OSError, ValueError):
        others = named_in(folder, but=os.path.basename(path))
    if first in others:
        raise OutputError(f"{path}: it needs {first}, and another set has that")
    return SetTarget(folder, stem, path, os.path.join(os.path.dirname(path), first), keras.NAMES)
