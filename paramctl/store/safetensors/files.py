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
from paramctl.model import Tie
from paramctl.parallel import in_parallel
from paramctl.store.checkpoint import Checkpoint, build_model, stored_parameter, tied_parameter
from paramctl.store.contents import Contents, Origin, Provenance, Reader
from paramctl.store.io.atomic import Temporary, replacing
from paramctl.store.io.extents import Extent, ExtentReader, as_bytes
from paramctl.store.io.json_limits import parse_json
from paramctl.store.io.write_values import WriteOptions, Written, write_values
from paramctl.store.location import LocalFile, Location
from paramctl.store.metadata import document_of, file_metadata, keras_of, sort_ties, transposed_ties_of
from paramctl.store.safetensors.format import Safetensors
from paramctl.store.safetensors.header import METADATA, arrays_of, build_header, header_text, parse_header

OWN = "paramctl"
MAX_TOKENS_PER_ARRAY = 32
"""Of paramctl's own metadata."""
SPARE_ARRAYS = 1_000
"""For as many more arrays tokens are allowed, so that the metadata of small files is not refused."""


def read(location: Location) -> Checkpoint:
    """Read the header of a file. Raises InputError unless the file is exactly as the specification says."""
    parameters, extents, metadata = read_arrays(location)
    origin = Origin(location, Safetensors.name, location, extents=extents)
    return as_checkpoint(parameters, metadata, PurePath(location.name).stem, ExtentReader(location, extents), origin)


def read_arrays(location: Location) -> tuple[dict[str, Parameter], dict[str, Extent], dict[str, str]]:
    """Return the arrays of a file, where their values are, and the file's metadata. Raises InputError."""
    try:
        header = parse_header(location)
        return *arrays_of(header, location), header.metadata
    except ValueError as error:
        raise InputError(f"{location.name}: {error}") from error


def as_checkpoint(
    parameters: dict[str, Parameter], metadata: Mapping[str, str], name: str, reader: Reader, origin: Origin
) -> Checkpoint:
    """Build the checkpoint of these arrays, with what the metadata records: ties, and paramctl's own.

    name: of the model, if no document names it.
    """
    own = _own_metadata(metadata, len(parameters))
    document, transposed = document_of(own), transposed_ties_of(own, parameters)
    recorded = own.get("parameters")
    attributes = recorded if isinstance(recorded, dict) else {}
    attributes = {path: value for path, value in attributes.items() if isinstance(value, dict)}
    for path, parameter in parameters.items():
        parameters[path] = stored_parameter(path, parameter.shape, parameter.dtype, attributes.get(path))
    plain = (Tie(kept, tied) for tied, kept in metadata.items() if kept in parameters and tied not in parameters)
    ties = (*plain, *transposed)
    for tie in ties:
        parameters[tie.tied] = tied_parameter(tie, parameters[tie.kept])
    model, other_document = build_model(document.name if document else name, parameters, sort_ties(ties, own), document)
    origin = replace(
        origin,
        provenance={path: _provenance(value) for path, value in attributes.items()},
        document=other_document,
        keras=keras_of(own, parameters),
    )
    return Checkpoint(model, reader, origin)


def _provenance(attributes: Mapping[str, Any]) -> Provenance:
    scheme, seed = attributes.get("scheme"), attributes.get("seed")
    return Provenance(scheme if isinstance(scheme, str) else None, seed if type(seed) is int else None)


def _own_metadata(metadata: Mapping[str, str], arrays: int) -> dict[str, Any]:
    """Return paramctl's own metadata, or none if it is malformed."""
    limit = MAX_TOKENS_PER_ARRAY * (arrays + len(metadata) + SPARE_ARRAYS)
    try:
        own = parse_json(metadata.get(OWN, "{}"), limit)
    except ValueError:
        return {}
    return own if isinstance(own, dict) else {}


def metadata_of(contents: Contents) -> dict[str, str]:
    """Return the metadata of a new file."""
    ties = {tie.tied: tie.kept for tie in contents.model.ties if not tie.transpose}
    return {"format": "pt"} | ties | {OWN: json.dumps(file_metadata(contents), ensure_ascii=False)}


def write(path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
    """Write a file; see Format.write."""
    with replacing(path, options.force) as temporary:
        extents = lay_out(temporary, contents)
        yield from write_values(contents, contents.model.parameters.values(), temporary, extents, options)


def lay_out(temporary: Temporary, contents: Contents) -> dict[str, Extent]:
    """Reserve the space of a file and write its header; return where the values go."""
    model, companion = contents.model, contents.origin.companion
    metadata = metadata_of(contents)
    if companion is not None and companion.read(8, 1) == b"{":  # carry over the metadata of another safetensors file
        _, _, old = read_arrays(companion)
        carried = {key: text for key, text in old.items() if text not in model.parameters}  # without its ties
        metadata = metadata | carried | {OWN: metadata[OWN]}
    owners = list(model.owners())
    data, extents = build_header(owners, metadata)
    temporary.reserve(len(data) + sum(owner.bytes for owner in owners))
    temporary.write(data, 0)
    return extents


def stream(contents: Contents) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a file in order, for a pipe."""
    data, _ = build_header(list(contents.model.owners()), metadata_of(contents))
    yield data
    pieces = (piece for owner in contents.model.owners() for piece in contents.pieces(owner))
    yield from in_parallel(lambda piece: as_bytes(contents.read(*piece)), pieces)


def clear_provenance(temporary: Temporary, paths: Sequence[str]) -> None:
    """Remove scheme and seed of these arrays from a file. Spaces keep the header at its length."""
    location = LocalFile(os.dup(temporary.descriptor), temporary.target)
    header = parse_header(location)
    own = _own_metadata(header.metadata, len(header.entries))
    attributes = own.get("parameters")
    if not isinstance(attributes, dict):
        return
    for path in paths:
        for name in ("scheme", "seed"):
            if isinstance(attributes.get(path), dict):
                attributes[path].pop(name, None)
    metadata = header.metadata | {OWN: json.dumps(own, ensure_ascii=False)}
    entries = {METADATA: metadata} | {name: entry.as_json() for name, entry in header.entries.items()}
    data = header_text(entries)
    if len(data) <= header.start - 8:  # another writer's JSON may be denser than ours, and then keeps its record
        temporary.write(data.ljust(header.start - 8), 8)
