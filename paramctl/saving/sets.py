"""Sets of files with an index, which is written last: until then the set that is there stays usable."""

from __future__ import annotations

import os
from collections.abc import Iterator

from paramctl.errors import OutputError
from paramctl.init.streams import RECIPE
from paramctl.model import KerasLayout
from paramctl.saving.pieces import Piece, written
from paramctl.source import Source
from paramctl.store import KERAS_WEIGHTS, safetensors, sharded
from paramctl.store.atomic import check_target, remove, replacing, write_text
from paramctl.store.keras import shards as keras

MOST = 5_000_000_000
"""How many bytes of values a shard has at most in a folder, if nobody says otherwise: as transformers has it."""


def safetensors_set(source: Source, path: str, most: int, force: bool) -> Iterator[Piece]:
    """Safetensors files of at most ``most`` bytes of values each, beside an index, which comes last.

    What the index that is there now names stays as it is until the new one has taken its place, and goes then.
    """
    folder, stem = _set_of(path)
    shards = sharded.plan(source.model, most)
    index = os.path.join(folder, f"{stem}.safetensors.index.json")
    old = _replaced(index, force)
    names = sharded.names(folder, stem, len(shards), old)
    metadata = {"format": "pt"} if len(shards) > 1 else safetensors.metadata_of(source.model, source.notes, RECIPE)
    for name, shard in zip(names, shards, strict=True):
        with replacing(os.path.join(folder, name), force) as temporary:
            data, extents = safetensors.header_of(shard, metadata)
            temporary.reserve(len(data) + sum(each.bytes for each in shard))
            temporary.write(data, 0)
            yield from written(source, shard, temporary, extents)
    if len(shards) > 1:
        write_text(index, sharded.index_of(source.model, source.notes, RECIPE, shards, names), True)
    elif old:
        remove([index])
    _remove(folder, old, names)


def keras_set(source: Source, path: str, most: int, force: bool) -> Iterator[Piece]:
    """The same of Keras' weights: ``NAME.weights.json`` and the HDF5 files that it names."""
    weights = KERAS_WEIGHTS.load()
    layout = weights.layout_of(source.model, path)
    old = _replaced(path, force)
    folder, stem = os.path.dirname(path), os.path.basename(path).removesuffix(keras.SUFFIX)
    shards = keras.plan(source.model, layout, most)
    names = keras.names(stem, len(shards), old)
    for name, shard in zip(names, shards, strict=True):
        with replacing(os.path.join(folder, name), force) as temporary:
            extents = weights.lay_out(temporary, source.model, shard)
            yield from written(source, source.model.parameters.values(), temporary, extents)
    write_text(path, keras.index_of(source.model, shards, names), force)
    first = os.path.basename(keras.first(path))
    if first not in names:
        with replacing(os.path.join(folder, first), True) as temporary:
            weights.lay_out(temporary, source.model, KerasLayout({}, {}))
    _remove(folder, old, [*names, first])


def _replaced(index: str, force: bool) -> list[str]:
    """The files of the set that is there now, which an index names. Raises OutputError unless it may be replaced."""
    old = sharded.files_of(index)
    if old and not force:
        check_target(index, force)
    return old


def _remove(folder: str, old: list[str], kept: list[str]) -> None:
    remove([os.path.join(folder, name) for name in old if name not in kept])


def _set_of(path: str) -> tuple[str, str]:
    """The folder that a set of files is in, and what their names begin with. Raises OutputError."""
    if path.endswith("/"):
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror or error}", error.errno) from error
        return path, "model"
    return os.path.dirname(path), os.path.basename(path).removesuffix(".safetensors")
