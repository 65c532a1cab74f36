"""The worker's list of an HDF5 file, turned into parameters, and the readers of their values."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypedDict

from paramctl.core.parameter import DTYPE_BYTES, Parameter
from paramctl.errors import InputError
from paramctl.model import Tie
from paramctl.store.checkpoint import stored_parameter
from paramctl.store.contents import Provenance, Reader
from paramctl.store.foreign import IN_A_SET, check_not_foreign
from paramctl.store.hdf5 import user_block
from paramctl.store.hdf5.client import Client, WorkerExited
from paramctl.store.hdf5.element import ArrayEntry, Order
from paramctl.store.hdf5.metadata_reader.parsed_file import ParsedFile, parse_file
from paramctl.store.hdf5.native import PROVENANCE
from paramctl.store.header_cache import HeaderCache
from paramctl.store.io.extents import Extent, ExtentReader
from paramctl.store.location import LocalFile, Location

if TYPE_CHECKING:
    from paramctl.core.dtypes import Array

ENTRIES: HeaderCache[Sequence[ArrayEntry]] = HeaderCache()
"""The arrays of the files that were listed."""

_PROC = os.path.isdir("/proc/self/fd")


@dataclass(frozen=True, slots=True)
class Listing:
    """The contents of an HDF5 file, or of one that begins at the byte ``begin`` of another file.

    links: hard links to one array, as (the first path, another path).
    skipped: the kind of everything that is not a numeric dataset, by path: "text", "a soft link".
    lost: the content that carry_over leaves out, in words.
    attributes: the attributes that carry_over copies, in words, without those of the native layout.
    metadata: the contents of paramctl's metadata group, None without one.
    groups: by path, the attributes that the caller of list_file asked for. The root's path is "".
    used_library: True if the HDF5 library listed the file, in the worker.
    """

    file: Location
    client: Client
    begin: int
    arrays: Sequence[ArrayEntry]
    links: Sequence[Sequence[str]]
    skipped: Mapping[str, str]
    lost: Sequence[str]
    attributes: Sequence[str]
    metadata: dict[str, Any] | None
    groups: Mapping[str, Mapping[str, Any]]
    used_library: bool

    @property
    def user_block(self) -> tuple[str, ...]:
        """The bytes before the superblock, which no other file gets, in words."""
        size = 0 if self.begin else user_block(self.file)
        return (f"a user block of {size:,} bytes",) if size else ()


def list_file(
    file: Location,
    begin: int = 0,
    size: int | None = None,
    texts: Sequence[str] = (),
    lists: Sequence[str] = (),
    parsed: ParsedFile | None = None,
) -> Listing:
    """List an HDF5 file.

    Args:
        file: the file, or the file that contains it.
        begin: the offset of the HDF5 file in it, in bytes.
        size: the size of the HDF5 file in bytes, None for all that follows.
        texts: names of group attributes to return that hold one text.
        lists: names of group attributes to return that hold a list of texts.
        parsed: the parsed file, if it has been parsed.

    Raises InputError if the file is damaged, or has content that paramctl never reads, such as external links.
    """
    if size is None and user_block(file) is None:
        check_not_foreign(file, IN_A_SET)  # a shard may be of another kind, such as a pointer of Git LFS
        raise InputError(f"{file.name}: not an HDF5 file, or damaged at its beginning, for the signature is missing")
    client = Client(file)
    client.listing = {"file": shared_file(file), "begin": begin, "size": size, "texts": texts, "lists": lists}
    parsed = parsed or parse_file(file, begin, size)
    answer = parsed.listing(texts, lists)
    used_library = answer is None
    if answer is None:
        answer = _ask(client)
    ENTRIES.put(file, answer["arrays"], begin, size)
    return Listing(file, client, begin, used_library=used_library, **answer)


def _ask(client: Client) -> dict[str, Any]:
    """Return the worker's list of a file. Raises InputError."""
    assert client.file is not None
    try:
        answer = client.ask("list", **client.listing)
    except WorkerExited as exited:
        raise InputError(f"{client.file.name}: {exited}") from exited
    if "error" in answer:
        raise InputError(f"{client.file.name}: {answer['error']}")
    return answer


class SharedFile(TypedDict):
    """A file that the worker reads too.

    path: by which it opens the same file; None if it must ask its parent for the bytes, as those of a URL.
    by_name: True if the HDF5 library can open it by that path.
    bytes: the size of the file, if it has no path.
    """

    path: str | None
    by_name: bool
    bytes: int | None


def shared_file(file: Location) -> SharedFile:
    """Return the way by which the worker reads a file.

    The path goes through this process's descriptor, so a file that is replaced meanwhile is not mixed up.
    """
    if file.connections > 1:  # to have a descriptor, all of it would be read
        return {"path": None, "by_name": False, "bytes": file.size()}
    path = f"/proc/{os.getpid()}/fd/{file.descriptor()}" if _PROC else file.name
    return {"path": path, "by_name": isinstance(file, LocalFile), "bytes": None}


def model_name(file: Location) -> str:
    """Return the name of a model without a document: the name of its file, without suffixes."""
    return PurePath(file.name).stem.removesuffix(".weights")


def link_ties(links: Sequence[Sequence[str]], names: Mapping[str, str], kept: Collection[str] = ()) -> list[Tie]:
    """Return the ties that hard links make.

    Args:
        links: as in a listing.
        names: by stored path, the names of the parameters. Other paths are ignored.
        kept: names that own their array. A group of links without one is kept under its first name.
    """
    groups: dict[str, list[str]] = {}
    for first, other in links:
        groups.setdefault(first, [first]).append(other)
    ties = []
    for paths in groups.values():
        group = [names[path] for path in paths if path in names]
        # HDF5 does not record which of two hard links came first; the metadata of a native file does
        owner = next((name for name in group if name in kept), group[0] if group else "")
        ties += [Tie(owner, name) for name in group if name != owner]
    return ties


UNRECORDED, UNWRITTEN = Provenance(), Provenance(unwritten=True)


class ParameterCollector:
    """The parameters of a listing, collected under their names, with the extents or paths of their values."""

    def __init__(self, listing: Listing) -> None:
        self.file, self.client, self.begin = listing.file, listing.client, listing.begin
        self.parameters: dict[str, Parameter] = {}
        self.extents: dict[str, Extent] = {}
        self.by_library: dict[str, tuple[str, str, Order]] = {}
        """Parameters that only the library can read: the stored path, the dtype and the byte order of each."""
        self.notes: dict[str, Provenance] = {}
        self.stored: dict[str, str] = {}
        """The stored path of each parameter that has another name."""

    def add(self, entry: ArrayEntry, name: str, attributes: Mapping[str, Any]) -> None:
        """Add a dataset under a name. attributes: its recorded or implied facts, such as axes and kind."""
        if entry["dtype"] not in DTYPE_BYTES:
            raise InputError(f"{self.file.name}: {name} has the unsupported dtype {entry['dtype']}")
        self.parameters[name] = stored_parameter(name, tuple(entry["shape"]), entry["dtype"], attributes)
        if entry["offset"] is None:
            self.by_library[name] = entry["path"], entry["dtype"], entry["order"]
        else:
            self.extents[name] = Extent(self.begin + entry["offset"], entry["dtype"], entry["order"])
        unwritten = entry["unwritten"]
        if attributes:
            scheme, seed, exactly = map(attributes.get, PROVENANCE)
            self.notes[name] = Provenance(scheme, seed, unwritten, exactly)
        else:
            self.notes[name] = UNWRITTEN if unwritten else UNRECORDED
        if name != entry["path"]:  # Keras' "layers/dense/vars/0" is shown as "dense/kernel"
            self.stored[name] = entry["path"]

    @property
    def reader(self) -> Reader:
        return _Reader(ExtentReader(self.file, self.extents), self.client, self.by_library)


class _Reader:
    """A reader of extents, which has the worker read every other array."""

    def __init__(self, extents: ExtentReader, client: Client, by_library: Mapping[str, tuple[str, str, Order]]) -> None:
        self.extents, self.client, self.by_library = extents, client, by_library

    def read(self, path: str, start: int, stop: int) -> Array:
        if path not in self.by_library:
            return self.extents.read(path, start, stop)
        import numpy as np  # for values alone: a file is listed without it

        from paramctl.core.dtypes import numpy_dtype

        stored, name, order = self.by_library[path]
        dtype = numpy_dtype(name).newbyteorder(order)
        if start == stop:  # no request for an empty array, whose space may be unallocated
            return np.empty(0, dtype.newbyteorder("="))
        file = self.extents.location.name
        try:
            data = self.client.read(stored, start, stop)
        except WorkerExited as exited:
            raise InputError(f"{file}: {path} {exited}") from exited
        if isinstance(data, str):
            raise InputError(f"{file}: {path}: {data}")
        if len(data) != (stop - start) * dtype.itemsize:
            raise InputError(f"{file}: truncated within {path}")
        return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
