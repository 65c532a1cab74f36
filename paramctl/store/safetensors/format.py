"""safetensors as formats: one file, and a set of files with an index.

https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from paramctl.store.format import Format
from paramctl.store.location import Location
from paramctl.store.safetensors import KEYS, NAME, SHARDS_NAME, has_header

if TYPE_CHECKING:
    from paramctl.model import Model
    from paramctl.store.checkpoint import Checkpoint
    from paramctl.store.contents import Contents, MetadataItem
    from paramctl.store.io.atomic import Temporary
    from paramctl.store.io.new_index import NewIndex
    from paramctl.store.io.write_values import WriteOptions, Written
    from paramctl.store.sums.stored_array import StoredArray

INDEX_START = 1 << 20
HUGGING_FACE_INDEX = re.compile(rb'"weight_map"\s*:(?!\s*\{\s*"/)')
"""Keras' index has the same form, but the names of its groups begin with a slash."""


class _HasHeader(Format):
    """Files with safetensors' header. A header names each array, and a set's index names them all again."""

    shardable = True
    packed = True
    carries = frozenset({"metadata"})
    edits_metadata = True

    def check_names(self, model: Model, target: str) -> None:
        from paramctl.store.safetensors.names import check_names

        check_names(model.parameters, model.tied, target)

    def planned_files(self, path: str, contents: Contents, options: WriteOptions) -> Mapping[str, int]:
        from paramctl.store.safetensors import shards

        if options.max_shard_size is None and not path.endswith("/") and not shards.replaces_set(path):
            return super().planned_files(path, contents, options)
        return shards.planned_files(path, contents, options)

    def check_target(self, path: str, force: bool) -> None:
        from paramctl.store.safetensors import shards

        shards.check_target(path, force)


class Safetensors(_HasHeader):
    """A header of JSON, then the values."""

    name = NAME
    suffixes = (".safetensors",)
    file_keys = frozenset(KEYS)
    frame = "the header: names, shapes, or metadata"

    def matches(self, location: Location) -> bool:
        return has_header(location)

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.safetensors import files

        return files.read(location)

    def write(self, path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
        from paramctl.store.safetensors import files, shards

        if options.max_shard_size is not None or shards.replaces_set(path):
            return shards.write(path, contents, options)
        return files.write(path, contents, options)

    def stored_arrays(self, location: Location) -> Sequence[StoredArray]:
        from paramctl.store.safetensors import files

        return files.stored_arrays(location)

    def read_metadata(self, location: Location) -> Iterator[MetadataItem]:
        from paramctl.store.safetensors import metadata

        return metadata.read_record(location)

    def change_metadata(self, temporary: Temporary, location: Location, changes: Mapping[str, str | None]) -> None:
        from paramctl.store.safetensors import metadata

        metadata.change(temporary, location, changes)

    def written_name(self, path: str) -> str:
        from paramctl.store.safetensors import shards

        return shards.index_of(path) if shards.replaces_set(path) else path

    def clear_provenance(self, temporary: Temporary, paths: Sequence[str]) -> None:
        from paramctl.store.safetensors import files

        files.clear_provenance(temporary, paths)


class SafetensorsShards(_HasHeader):
    """A set of safetensors files, and ``model.safetensors.index.json``, which names the file of each array."""

    name = SHARDS_NAME
    suffixes = ("/",)
    read_suffixes = (".safetensors.index.json",)
    file_keys = frozenset(KEYS)
    frame = "the index"

    def matches(self, location: Location) -> bool:
        return location.read(0, 1) == b"{" and HUGGING_FACE_INDEX.search(location.read(0, INDEX_START)) is not None

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.safetensors import shards

        return shards.read(location)

    def stored_arrays(self, location: Location) -> Sequence[StoredArray]:
        return ()

    def set_files(self, location: Location) -> Sequence[str]:
        from paramctl.store.io.shard_index import read_index

        return read_index(location).files

    def read_metadata(self, location: Location) -> Iterator[MetadataItem]:
        from paramctl.store.safetensors import metadata

        return metadata.read_index_record(location)

    def change_metadata(self, temporary: Temporary, location: Location, changes: Mapping[str, str | None]) -> None:
        from paramctl.store.safetensors import metadata

        metadata.change_index(temporary, location, changes)

    def rebuild_index(self, path: str) -> NewIndex | None:
        from paramctl.store.safetensors import shards

        return shards.rebuild(path)

    def write(self, path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
        from paramctl.store.safetensors import shards

        return shards.write(path, contents, options)
