"""One safetensors file: read, written, streamed, and changed in place.

Names are written unchanged. Ties are ``__metadata__[second name] = first name``, as Hugging Face's helpers write them;
paramctl's own metadata is JSON under ``__metadata__["paramctl"]``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.errors import InputError
from paramctl.model import Model, Tie
from paramctl.parallel import in_parallel
from paramctl.store.checkpoint import Checkpoint, build_model, stored_parameter, take_state, tied_parameter
from paramctl.store.contents import Contents, Omitted, Origin, Reader
from paramctl.store.io.atomic import Temporary, replacing
from paramctl.store.io.extents import Extent, ExtentReader, as_bytes
from paramctl.store.io.json_limits import parse_json
from paramctl.store.io.write_values import WriteOptions, Written, write_values
from paramctl.store.location import LocalFile, Location
from paramctl.store.metadata import (
    ORIGIN_KEYS,
    document_of,
    file_metadata,
    keras_of,
    provenance_of,
    sort_ties,
    transposed_ties_of,
    with_keras,
)
from paramctl.store.safetensors import FRAMEWORK, KEYS, NAME, RECORD, SHARDS_NAME, SUMS
from paramctl.store.safetensors.header import METADATA, arrays_of, build_header, header_text, parse_header
from paramctl.store.sums.record import record_text
from paramctl.store.sums.stored_array import StoredArray

MAX_TOKENS_PER_ARRAY = 32
"""JSON tokens of paramctl's own metadata for each array."""
SPARE_ARRAYS = 1_000
"""The limit on tokens counts this many arrays more, so that the metadata of a small file is not rejected."""


def read(location: Location) -> Checkpoint:
    """Read the header of a file. Raises InputError unless the file follows the specification exactly."""
    parameters, extents, metadata = read_arrays(location)
    origin = Origin(location, NAME, extents=extents)
    return as_checkpoint(parameters, metadata, PurePath(location.name).stem, ExtentReader(location, extents), origin)


def read_arrays(location: Location) -> tuple[dict[str, Parameter], dict[str, Extent], dict[str, str]]:
    """Return the arrays of a file, the extents of their values, and the file's metadata. Raises InputError."""
    try:
        header = parse_header(location)
        return *arrays_of(header, location), header.metadata
    except ValueError as error:
        raise InputError(f"{location.name}: {error}") from error


def stored_arrays(location: Location) -> list[StoredArray]:
    """Return the places of the arrays' values in a file. Raises InputError."""
    parameters, extents, _ = read_arrays(location)
    places = ((array, extents[path].offset) for path, array in parameters.items())
    return [StoredArray(array.path, array.dtype, array.shape, begin, begin + array.bytes) for array, begin in places]


def as_checkpoint(
    parameters: dict[str, Parameter], metadata: Mapping[str, Any], name: str, reader: Reader, origin: Origin
) -> Checkpoint:
    """Build the checkpoint of these arrays, with the ties and the other facts that the metadata records.

    metadata: of a file, whose values are texts, or of a set, whose values can be any JSON.
    name: the name of the model, if no document names it.
    """
    record = parse_record(metadata, len(parameters))
    document, transposed = document_of(record), transposed_ties_of(record, parameters)
    by_path = record.get("parameters")
    attributes = by_path if isinstance(by_path, dict) else {}
    attributes = {path: value for path, value in attributes.items() if isinstance(value, dict)}
    for path in parameters.keys() & attributes.keys():  # the others keep what the header says
        parameter = parameters[path]
        parameters[path] = stored_parameter(path, parameter.shape, parameter.dtype, attributes[path])
    state = take_state(parameters, reader)
    # A tie is an entry {second name: first name}. Other texts, such as {"format": "pt"}, name no array of the file.
    plain = tuple(
        Tie(kept, tied)
        for tied, kept in metadata.items()
        if isinstance(kept, str) and kept in parameters and tied not in parameters and tied not in KEYS
    )
    ties = (*plain, *transposed)
    others = {
        key: value
        for key, value in metadata.items()
        if key not in (RECORD, SUMS) and key not in {tie.tied for tie in ties}
    }
    for tie in ties:
        parameters[tie.tied] = tied_parameter(tie, parameters[tie.kept])
    ties = sort_ties(ties, record)
    model, other_document = build_model(document.name if document else name, parameters, ties, document)
    origin = replace(
        origin,
        provenance={path: provenance_of(value) for path, value in attributes.items()},
        document=other_document,
        keras=(layout := keras_of(record, parameters)),
        optimizer=with_keras(state, record, layout),
        metadata=others,
    )
    return Checkpoint(model, reader, origin)


def parse_record(metadata: Mapping[str, Any], arrays: int) -> dict[str, Any]:
    """Return paramctl's own metadata, empty if it is malformed."""
    limit = MAX_TOKENS_PER_ARRAY * (arrays + len(metadata) + SPARE_ARRAYS)
    try:
        record = parse_json(metadata.get(RECORD, "{}"), limit)
    except (ValueError, TypeError):  # in an index it may be anything
        return {}
    return record if isinstance(record, dict) else {}


def metadata_of(contents: Contents) -> dict[str, Any]:
    """Return the metadata of a new file or set. The metadata of another safetensors file or set is carried over."""
    model = contents.model
    ties = {tie.tied: tie.kept for tie in model.ties if not tie.transpose}
    record = {RECORD: json.dumps(file_metadata(contents), ensure_ascii=False)}
    # transformers refuses to load a file without the key "format"
    return {FRAMEWORK: "pt"} | ties | record | carried_metadata(model, contents.origin)


def carried_metadata(model: Model, origin: Origin) -> dict[str, Any]:
    """Return the metadata of the file that values come from, as a safetensors file of a model has it.

    Left out are values that are too large, keys with another meaning here, a key that is a tied name now and would undo
    the tie, and a text that is a name and would be read as one.
    """
    is_own = origin.format in (NAME, SHARDS_NAME)  # there, "format" and "total_size" have this meaning
    return {
        key: value if _is_json(value) else json.dumps(value)
        for key, value in origin.metadata.items()
        if (key in KEYS and is_own)
        or not (
            key in (*KEYS, METADATA)
            or key in model.tied
            or isinstance(value, Omitted)
            or (isinstance(value, str) and value in model.parameters)
        )
    }


def _is_json(value: Any) -> bool:
    """Return False for a value with a NaN or an infinity, which the JSON of an index does not have."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return metadata as a file has it, whose values are texts: an index may have numbers, such as total_size."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}


def write(path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
    """Write a file; see Format.write."""
    with replacing(path, options.force, options.confirm) as temporary:
        extents = lay_out(temporary, contents)
        yield from write_values(contents, contents.model.parameters.values(), temporary, extents, options)


def lay_out(temporary: Temporary, contents: Contents) -> dict[str, Extent]:
    """Reserve the space of a file and write its header. Return the extents of its values."""
    owners = list(contents.model.owners())
    data, extents = build_header(owners, with_record(_texts(metadata_of(contents)), owners))
    temporary.reserve(len(data) + sum(owner.bytes for owner in owners))
    temporary.write(data, 0)
    return extents


def with_record(metadata: Mapping[str, str], arrays: Sequence[Parameter]) -> dict[str, str]:
    """Return the metadata of a file of these arrays with a record of their hashes, which is filled in later."""
    return {**metadata, SUMS: record_text(sum(array.size > 0 for array in arrays))}


def stream(contents: Contents) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a file in order, for a pipe. It has no record of hashes, which would precede the values."""
    data, _ = build_header(list(contents.model.owners()), _texts(metadata_of(contents)))
    yield data
    pieces = (piece for owner in contents.model.owners() for piece in contents.pieces(owner))
    yield from in_parallel(lambda piece: as_bytes(contents.read(*piece)), pieces)


def clear_provenance(temporary: Temporary, paths: Sequence[str]) -> None:
    """Remove the scheme and seed of these arrays from a file. Spaces keep the length of its header."""
    location = LocalFile(os.dup(temporary.descriptor), temporary.target)
    header = parse_header(location)
    record = parse_record(header.metadata, len(header.entries))
    attributes = record.get("parameters")
    if not isinstance(attributes, dict):
        return
    for path in paths:
        for name in ORIGIN_KEYS:
            if isinstance(attributes.get(path), dict):
                attributes[path].pop(name, None)
    metadata = header.metadata | {RECORD: json.dumps(record, ensure_ascii=False)}
    entries = {METADATA: metadata} | {name: entry.as_json() for name, entry in header.entries.items()}
    data = header_text(entries)
    # A header of another writer may be shorter than ours. It keeps its record, because the values must not move.
    if len(data) <= header.start - 8:
        temporary.write(data.ljust(header.start - 8), 8)
