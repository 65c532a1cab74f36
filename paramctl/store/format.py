"""Format: the protocol of a file format. Code outside a format's package uses only what the protocol declares."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from paramctl.errors import OutputError
from paramctl.store.location import Location
from paramctl.store.names import check_unicode

if TYPE_CHECKING:
    from paramctl.model import Model
    from paramctl.store.checkpoint import Checkpoint
    from paramctl.store.contents import Contents, MetadataItem
    from paramctl.store.io.atomic import Temporary
    from paramctl.store.io.new_index import NewIndex
    from paramctl.store.io.write_values import WriteOptions, Written
    from paramctl.store.sums.stored_array import StoredArray


class Format(Protocol):
    """A file format. Its object imports nothing heavy: ``read`` and ``write`` import the code that does the work.

    suffixes: the suffixes of file names that select this format for writing.
    read_suffixes: further suffixes of files that have this format.
    unnamed: True if a file holds a single array, without its name.
    shardable: True if ``write`` can write a set of files.
    packed: True if a file can hold dtypes in PACKED_BITS.
    transposed_ties: True if a file can record that an array is the transpose of another. Otherwise it has a copy.
    file_keys: the keys of metadata that describe a file of this format itself, which no other file needs.
    records_trainable: True if a file records which of its arrays are trainable, as ``freeze`` sets it.
    carries: the parts of an Origin that a file of this format carries over: "optimizer", "other_content",
        "skipped" with "attributes", "metadata".
    edits_metadata: True if ``change_metadata`` works.
    frame: everything in a file that is not a value of an array, in words.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    read_suffixes: ClassVar[tuple[str, ...]] = ()
    unnamed: ClassVar[bool] = False
    shardable: ClassVar[bool] = False
    packed: ClassVar[bool] = False
    file_keys: ClassVar[frozenset[str]] = frozenset()
    carries: ClassVar[frozenset[str]] = frozenset()
    edits_metadata: ClassVar[bool] = False
    frame: ClassVar[str] = "the header"
    transposed_ties: ClassVar[bool] = True
    records_trainable: ClassVar[bool] = True

    @property
    def writable(self) -> bool:
        """True if files of this format are written: those whose names select it."""
        return bool(self.suffixes)

    @abstractmethod
    def matches(self, location: Location) -> bool:
        """Return whether a file has this format, by its content, never by its name."""

    @abstractmethod
    def read(self, location: Location) -> Checkpoint:
        """Read the header of a file; values are read on demand. Raises InputError if it is damaged."""

    def check_names(self, model: Model, target: str) -> None:
        """Raise OutputError for a name that a file of this format cannot hold, or that its readers mistake.

        Keras' files have names of their own, which are checked when a file is laid out.
        """
        check_unicode(model.parameters, target)

    def write(self, path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
        """Write a file, or a set of files, atomically, and yield each piece when it is written.

        Raises OutputError, and then leaves an existing file at the path unchanged. A format that is only read has no
        suffix for writing, so that this is not called.
        """
        raise OutputError(f"{path}: {self.name} is only read")

    def check_target(self, path: str, force: bool) -> None:
        """Raise OutputError, before any work, for a target that exists (unless ``force``) or cannot be a file."""
        from paramctl.store.io.atomic import check_target

        check_target(path, force)

    def planned_files(self, path: str, contents: Contents, options: WriteOptions) -> Mapping[str, int]:
        """Return the files that ``write`` would write, without an index: the bytes of their values, by path."""
        return {path: sum(owner.bytes for owner in contents.model.owners())}

    def written_name(self, path: str) -> str:
        """Return the file to open after a write to a path: the path, or the index of a set."""
        return path

    def read_metadata(self, location: Location) -> Iterator[MetadataItem]:
        """Yield the metadata of a file, except for that in ``Origin.metadata``. Raises InputError."""
        return iter(())

    def change_metadata(self, temporary: Temporary, location: Location, changes: Mapping[str, str | None]) -> None:
        """Write a copy of a file with other metadata, and the same arrays.

        changes: the new text of each key; None removes it. Raises OutputError for a key that cannot be changed.
        """
        raise OutputError(f"{temporary.target}: {self.name} has no metadata that can be changed")

    def stored_arrays(self, location: Location) -> Sequence[StoredArray] | None:
        """Return the places of the arrays' values in a file, each once; None if files of this format have no record.

        Every other byte of a file is under its seal. Raises InputError.
        """
        return None

    def set_files(self, location: Location) -> Sequence[str]:
        """Return the names of the files that an index names; none for a file with arrays. Raises InputError."""
        return ()

    def unlisted_file(self, location: Location) -> str | None:
        """Return the name of a file without arrays that belongs to a set, though its index does not name it.

        Raises InputError.
        """
        return None

    def opens_folder(self, names: Sequence[str]) -> str | None:
        """Return the path, in a folder of this format, of the file or folder to read; None for another format's.

        names: of the files and folders in it, sorted. Folders of safetensors or Keras files are not asked about.
        """
        return None

    def opens_path(self, path: str) -> str | None:
        """Return the file to open for a path that is the common prefix of a checkpoint's files, or one of its files.

        None for a path of another format, and for one that can be opened itself.
        """
        return None

    def rebuild_index(self, path: str) -> NewIndex | None:
        """Return a new index of the files of this format in a folder; None if it has none. Most formats have no index.

        path: the folder, or its index.
        """
        return None

    def warm_up(self) -> None:
        """Start a process that ``write`` will need, while the model is being read. Most formats need none."""
        return


class Patchable(Protocol):
    """A format whose files can be copied, and then changed in place at the extents of an Origin."""

    def clear_provenance(self, temporary: Temporary, paths: Sequence[str]) -> None:
        """Remove the recorded scheme and seed of these arrays from a file."""
