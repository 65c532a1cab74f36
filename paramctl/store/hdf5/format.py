"""HDF5 as a format: paramctl's own files, Keras' files, and any other that holds arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from paramctl.store.format import Format
from paramctl.store.hdf5 import NAME, user_block
from paramctl.store.location import Location

if TYPE_CHECKING:
    from paramctl.model import Model
    from paramctl.store.checkpoint import Checkpoint
    from paramctl.store.contents import Contents, MetadataItem
    from paramctl.store.io.atomic import Temporary
    from paramctl.store.io.write_values import WriteOptions, Written
    from paramctl.store.sums.stored_array import StoredArray


class Hdf5(Format):
    """One HDF5 file. The frameworks' layouts of it are dialects, which the registry hands in."""

    name = NAME
    suffixes = (".h5", ".hdf5")
    carries = frozenset({"skipped"})
    edits_metadata = True
    frame = "the names, the attributes, or the structure of the file"

    def __init__(self, dialects: Sequence[str] = ()) -> None:
        self.dialects = dialects
        """The modules of the dialects, each with an object ``DIALECT``."""

    def matches(self, location: Location) -> bool:
        return user_block(location) is not None

    def warm_up(self) -> None:
        """Start the process that lays out files, while the model is being read."""
        from paramctl.store.hdf5.client import warm_up

        warm_up()

    def read(self, location: Location) -> Checkpoint:
        from importlib import import_module

        from paramctl.store.hdf5.metadata_reader.parsed_file import parse_file

        parsed = parse_file(location)
        if not parsed.is_known:
            self.warm_up()  # the worker starts while this process imports NumPy
        from paramctl.store.hdf5 import files

        dialects = [import_module(name).DIALECT for name in self.dialects]
        return files.read(location, dialects=dialects, parsed=parsed)

    def stored_arrays(self, location: Location) -> Sequence[StoredArray]:
        from paramctl.store.hdf5 import files

        return files.stored_arrays(location)

    def read_metadata(self, location: Location) -> Iterator[MetadataItem]:
        from paramctl.store.hdf5 import metadata

        return metadata.read_metadata(location)

    def change_metadata(self, temporary: Temporary, location: Location, changes: Mapping[str, str | None]) -> None:
        from paramctl.store.hdf5 import metadata

        metadata.change(temporary, location, changes)

    def check_names(self, model: Model, target: str) -> None:
        from paramctl.store.hdf5.names import check_paths

        check_paths(list(model.parameters), target)

    def write(self, path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
        from paramctl.store.hdf5 import files

        return files.write(path, contents, options)

    def clear_provenance(self, temporary: Temporary, paths: Sequence[str]) -> None:
        from paramctl.store.hdf5 import files

        files.clear_provenance(temporary, paths)
