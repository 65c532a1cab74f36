"""npz files, read: extents for members in C order, slabs for those in Fortran order or compressed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import PurePath
from typing import Any, NamedTuple

from paramctl.core.dtypes import Array
from paramctl.core.parameter import Parameter
from paramctl.errors import InputError
from paramctl.model import Tie
from paramctl.store.checkpoint import Checkpoint, build_model, stored_parameter, take_state, tied_parameter
from paramctl.store.contents import MetadataItem, Origin, Provenance
from paramctl.store.foreign import zip_kind
from paramctl.store.io.extents import Extent, ExtentReader
from paramctl.store.io.inflate import InflatedStream
from paramctl.store.io.slab_reader import SLAB, SlabArray, SlabReader
from paramctl.store.io.strided import FileBytes
from paramctl.store.io.zips import DamagedZip, check_members, data_offset, open_zip, zip_errors
from paramctl.store.location import Location
from paramctl.store.metadata import (
    document_of,
    keras_of,
    origin_items,
    provenance_of,
    record_items,
    sort_ties,
    sums_item,
    ties_of,
    with_keras,
)
from paramctl.store.npz import NAME, comments
from paramctl.store.npz.npy import MAX_HEADER, PREAMBLE, Header, NotNumbers, read_header
from paramctl.store.sums import KEY as SUMS
from paramctl.store.sums.stored_array import StoredArray


def read(file: Location) -> Checkpoint:
    """Read an npz file. Arrays that hold no numbers are skipped. Raises InputError if the file is damaged."""
    with zip_errors(file):
        return _read(file)


def stored_arrays(file: Location) -> list[StoredArray]:
    """Return the places of the arrays' values in a file. Compressed arrays are left out. Raises InputError."""
    with zip_errors(file):
        archive = open_zip(file)
        members = [each for each in _check_members(archive, file) if each.compress_type == zipfile.ZIP_STORED]
        return [array for member in members if (array := _stored_array(file, member)) is not None]


def _stored_array(file: Location, member: zipfile.ZipInfo) -> StoredArray | None:
    """Return the place of an array, None for a member that is none. Its CRC-32 is not checked, as zipfile does."""
    name = member.filename.removesuffix(".npy")
    facts = comments.parse_comment(member.comment, comments.MAX_MEMBER_TOKENS)
    offset = data_offset(file, member)
    stream = io.BytesIO(file.read(offset, min(member.file_size, MAX_HEADER + PREAMBLE)))
    try:
        header = read_header(stream, name, facts.get("dtype"))
    except NotNumbers:
        return None
    digest = facts.get(comments.SUM)
    begin = offset + header.begin
    text = digest if isinstance(digest, str) else ""
    return StoredArray(name, header.dtype.name, header.shape, begin, begin + header.size, text)


def read_metadata(file: Location) -> Iterator[MetadataItem]:
    """Yield paramctl's own record, which is in the comments of the zip, or the comment of another writer."""
    # of the members only the comments are read, so a damaged array does not matter here
    archive = open_zip(file)
    record = comments.parse_comment(archive.comment)
    if archive.comment and not record:
        yield MetadataItem("", "comment", archive.comment.decode("utf-8", "replace"))
    facts = {
        member.filename.removesuffix(".npy"): comments.parse_comment(member.comment) for member in archive.filelist
    }
    record |= comments.join_text(record, facts.values())
    record.pop(comments.REST, None)
    yield from sums_item({SUMS: record.pop(comments.SUMS)} if comments.SUMS in record else {})
    yield from record_items(record)
    for name, of_member in facts.items():
        yield from origin_items(name, of_member)


def read_single(file: Location, name: str) -> Checkpoint:
    """Read an npy file, whose array gets a name. Raises InputError if it is damaged or holds no numbers."""
    try:
        header = read_header(io.BytesIO(file.read(0, MAX_HEADER + PREAMBLE)), file.name, None)
    except DamagedZip as error:
        raise InputError(f"{file.name}: damaged npy file ({error})") from error
    except NotNumbers as kind:
        raise InputError(f"{file.name}: holds no numbers but {kind}") from kind
    if len(file.read(header.begin + header.size - 1, 2)) != 1:
        expected = header.begin + header.size
        raise InputError(f"{file.name}: must have {expected:,} bytes by its header, and has fewer or more")
    model, _ = build_model(
        PurePath(file.name).stem, {name: stored_parameter(name, header.shape, header.dtype.name)}, ()
    )
    if header.fortran:
        source = SlabArray(header.shape, header.dtype, FileBytes(file, header.begin, name))
        return Checkpoint(model, SlabReader({name: source}), Origin(file, "npy"))
    extent = _extent(header.begin, header)
    return Checkpoint(model, ExtentReader(file, {name: extent}), Origin(file, "npy"))


class _StoredMember(NamedTuple):
    """An array in an npz. facts: the contents of its comment. begin: the offset of its values, if it is stored."""

    member: zipfile.ZipInfo
    facts: dict[str, Any]
    header: Header
    begin: int


def _read(file: Location) -> Checkpoint:
    archive = open_zip(file)
    metadata = comments.parse_comment(archive.comment)
    members, skipped = _arrays(file, archive, comments.as_object(metadata.get("parameters")))
    facts = {name: stored.facts for name, stored in members.items()}
    parameters = {
        name: stored_parameter(name, stored.header.shape, stored.header.dtype.name, stored.facts)
        for name, stored in members.items()
    }
    reader = _reader(file, archive, members)
    state = take_state(parameters, reader)
    metadata |= comments.join_text(metadata, facts.values())
    metadata.setdefault("ties", _ties_of_members(facts))  # present unless they did not fit the archive's comment
    ties = _possible_ties(metadata, parameters)
    for tie in ties:
        parameters[tie.tied] = tied_parameter(tie, parameters[tie.kept])
    document, keras = document_of(metadata), keras_of(metadata, parameters)
    model_name = document.name if document else PurePath(file.name).stem
    model, other_document = build_model(model_name, parameters, sort_ties(ties, metadata), document)
    # without extents: a change in place would leave the zip's checksums wrong
    recorded = {path: provenance_of(attributes) for path, attributes in facts.items()}
    provenance = {path: known for path, known in recorded.items() if known != Provenance()}
    origin = Origin(file, NAME, provenance=provenance, document=other_document, keras=keras, skipped=skipped)
    origin = replace(origin, optimizer=with_keras(state, metadata, keras))
    return Checkpoint(model, reader, origin)


def _arrays(
    file: Location, archive: zipfile.ZipFile, older: Mapping[str, Any]
) -> tuple[dict[str, _StoredMember], dict[str, str]]:
    """Return the arrays of numbers by name, and the kinds of all other arrays.

    older: facts by name, which earlier versions kept in the archive's comment.
    """
    arrays: dict[str, _StoredMember] = {}
    skipped: dict[str, str] = {}
    for member in _check_members(archive, file):
        name = member.filename.removesuffix(".npy")
        if name in arrays or name in skipped:
            raise DamagedZip(f"duplicate array {name!r}")
        facts = comments.parse_comment(member.comment, comments.MAX_MEMBER_TOKENS)
        facts = facts or comments.as_object(older.get(name))
        try:
            with archive.open(member) as stream:
                header = read_header(stream, name, facts.get("dtype"))
        except NotNumbers as kind:
            skipped[name] = str(kind)
            continue
        except DamagedZip:
            if name != member.filename:
                raise
            skipped[name] = "a file that is not npy"
            continue
        expected = header.begin + header.size
        if expected != member.file_size:
            raise DamagedZip(f"{name!r} must have {expected:,} bytes by its header (got {member.file_size:,})")
        arrays[name] = _StoredMember(member, facts, header, data_offset(file, member) + header.begin)
    return arrays, skipped


def _check_members(archive: zipfile.ZipFile, file: Location) -> list[zipfile.ZipInfo]:
    """Return the members without folders. Raises DamagedZip for one that NumPy could not have written."""
    members = [member for member in archive.infolist() if not member.filename.endswith("/") or member.file_size]
    names = dict.fromkeys(member.filename for member in members)
    if kind := zip_kind(names, file):
        raise DamagedZip(kind)
    for member in members:
        if f"{member.filename}.npy" in names:  # NumPy reads only one of the two under this name
            raise DamagedZip(f"the member {member.filename!r} is not an .npy file")
    check_members(members, "NumPy uses deflate")
    return members


class _Reader:
    """A reader of extents, and of all other arrays in slabs."""

    def __init__(self, extents: ExtentReader, slabs: SlabReader) -> None:
        self.extents, self.slabs = extents, slabs

    def read(self, path: str, start: int, stop: int) -> Array:
        return (self.slabs if path in self.slabs.arrays else self.extents).read(path, start, stop)


def _reader(file: Location, archive: zipfile.ZipFile, members: Mapping[str, _StoredMember]) -> _Reader:
    extents: dict[str, Extent] = {}
    slabs: dict[str, SlabArray] = {}
    for name, (member, _, header, begin) in members.items():
        in_place = member.compress_type == zipfile.ZIP_STORED
        if not header.size or (in_place and not header.fortran):
            extents[name] = _extent(begin, header)
            continue
        shape = header.shape if header.fortran else (prod(header.shape),)
        source = FileBytes(file, begin, name) if in_place else _inflated(file, archive, member, header)
        slabs[name] = SlabArray(shape, header.dtype, source)
    return _Reader(ExtentReader(file, extents), SlabReader(slabs))


def _extent(begin: int, header: Header) -> Extent:
    return Extent(begin, header.dtype.name, ">" if header.dtype.str.startswith(">") else "<")


def _inflated(file: Location, archive: zipfile.ZipFile, member: zipfile.ZipInfo, header: Header) -> InflatedStream:
    name = f"{file.name}: {member.filename.removesuffix('.npy')}"
    return InflatedStream(partial(archive.open, member), header.begin, header.size, header.size <= SLAB, name)


def _ties_of_members(facts: Mapping[str, Mapping[str, Any]]) -> list[list[Any]]:
    """Return the ties that members record, for an archive whose own comment had no room for them."""
    recorded = ((path, of_member.get("tie")) for path, of_member in facts.items())
    return [[tie[0], path, tie[1]] for path, tie in recorded if isinstance(tie, list) and len(tie) == 2]


def _possible_ties(metadata: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> list[Tie]:
    """Return the recorded ties that can be true: another program may have replaced one of two tied arrays."""
    ties = {tie.tied: tie for tie in ties_of(metadata)}
    return [tie for tie in ties.values() if tie.kept not in ties and _fits(tie, parameters)]


def _fits(tie: Tie, parameters: Mapping[str, Parameter]) -> bool:
    if tie.kept not in parameters or tie.tied not in parameters:
        return False
    kept, tied = parameters[tie.kept], parameters[tie.tied]
    return tied.dtype == kept.dtype and tied.shape == (kept.shape[::-1] if tie.transpose else kept.shape)
