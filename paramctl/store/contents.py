"""Contents: the protocol from which a format writes a file, and functions that read any selection of its arrays.

Sources (paramctl.source) satisfy the protocol.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from os.path import realpath
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from paramctl.core.indexing import Selection
from paramctl.core.parameter import PACKED_BITS, Parameter
from paramctl.errors import InputError
from paramctl.model import Document, Model
from paramctl.parallel import in_parallel
from paramctl.store.io.extents import Extent
from paramctl.store.location import LocalFile, Location
from paramctl.store.parts import BLOCK_SIZE as BLOCK_SIZE  # the constant of every module that cuts arrays
from paramctl.store.parts import MAX_GAP, Part, read_parts

if TYPE_CHECKING:
    from paramctl.core.dtypes import Array

MAX_TRANSPOSED = 16 * BLOCK_SIZE
"""The number of values of a transposed array to gather at once. Each time, the whole array is read."""

Piece = tuple[str, int, int]
"""A run of an array's values in C order: path, start, stop."""


class Reader(Protocol):
    """A reader of the values of arrays, by path, from one flat index to another in C order."""

    def read(self, path: str, start: int, stop: int) -> Array: ...


class JoinedReader:
    """A reader that has a separate reader for each array, such as that of its file in a set."""

    def __init__(self, readers: Mapping[str, Reader]) -> None:
        self.readers = readers

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.readers[path].read(path, start, stop)


@dataclass(frozen=True, slots=True)
class Provenance:
    """The origin of one array's values, as its file records it: the scheme, and the seed if they were drawn.

    exactly: the framework whose own initial values they are, with the versions and machines that have these.
    unwritten: True if the file has no bytes for the values. Its readers take them for zeros.
    """

    scheme: str | None = None
    seed: int | None = None
    unwritten: bool = False
    exactly: str | None = None

    def cast(self) -> Provenance:
        """Return the origin of these values in another dtype, in which a framework would draw others."""
        return replace(self, exactly=None)


@dataclass(frozen=True, slots=True)
class KerasLayout:
    """The layout of a Keras file.

    variables: the path in the file of each parameter, by the parameter's path.
    names: the name that each Keras object records, by the object's path in the file.
    config: the text of Keras' configuration, if the file has one.
    legacy: True for a ``.keras`` of Keras 2, whose configuration Keras 3 does not load.
    """

    variables: Mapping[str, str]
    names: Mapping[str, str]
    config: str | None = None
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class OptimizerState:
    """Arrays of an optimizer and of metrics, by their paths in a file. They are not parameters.

    arrays: by path, such as ``optimizer/vars/3`` or ``optimizer.state.0.exp_avg``.
    names: the names that Keras' objects record for themselves, by path.
    layout: the layout of the file's parameters, in a Keras file.
    """

    arrays: Mapping[str, Parameter]
    reader: Reader
    names: Mapping[str, str] = field(default_factory=dict)
    layout: KerasLayout | None = None

    def __str__(self) -> str:
        return (
            "1 optimizer or metric array"
            if len(self.arrays) == 1
            else f"{len(self.arrays):,} optimizer or metric arrays"
        )


@dataclass(frozen=True, slots=True)
class Omitted:
    """A value of a file's metadata that is too large to carry over. text: a description, ``151,936 texts``."""

    text: str

    def __str__(self) -> str:
        return self.text


class MetadataItem(NamedTuple):
    """A value that a file has beside its arrays.

    place: the path of the group or array that it belongs to; empty for the file.
    value: a text, a number, a boolean, a list or a mapping of these; an Omitted for one that is not kept.
    """

    place: str
    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that arrays come from, with everything else that it records, for the writer of another file.

    location: the file; None if the values are drawn.
    format: the name of its format.
    companion: the file from which a writer of the same format carries over attributes and other content.
    provenance: the origin of each array's values, by path.
    document: the document of the model, if the arrays have another layout or other names than it declares.
    keras: the layout of a Keras file of this model.
    optimizer: the arrays of an optimizer and of metrics.
    skipped: the kind of everything in the file that is not an array of numbers, by name: "text", "a soft link".
    other_content: the names of content that only the same format can hold, such as the assets of a ``.keras``.
    metadata: the plain values beside the arrays, by key: texts, numbers, booleans, and lists of these. Of a
        safetensors file or set, its metadata without ties and paramctl's own record. An Omitted in place of a value
        that is too large.
    attributes: the attributes of an HDF5 file that no framework and not paramctl gave it: "unit of w".
    extents: the values that can be changed in a copy of the file.
    missing: the shapes of the parameters that the file's own configuration has and the file lacks, by path. None for a
        variable of an optimizer.
    archives: further zip archives with values, such as the files of a set, whose checksums can be checked.
    rewrite: (path, shard size) for writing a set of files again; None for a single file.
    others: the origins of further files whose values are combined with those of this one.
    marked: True if an edit has set which arrays are trainable, so that a file must record it.
    is_part: True if only some of the file's arrays are read, or slices of them.
    """

    location: Location | None = None
    format: str = ""
    companion: Location | None = None
    provenance: Mapping[str, Provenance] = field(default_factory=dict)
    document: Document | None = None
    keras: KerasLayout | None = None
    optimizer: OptimizerState | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    other_content: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    extents: Mapping[str, Extent] = field(default_factory=dict)
    missing: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    archives: tuple[Location, ...] = ()
    rewrite: tuple[str, int] | None = None
    others: tuple[Origin, ...] = ()
    marked: bool = False
    is_part: bool = False

    @property
    def carried_optimizer(self) -> OptimizerState | None:
        """The optimizer's arrays, if the parameters still have the layout of their Keras file."""
        return self.optimizer if self.optimizer and self.keras and self.optimizer.layout is self.keras else None

    def zips(self) -> list[Location]:
        """Return the zip archives with values, whose checksums can be checked."""
        locations = (self.location, *self.archives)
        return [location for location in locations if location is not None and location.read(0, 2) == b"PK"]

    def is_at(self, path: str) -> bool:
        """Return whether a path is that of the file."""
        return self.location is not None and realpath(self.location.name) == realpath(path)


class Contents(Protocol):
    """A model whose arrays have values, as a format writes it."""

    @property
    def model(self) -> Model: ...

    @property
    def origin(self) -> Origin: ...

    def read(self, path: str, start: int, stop: int) -> Array:
        """Return values of an array that the model owns, flat, from one index to another, in its dtype.

        Raises InputError for a damaged file, and OutputError for a value that the dtype cannot hold.
        """

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        """Cut an array into the pieces that are best read one at a time."""


class RecordedSum(NamedTuple):
    """The hash of an array that its file records.

    digest: 64 hexadecimal digits; empty if the array has none, in a file with a changed header.
    file: the name of the file that has the record.
    fault: the change of that file's header, in words; empty if it matches the seal.
    """

    digest: str
    file: str
    fault: str = ""


@runtime_checkable
class Recorded(Protocol):
    """Contents whose file records the hashes of arrays, and which has some of them unchanged."""

    def recorded_sums(self) -> Mapping[str, RecordedSum]:
        """Return the recorded hashes of those arrays that are read as they are in the file, by path."""


def kept_origin(contents: Contents, path: str) -> Origin:
    """Return the origin of contents as a file at a path keeps it.

    The layout of Keras 2 is kept in its own file. Other files have that of Keras 3, which follows from the document.
    """
    origin = contents.origin
    is_kept = origin.keras is None or not origin.keras.legacy or contents.model.document is None or origin.is_at(path)
    return origin if is_kept else replace(origin, keras=None)


class WithOrigin:
    """Contents with another origin."""

    def __init__(self, contents: Contents, origin: Origin) -> None:
        self.contents, self.model, self.origin = contents, contents.model, origin
        self.read, self.pieces = contents.read, contents.pieces

    def recorded_sums(self) -> Mapping[str, RecordedSum]:
        return self.contents.recorded_sums() if isinstance(self.contents, Recorded) else {}


def blocks(parameter: Parameter, size: int = BLOCK_SIZE) -> Iterator[Piece]:
    """Cut an array into pieces of at most ``size`` values."""
    for start in range(0, parameter.size, max(size, 1)):
        yield parameter.path, start, min(start + size, parameter.size)


def is_transposed(model: Model, path: str) -> bool:
    """Return whether a name is tied to the transpose of another array. A vector is its own transpose."""
    tie = model.tied.get(path)
    return tie is not None and tie.transpose and len(model.parameters[path].shape) > 1


def read_alias(contents: Contents, name: str, start: int, stop: int) -> Array:
    """Return values of a parameter under any of its names, tied or not; see Contents.read."""
    model = contents.model
    if not is_transposed(model, name):
        return contents.read(model.owner(name).path, start, stop)
    import numpy as np  # for values alone: a checkpoint's header is read without it

    shape = model.parameters[name].shape
    # Transposed values are gathered by whole rows, so take the rows that contain the range and cut its ends off.
    row = prod(shape[1:])
    first, last = start // row, -(-stop // row)
    rows = Selection((range(first, last), *map(range, shape[1:])), (False,) * len(shape))
    pieces = list(gather(contents, name, rows))
    return np.concatenate(pieces)[start - first * row : stop - first * row]


def check_decodable(model: Model, path: str) -> None:
    """Raise InputError for a parameter whose values cannot be decoded: of a packed dtype, or quantized."""
    owner = model.owner(path)
    if owner.dtype in PACKED_BITS:
        raise InputError(f"{model.name}: {path} has the dtype {owner.dtype}, whose values can be copied but not read")
    if owner.encoding and owner.encoding.unreadable:
        raise InputError(f"{model.name}: {path}: {owner.encoding.unreadable}")


def undecodable(model: Model, path: str) -> str | None:
    """Return why the values of a parameter cannot be decoded; None if they can be."""
    try:
        check_decodable(model, path)
    except InputError as error:
        return str(error).removeprefix(f"{model.name}: ").removeprefix(f"{path}: ")
    return None


def gather(contents: Contents, path: str, selection: Selection) -> Iterator[Array]:
    """Yield the selected values of a parameter, under any of its names, in C order, in flat pieces of bounded size."""
    model = contents.model
    check_decodable(model, path)
    if selection.everything and not is_transposed(model, path):
        pieces = contents.pieces(model.owner(path))
        yield from in_parallel(lambda piece: contents.read(*piece), pieces, connections(contents))
    else:
        yield from gather_reshaped(contents, path, model.parameters[path].shape, selection)


def gather_reshaped(contents: Contents, path: str, shape: Sequence[int], selection: Selection) -> Iterator[Array]:
    """Yield selected values of a parameter seen under another shape. A transposed tie keeps its own shape."""
    check_decodable(contents.model, path)
    owner = contents.model.owner(path)
    if is_transposed(contents.model, path):
        yield from _gather_transposed(contents, owner, selection)
    else:
        yield from _gather(contents, owner.path, shape, selection.ranges)


def _gather_transposed(contents: Contents, owner: Parameter, selection: Selection) -> Iterator[Array]:
    """Yield selected values of an array's transpose, several rows at a time: each row crosses the whole array."""
    import numpy as np

    first, *rest = selection.ranges
    count = max(1, MAX_TRANSPOSED // max(1, prod(map(len, rest))))
    for start in range(0, len(first), count):
        ranges = (*reversed(rest), first[start : start + count])
        pieces = list(_gather(contents, owner.path, owner.shape, ranges))
        if pieces:
            yield np.concatenate(pieces).reshape([len(axis) for axis in ranges]).T.reshape(-1)


def _gather(contents: Contents, path: str, shape: Sequence[int], ranges: Sequence[range]) -> Iterator[Array]:
    """Yield selected values of an array, at most a block at once."""
    location = contents.origin.location
    if location is None:
        near = sys.maxsize  # drawing a few values costs whole blocks anyway
    elif location.connections > 1:
        near = MAX_GAP
    else:
        near = 0
    parts = read_parts(shape, ranges, near)

    def read(part: Part) -> Array:
        start, stop = part.span
        return part.take(contents.read(path, part.offset + start, part.offset + stop))

    threads = connections(contents)
    yield from map(read, parts) if threads is None else in_parallel(read, parts, threads)


def connections(*sources: Contents) -> int | None:
    """Return the number of pieces to request at once from servers; None for disks, and for drawn values."""
    locations = [contents.origin.location for contents in sources]
    most = max((location.connections for location in locations if location is not None), default=1)
    return most if most > 1 else None


@contextmanager
def unwritten(*sources: Contents) -> Iterator[None]:
    """Raise InputError after a block that reads values several times, if one of their files was written meanwhile.

    A file that was replaced is no error: the one that is open still has its values. A server sends one version only.
    """
    locations = {id(each): each for contents in sources if isinstance(each := contents.origin.location, LocalFile)}
    before = [(location, location.fingerprints()) for location in locations.values()]

    def check() -> None:
        for location, facts in before:
            if location.fingerprints()[: len(facts)] != facts:
                raise InputError(f"{location.name}: was written while its values were read. Try again")

    try:
        yield
    except Exception:
        check()
        raise
    check()
