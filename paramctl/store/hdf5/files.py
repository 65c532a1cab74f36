"""HDF5 files, read and written. The worker process parses them and lays them out; values move by extents.

A native file reads well in h5ls and HDFView: blocks are groups, parameters are contiguous datasets without filters, and
a tie is a hard link. Attributes hold axes, kind, trainable, scheme and seed. The group __paramctl__ holds the model
document, transposed ties, and the versions of the layout and of the recipe. bfloat16 is stored as Keras stores it:
opaque, with an attribute dtype.
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from paramctl.core.parameter import Parameter, bytes_of
from paramctl.errors import OutputError, message
from paramctl.model import Model
from paramctl.store.checkpoint import Checkpoint, build_model, take_state, tied_parameter
from paramctl.store.contents import Contents, Origin
from paramctl.store.hdf5 import NAME, user_block
from paramctl.store.hdf5.client import Client, WorkerExited
from paramctl.store.hdf5.dialect import Dialect
from paramctl.store.hdf5.listing import (
    ENTRIES,
    Listing,
    ParameterCollector,
    link_ties,
    list_file,
    model_name,
    shared_file,
)
from paramctl.store.hdf5.metadata_reader.parsed_file import ParsedFile
from paramctl.store.hdf5.native import TEXTS
from paramctl.store.io.atomic import Temporary, replacing
from paramctl.store.io.extents import Extent
from paramctl.store.io.json_limits import MAX_TOKENS, parse_json
from paramctl.store.io.write_values import WriteOptions, Written, write_values
from paramctl.store.location import Location
from paramctl.store.metadata import (
    document_of,
    file_metadata,
    keras_of,
    sort_ties,
    ties_of,
    transposed_ties_of,
    with_keras,
)
from paramctl.store.sums.record import DIGITS, record_text
from paramctl.store.sums.stored_array import StoredArray

HEADER = 2_048
"""An upper bound for the bytes of an object header with its attributes and link."""
ALIGNMENT = 4_096
"""An upper bound for the bytes that align a dataset's values."""
MAX_AXES = 32
"""Axes of a dataset, the library's limit."""


def read(
    file: Location,
    begin: int = 0,
    size: int | None = None,
    dialects: Sequence[Dialect] = (),
    parsed: ParsedFile | None = None,
) -> Checkpoint:
    """Read an HDF5 file.

    Args:
        file: the file, or the file that contains it: a zip, for the member of a ``.keras``.
        begin: the offset of the HDF5 file in it, in bytes.
        size: the size of the HDF5 file in bytes, None for all that follows.
        dialects: the layouts to recognize. Any other file is read array by array, under its stored paths.
        parsed: the parsed file, if it has been parsed.

    Raises InputError if the file is damaged, or has content that paramctl never reads, such as external links.
    """
    texts = [name for dialect in dialects for name in dialect.texts]
    lists = [name for dialect in dialects for name in dialect.lists]
    listing = list_file(file, begin, size, texts, lists, parsed)
    if listing.metadata is None:  # a native file is never a framework's, whatever its parameters are called
        for dialect in dialects:
            if dialect.matches(listing):
                return dialect.read(listing)
    return _checkpoint(listing)


def _checkpoint(listing: Listing) -> Checkpoint:
    """Return the checkpoint in a native file, or in one of unknown origin."""
    arrays = ParameterCollector(listing)
    for entry in listing.arrays:
        arrays.add(entry, entry["path"], entry["attributes"])
    state = take_state(arrays.parameters, arrays.reader)
    metadata = parse_metadata(listing.metadata)
    document, transposed = document_of(metadata), transposed_ties_of(metadata, arrays.parameters)
    for tie in transposed:
        arrays.parameters[tie.tied] = tied_parameter(tie, arrays.parameters[tie.kept])
    names = {path: path for path in arrays.parameters}
    links = link_ties(listing.links, names, {tie.kept for tie in ties_of(metadata)})
    ties, layout = sort_ties((*links, *transposed), metadata), keras_of(metadata, arrays.parameters)
    name = document.name if document else model_name(listing.file)
    model, other_document = build_model(name, arrays.parameters, ties, document)
    origin = Origin(
        location=listing.file,
        format=NAME,
        companion=None if arrays.stored else listing.file,
        provenance=arrays.notes,
        document=other_document,
        keras=layout,
        optimizer=with_keras(state, metadata, layout),
        extents=arrays.extents,
        skipped=listing.skipped,
        other_content=(*listing.user_block, *listing.lost),
        attributes=tuple(listing.attributes),
    )
    return Checkpoint(replace(model, aliases=arrays.stored), arrays.reader, origin)


def parse_metadata(metadata: dict[str, Any] | None) -> dict[str, Any]:
    """Return paramctl's metadata with its JSON parsed, empty if any of it is damaged: the arrays can still be read."""
    coded = [key for key in TEXTS if key != "document"]
    most = MAX_TOKENS // len(coded)  # the limit is for the file, not for each text
    try:
        return {key: parse_json(value, most) if key in coded else value for key, value in (metadata or {}).items()}
    except (ValueError, TypeError):
        return {}


def write(path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
    """Write a native file; see Format.write."""
    with replacing(path, options.force, options.confirm) as temporary:
        extents = _lay_out_native(temporary, contents)
        yield from write_values(contents, contents.model.parameters.values(), temporary, extents, options)


def _lay_out_native(temporary: Temporary, contents: Contents) -> dict[str, Extent]:
    """Lay out a native file. Return the extents to write, without empty arrays.

    The attributes and the non-numeric data of the HDF5 file that the values come from are carried over.
    """
    model = contents.model
    metadata = file_metadata(contents)
    attributes = metadata.pop("parameters")
    texts = {key: metadata.pop(key) for key in TEXTS if key in metadata}
    return lay_out(
        temporary,
        [(owner, owner.path, attributes[owner.path]) for owner in model.owners()],
        _groups(model),
        [(tie.kept, tie.tied) for tie in model.ties if not tie.transpose],
        (metadata, {key: text if isinstance(text, str) else json.dumps(text) for key, text in texts.items()}),
        contents.origin.companion,
    )


def lay_out(
    temporary: Temporary,
    arrays: Sequence[tuple[Parameter, str, Mapping[str, Any]]],
    groups: Sequence[tuple[str, Mapping[str, Any]]],
    links: Sequence[tuple[str, str]],
    metadata: tuple[Mapping[str, Any], Mapping[str, str]] | None = None,
    like: Location | None = None,
) -> dict[str, Extent]:
    """Lay out any HDF5 file. Return the extents to write by the parameters' paths, without empty arrays.

    Args:
        temporary: the file to lay out.
        arrays: each parameter with its path in the file, which check_paths accepts, and its attributes.
        groups: each group with its attributes, after the group that contains it.
        links: pairs of a path and another path for the same array.
        metadata: the attributes and the texts of paramctl's metadata group, None to write no such group.
        like: a file whose attributes and non-numeric data are carried over.

    Raises OutputError if the layout cannot be written.
    """
    for parameter, _, _ in arrays:
        if len(parameter.shape) > MAX_AXES:
            rule = f"{parameter.path}: an HDF5 array has at most {MAX_AXES} axes"
            raise OutputError(message(f"{temporary.target}: {rule}", f"{len(parameter.shape)}"))
    attributes, texts = metadata or ({}, {})
    needed = sum(parameter.bytes + HEADER + ALIGNMENT for parameter, _, _ in arrays) + HEADER * (len(groups) + 8)
    # The library may crash on a full disk, so a trial reservation comes first. UTF-8 takes up to 4 bytes a character.
    temporary.reserve(needed + sum(map(len, texts.values())) * 4 + DIGITS * len(arrays))
    temporary.empty()
    is_hdf5 = like is not None and user_block(like) is not None
    answer = _change(
        temporary,
        "laying out the file" + (f" with what it carries over from {like.name}" if like is not None else ""),
        "lay_out",
        groups=groups,
        arrays=[[path, parameter.shape, parameter.dtype, values] for parameter, path, values in arrays],
        links=links,
        metadata=attributes if metadata is not None else None,
        texts=texts,
        sums=record_text(sum(parameter.size > 0 for parameter, _, _ in arrays)),
        like_file=like,
        like=shared_file(like) if like is not None and is_hdf5 else None,
    )
    temporary.reserve(temporary.size())  # the layout is sparse: the library allocates no blocks for the values
    return {
        parameter.path: Extent(offset, parameter.dtype)
        for (parameter, _, _), offset in zip(arrays, answer["offsets"], strict=True)
        if offset is not None and parameter.size
    }


def stored_arrays(file: Location, begin: int = 0, size: int | None = None) -> list[StoredArray]:
    """Return the places of the arrays' values in a file; see read. Arrays in chunks are left out. Raises InputError."""
    arrays: dict[int, StoredArray] = {}
    entries = ENTRIES.get(file, begin, size)
    for entry in list_file(file, begin, size).arrays if entries is None else entries:
        if entry["offset"] is not None:
            first, shape = begin + entry["offset"], tuple(entry["shape"])
            end = first + bytes_of(entry["dtype"], prod(shape))
            # a hard link is another name of the same array
            arrays.setdefault(first, StoredArray(entry["path"], entry["dtype"], shape, first, end))
    return list(arrays.values())


def clear_provenance(temporary: Temporary, paths: Sequence[str]) -> None:
    """Delete the scheme and seed of arrays in a native file, whose values are about to change."""
    _change(temporary, "clearing schemes and seeds", "clear_provenance", arrays=paths)


def _change(
    temporary: Temporary, work: str, task: str, like_file: Location | None = None, **arguments: Any
) -> dict[str, Any]:
    """Return the worker's answer to a task that writes the file.

    work: the task in words, for errors. like_file: another file, for whose bytes the worker may ask.
    """
    try:
        answer = Client(like_file).ask(task, path=temporary.address, **arguments)
    except WorkerExited as exited:
        hint = ". Is the disk full?" if exited.crashed else ""
        raise OutputError(f"{temporary.target}: {work} {exited}{hint}") from exited
    if "error" in answer:
        raise OutputError(f"{temporary.target}: {answer['error']}")
    return answer


def _groups(model: Model) -> list[tuple[str, dict[str, Any]]]:
    """Return the groups that contain arrays, each after the group that contains it, with the types of layers."""
    types = {block.path: block.type for block in model.walk() if block.type not in ("group", "array")}
    groups: dict[str, dict[str, Any]] = {}
    for path in model.parameters:
        folders = path.split("/")[:-1]
        for count in range(1, len(folders) + 1):
            folder = "/".join(folders[:count])
            groups.setdefault(folder, {"type": types[folder]} if folder in types else {})
    return list(groups.items())
