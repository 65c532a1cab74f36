"""Keras' files as formats: the archive ``.keras``, ``.weights.h5``, and sets of these with an index."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from paramctl.store.format import Format
from paramctl.store.keras import ARCHIVE_NAME, CONFIG, METADATA, NPZ_WEIGHTS, SHARDS_NAME, WEIGHTS, WEIGHTS_NAME
from paramctl.store.location import Location
from paramctl.store.npz.format import ZIP_SIGNATURES

if TYPE_CHECKING:
    from paramctl.store.checkpoint import Checkpoint
    from paramctl.store.contents import Contents, MetadataItem
    from paramctl.store.io.new_index import NewIndex
    from paramctl.store.io.write_values import WriteOptions, Written
    from paramctl.store.sums.stored_array import StoredArray

INDEX_START = 1 << 20
KERAS_INDEX = re.compile(rb'"weight_map"\s*:\s*\{\s*"/')


class KerasArchive(Format):
    """A zip of metadata, configuration and weights."""

    name = ARCHIVE_NAME
    suffixes = (".keras",)
    carries = frozenset({"optimizer", "other_content"})
    transposed_ties = False
    frame = "the archive: a member other than the weights, their names, or the zip structure"

    def matches(self, location: Location) -> bool:
        if location.read(0, 4) not in ZIP_SIGNATURES:
            return False
        from paramctl.store.io.zips import member_names  # zipfile is slow to import

        names = member_names(location)
        return CONFIG in names and not names.isdisjoint({WEIGHTS, NPZ_WEIGHTS, METADATA})

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.keras import archive

        return archive.read(location)

    def stored_arrays(self, location: Location) -> Sequence[StoredArray] | None:
        from paramctl.store.keras import archive

        return archive.stored_arrays(location)

    def read_metadata(self, location: Location) -> Iterator[MetadataItem]:
        from paramctl.store.keras import archive

        return archive.read_metadata(location)

    def write(self, path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
        from paramctl.store.keras import archive

        return archive.write(path, contents, options)


class KerasWeights(Format):
    """Keras 3 weights: written here. They are read as a dialect of HDF5, for only their parsed content shows it."""

    name = WEIGHTS_NAME
    suffixes = (".weights.h5",)
    carries = frozenset({"optimizer"})
    transposed_ties = False
    records_trainable = False
    frame = "the names, the attributes, or the structure of the file"

    def matches(self, location: Location) -> bool:
        return False

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.hdf5 import files
        from paramctl.store.keras.dialect import DIALECT

        return files.read(location, dialects=[DIALECT])

    def stored_arrays(self, location: Location) -> Sequence[StoredArray]:
        from paramctl.store.hdf5 import files

        return files.stored_arrays(location)

    def read_metadata(self, location: Location) -> Iterator[MetadataItem]:
        from paramctl.store.hdf5 import metadata

        return metadata.read_metadata(location)

    def write(self, path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
        from paramctl.store.keras import weights_file

        return weights_file.write(path, contents, options)


class KerasShards(Format):
    """A set of Keras 3 weights, and an index that names the files of each group of variables."""

    name = SHARDS_NAME
    suffixes = (".weights.json",)
    shardable = True
    transposed_ties = False
    records_trainable = False
    frame = "the index"

    def matches(self, location: Location) -> bool:
        return location.read(0, 1) == b"{" and KERAS_INDEX.search(location.read(0, INDEX_START)) is not None

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.keras import shards

        return shards.read(location)

    def stored_arrays(self, location: Location) -> Sequence[StoredArray]:
        return ()

    def set_files(self, location: Location) -> Sequence[str]:
        from paramctl.store.io.shard_index import read_index

        return read_index(location).files

    def unlisted_file(self, location: Location) -> str | None:
        from paramctl.store.keras.shards import first_file

        first = first_file(location.name)
        return None if first in self.set_files(location) else first

    def read_metadata(self, location: Location) -> Iterator[MetadataItem]:
        from paramctl.store.contents import MetadataItem
        from paramctl.store.io.shard_index import read_index
        from paramctl.store.metadata import sums_item
        from paramctl.store.sums import KEY as SUMS

        metadata = read_index(location).metadata
        yield from sums_item(metadata)
        yield from (MetadataItem("", key, value) for key, value in metadata.items() if key != SUMS)

    def rebuild_index(self, path: str) -> NewIndex | None:
        from paramctl.store.keras import shards

        return shards.rebuild(path)

    def write(self, path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
        from paramctl.store.keras import shards

        return shards.write(path, contents, options)

    def planned_files(self, path: str, contents: Contents, options: WriteOptions) -> Mapping[str, int]:
        from paramctl.store.keras import shards

        return shards.planned_files(path, contents, options)
