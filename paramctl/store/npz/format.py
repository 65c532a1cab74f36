"""npz: a zip of npy files, as numpy.savez writes it. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

Nothing is unpickled. A member that is stored in C order is read in place; one in Fortran's order, or compressed, by
slabs. What NumPy has no dtype for is written by its bytes, as NumPy does with ml_dtypes. The zip's own comments say the
rest: a member's its dtype, if NumPy has none, and what is known of the parameter; the archive's what holds for all.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from pathlib import PurePath
from typing import Any, NamedTuple

from paramctl.core.dtypes import Array, to_native
from paramctl.core.parameter import Parameter
from paramctl.errors import InputError, OutputError
from paramctl.model import Model, Tie
from paramctl.store.checkpoint import (
    Checkpoint,
    Provenance,
    attributes,
    document_of,
    file_metadata,
    keras_of,
    model_of,
    sort_ties,
    stored_parameter,
    tied_to,
    ties_of,
)
from paramctl.store.io.extents import Extent, ExtentReader, as_bytes
from paramctl.store.io.zips import DAMAGED, LOCAL, Damaged, data_offset, opened
from paramctl.store.location import Location
from paramctl.store.npz import comments
from paramctl.store.npz.comments import REST
from paramctl.store.npz.fortran_order import SLAB, SlabReader, StoredArray
from paramctl.store.npz.inflate import InflatedStream
from paramctl.store.npz.npy import FOREIGN, Header, npy_header, read_header

__all__ = ["clear_provenance", "npy_header", "read", "write", "write_model"]

MOST_NAME = 65_535

Entry = tuple[str, str, tuple[int, ...], Iterable[Array]]


def read(file: Location) -> Checkpoint:
    """What an npz file holds. Raises InputError if it is damaged, or holds what is no array of numbers."""
    try:
        return _read(file)
    except Damaged as error:
        raise InputError(f"{file.name}: {error}") from error
    except InputError:
        raise
    except DAMAGED as error:
        why = " ".join(str(error).split()) or "it ends too soon"
        raise InputError(f"{file.name}: this zip file is damaged ({why})") from error


def _read(file: Location) -> Checkpoint:
    archive = opened(file)
    parameters: dict[str, Parameter] = {}
    extents: dict[str, Extent] = {}
    slabs: dict[str, StoredArray] = {}
    own, told = comments.read(archive.comment), {}
    # where versions before this one said what a member's comment does
    together = comments.dictionary(own.get("parameters"))
    for member in _members(archive):
        name = member.filename.removesuffix(".npy")
        if name in parameters:
            raise Damaged(f"it has {name!r} twice")
        told[name] = comments.read(member.comment, comments.MOST_SAID) or comments.dictionary(together.get(name))
        with archive.open(member) as stream:
            header = read_header(stream, name, told[name].get("dtype"))
        if header.begin + header.size != member.file_size:
            raise Damaged(f"{name!r} has {member.file_size:,} bytes, and by its header another number")
        parameters[name] = stored_parameter(name, header.shape, header.dtype.name, told[name])
        in_place = member.compress_type == zipfile.ZIP_STORED
        begin = data_offset(file, member) + header.begin
        if not header.size or (in_place and not header.fortran):
            extents[name] = Extent(begin, header.dtype)
        else:
            place = _InPlace(file, begin, name) if in_place else _unfolding(file, archive, member, header)
            slabs[name] = StoredArray(header.shape if header.fortran else (prod(header.shape),), header.dtype, place)
    own |= comments.joined(own, told.values())
    own.setdefault("ties", _of_members(told))
    ties = _ties(own, parameters)
    for tie in ties:
        parameters[tie.tied] = tied_to(tie, parameters[tie.kept])
    document, keras = document_of(own), keras_of(own, parameters)
    model_name = document.name if document else PurePath(file.name).stem
    model = model_of(model_name, parameters, sort_ties(ties, own), document, keras)
    return Checkpoint(model, _Reader(ExtentReader(file, extents), SlabReader(slabs)), file, _notes(told))


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members, each an npy file that is stored or compressed as NumPy does, and apart from the others."""
    found = archive.infolist()
    for member in found:
        if member.filename.endswith("/data.pkl"):
            raise Damaged("torch.save wrote it: a pickle, which can run code and is never read; save it as safetensors")
        if not member.filename.endswith(".npy"):
            raise Damaged(f"its member {member.filename!r} is no .npy file")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Damaged(f"its member {member.filename!r} is compressed, and not as NumPy does it, by deflate")
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise Damaged(f"its member {member.filename!r} is stored, and has two sizes")
    placed = sorted(found, key=lambda member: member.header_offset)
    for one, other in pairwise(placed):
        if one.header_offset + LOCAL + one.compress_size > other.header_offset:
            raise Damaged(f"its members {one.filename!r} and {other.filename!r} overlap")
    return found


def _of_members(told: Mapping[str, Mapping[str, Any]]) -> list[list[Any]]:
    """The ties that tied members tell of themselves, where the archive's comment had no room for any."""
    said = ((path, each.get("tie")) for path, each in told.items())
    return [[tie[0], path, tie[1]] for path, tie in said if isinstance(tie, list) and len(tie) == 2]


def _ties(own: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> list[Tie]:
    """The ties in what is said, those that can be: of one array with another that is not itself tied."""
    ties = {tie.tied: tie for tie in ties_of(own)}
    return [tie for tie in ties.values() if tie.kept not in ties and _fits(tie, parameters)]


def _fits(tie: Tie, parameters: Mapping[str, Parameter]) -> bool:
    if tie.kept not in parameters or tie.tied not in parameters:
        return False
    kept, tied = parameters[tie.kept], parameters[tie.tied]
    return tied.dtype == kept.dtype and tied.shape == (kept.shape[::-1] if tie.transpose else kept.shape)


def _notes(told: Mapping[str, Mapping[str, Any]]) -> dict[str, Provenance]:
    """How arrays came by their values, as far as that is told."""
    notes = {}
    for path, each in told.items():
        scheme, seed = each.get("scheme"), each.get("seed")
        drawn = type(seed) is int and 0 <= seed < 2**63
        if isinstance(scheme, str) or drawn:
            notes[path] = Provenance(scheme if isinstance(scheme, str) else None, seed if drawn else None)
    return notes


def write(file: Any, entries: Iterable[Entry]) -> None:
    """Write arrays for NumPy alone, as they come: name, dtype, shape, flat pieces in C order.

    bfloat16, which NumPy has not, is written as float32.
    """
    members = (
        _Member(name, npy_header(dtype, shape), map(to_native, pieces)) for name, dtype, shape, pieces in entries
    )
    _write(file, members)


class _Member(NamedTuple):
    """An array to write. comment: what the zip says of it."""

    name: str
    header: bytes
    pieces: Iterable[Array]
    comment: bytes = b""


def _write(file: Any, members: Iterable[_Member], comment: bytes = b"") -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for each in members:
            _check_name(each.name)
            about = zipfile.ZipInfo(f"{each.name}.npy")
            about.comment = each.comment
            with archive.open(about, "w", force_zip64=True) as member:
                member.write(each.header)
                for piece in each.pieces:
                    member.write(as_bytes(piece))
        archive.comment = comment


def write_model(
    file: Any, model: Model, notes: Mapping[str, Provenance], recipe: int, values: Callable[[str], Iterable[Array]]
) -> None:
    """A model's parameters under every name, for NumPy knows no ties; comments say these and all else.

    Raises OutputError for a name that a zip cannot hold, or a document that all comments cannot.
    """
    for path in model.parameters:
        _check_name(path)
    own = file_metadata(model, notes, recipe)
    comment = comments.fitting(
        {key: own[key] for key in ("version", "recipe", "written_by")} | {REST: comments.MOST_REST},
        {"ties": own["ties"]},
        {key: own[key] for key in ("document", "model") if key in own},
        {"keras": own["keras"]} if "keras" in own else {},
    )
    del comment[REST]
    told = [_told(model, each, notes, "ties" in comment) for each in model.parameters.values()]
    rest = {key: own[key] for key in ("document", "model", "keras") if key in own and key not in comment}
    if rest:
        text = json.dumps(rest, separators=(",", ":"))
        comment[REST] = len(text)
        told = _cut(text, told)
    members = (
        _Member(each.path, npy_header(each.dtype, each.shape, exact=True), values(each.path), comments.written(said))
        for each, said in zip(model.parameters.values(), told, strict=True)
    )
    _write(file, members, comments.written(comment))


def _told(model: Model, each: Parameter, notes: Mapping[str, Provenance], known: bool) -> dict[str, Any]:
    """What a member's comment says. known: whether the archive's tells the ties."""
    tie = model.tied.get(each.path)
    return comments.fitting(
        {"dtype": each.dtype} if each.dtype in FOREIGN else {},
        {"tie": [tie.kept, tie.transpose]} if tie and not known else {},
        {} if tie else attributes(each, notes.get(each.path)),
    )


def _cut(text: str, told: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    made = comments.cut(text, told)
    if made is None:
        room = f"the comments of a zip of {len(told):,} arrays"
        raise OutputError(f"the model's document has {len(text):,} bytes, for which {room} have no room; .h5 has")
    return made


def clear_provenance(temporary: object, paths: object) -> None:
    """Nothing: an npz is amended only where no array has a value that changes, and what is said of them stays true."""


def _check_name(path: str) -> None:
    try:
        name = f"{path}.npy".encode()
    except UnicodeEncodeError as error:
        raise OutputError(f"the name {path[:60]!r} is not text, and npz has no other") from error
    if b"\0" in name or len(name) > MOST_NAME:
        rule = f"npz has no names with a NUL, or of more than {MOST_NAME - 4:,} bytes"
        raise OutputError(f"{rule} (got {path[:60]!r})")


class _InPlace(NamedTuple):
    """The bytes of an array in a file, from where they begin."""

    file: Location
    begin: int
    path: str

    def fill(self, place: int, buffer: memoryview) -> None:
        if self.file.read_into(self.begin + place, buffer) < len(buffer):
            raise InputError(f"{self.file.name}: it ends within {self.path}")

    def close(self) -> None:
        """There is nothing to let go of."""


def _unfolding(file: Location, archive: zipfile.ZipFile, member: zipfile.ZipInfo, header: Header) -> InflatedStream:
    name = f"{file.name}: {member.filename.removesuffix('.npy')}"
    return InflatedStream(partial(archive.open, member), header.begin, header.size, header.size <= SLAB, name)


class _Reader:
    """Reads what is stored in C order in place, and all else by slabs."""

    def __init__(self, extents: ExtentReader, slabs: SlabReader) -> None:
        self.extents, self.slabs = extents, slabs

    def read(self, path: str, start: int, stop: int) -> Array:
        return (self.slabs if path in self.slabs.arrays else self.extents).read(path, start, stop)
