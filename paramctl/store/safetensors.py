"""safetensors: a header of JSON, then the values. https://github.com/huggingface/safetensors#format

Read as the specification has it, which is stricter than the library: no duplicate keys, no space before the
header, no hole and no overlap. Written with its names as they are; ties as ``__metadata__[tied] = kept``, as the
hub's helpers do; and what else a native file would say under ``__metadata__["paramctl"]``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import PurePath
from typing import Any

from paramctl.arrays import numpy_dtype
from paramctl.errors import InputError
from paramctl.model import Model, Tie
from paramctl.parameter import BYTES, Parameter
from paramctl.store.atomic import Temporary
from paramctl.store.checkpoint import (
    Checkpoint,
    Note,
    described,
    document_of,
    in_order,
    model_of,
    stored,
    tied_to,
    transposed_of,
)
from paramctl.store.extents import Extent, Extents
from paramctl.store.files import Bytes, OnDisk

MOST_HEADER = 100_000_000
MOST_AXES = 64
OWN = "paramctl"

NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "C64": "complex64",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}
DTYPES = {dtype: name for name, dtype in NAMES.items()}


def read(file: Bytes) -> Checkpoint:
    """What a safetensors file holds. Raises InputError unless it is exactly what the specification says."""
    parameters, extents, metadata = contents(file)
    model, notes = described_by(metadata, parameters, PurePath(file.name).stem)
    return Checkpoint(model, Extents(file, extents), file, notes, (), extents)


def contents(file: Bytes) -> tuple[dict[str, Parameter], dict[str, Extent], dict[str, str]]:
    """The arrays in a file, where their values lie, and its metadata. Raises InputError."""
    try:
        header, start = _header(file)
        metadata = _metadata(header)
        return *_entries(header, start, file), metadata
    except RecursionError as error:
        raise InputError(f"{file.name}: its header nests too deep") from error
    except ValueError as error:
        raise InputError(f"{file.name}: {error}") from error


def described_by(
    metadata: Mapping[str, str], parameters: dict[str, Parameter], name: str
) -> tuple[Model, dict[str, Note]]:
    """The model of these arrays, with what metadata says of them: ties, and what paramctl wrote."""
    own = _own(metadata)
    document, transposed = document_of(own), transposed_of(own, parameters)
    told = own.get("parameters")
    told = {path: each for path, each in told.items() if isinstance(each, dict)} if isinstance(told, dict) else {}
    for path, each in parameters.items():
        parameters[path] = stored(path, each.shape, each.dtype, told.get(path))
    notes = {path: Note(each.get("scheme"), each.get("seed")) for path, each in told.items()}
    ties = tuple(Tie(kept, tied) for tied, kept in metadata.items() if kept in parameters and tied not in parameters)
    for tie in (*ties, *transposed):
        parameters[tie.tied] = tied_to(tie, parameters[tie.kept])
    every = in_order((*ties, *transposed), own)
    return model_of(document.name if document else name, parameters, every, document), notes


def _own(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What paramctl wrote beside the values; nothing if it is not what it must be."""
    try:
        own = json.loads(metadata.get(OWN, "{}"))
    except ValueError:
        return {}
    return own if isinstance(own, dict) else {}


def _header(file: Bytes) -> tuple[dict[str, Any], int]:
    size = int.from_bytes(file.read(0, 8), "little")
    if size > MOST_HEADER:
        raise ValueError(f"its header claims {size:,} bytes; at most {MOST_HEADER:,} are allowed")
    data = file.read(8, size)
    if len(data) < size:
        raise ValueError(f"its header claims {size:,} bytes, and the file ends before")
    if data[:1] != b"{":
        raise ValueError("its header must begin with '{'")
    try:
        header = json.loads(data.decode("utf-8").rstrip(" "), object_pairs_hook=_without_twins)
    except UnicodeDecodeError as error:
        raise ValueError("its header is not text in UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is no JSON: {error}") from error
    return header, 8 + size


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"its header has the key {twin!r} twice")
    return made


def _metadata(header: dict[str, Any]) -> dict[str, str]:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(each, str) for each in metadata.values()):
        raise ValueError("its __metadata__ must map text to text")
    return metadata


def _entries(header: dict[str, Any], start: int, file: Bytes) -> tuple[dict[str, Parameter], dict[str, Extent]]:
    """The arrays in the order in which they lie, and where: each where the one before it ends."""
    parameters: dict[str, Parameter] = {}
    extents: dict[str, Extent] = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: _place(*item)):
        dtype, shape = NAMES[entry["dtype"]], entry["shape"]
        begin, stop = entry["data_offsets"]
        if begin != end:
            raise ValueError(f"{name!r} must begin at byte {end:,} of the values, where the one before it ends")
        if stop - begin != prod(shape) * BYTES[dtype]:
            needed = f"its shape {tuple(shape)} in {dtype} needs {prod(shape) * BYTES[dtype]:,}"
            raise ValueError(f"{name!r} has {stop - begin:,} bytes, and {needed}")
        parameters[name] = stored(name, tuple(shape), dtype)
        extents[name] = Extent(start + begin, numpy_dtype(dtype).newbyteorder("<"))
        end = stop
    if isinstance(file, OnDisk) and file.size() != start + end:
        raise ValueError(f"it has {file.size():,} bytes, and by its header {start + end:,}")
    return parameters, extents


def _place(name: str, entry: Any) -> tuple[int, int]:
    """Where an entry lies; ValueError if it is not what an entry must be."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} must have dtype, shape and data_offsets, and nothing else")
    if any("\ud800" <= each <= "\udfff" for each in name):
        raise ValueError(f"the name {name!r} is not text")
    if entry["dtype"] not in NAMES:
        raise ValueError(f"{name!r} has the dtype {entry['dtype']!r}, which is not supported")
    for key in ("shape", "data_offsets"):
        value = entry[key]
        if not isinstance(value, list) or not all(type(each) is int and 0 <= each < 2**63 for each in value):
            raise ValueError(f"{name!r}: {key} must be a list of whole numbers, not negative")
    if len(entry["data_offsets"]) != 2 or entry["data_offsets"][1] < entry["data_offsets"][0]:
        raise ValueError(f"{name!r}: data_offsets must be a place and one that is not before it")
    if len(entry["shape"]) > MOST_AXES:
        raise ValueError(f"{name!r} may have at most {MOST_AXES} axes")
    begin, end = entry["data_offsets"]
    return begin, end


def header(model: Model, notes: Mapping[str, Note], recipe: int) -> tuple[bytes, dict[str, Extent]]:
    """The header for a model's arrays, and where in the file the values of each are to be written."""
    return header_of(list(model.owners()), metadata_of(model, notes, recipe))


def header_of(parameters: Sequence[Parameter], metadata: Mapping[str, str]) -> tuple[bytes, dict[str, Extent]]:
    """The same for some arrays, under this metadata."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    places = {}
    for parameter in parameters:
        begin, end = end, end + parameter.bytes
        places[parameter.path] = begin
        name, shape = DTYPES[parameter.dtype], list(parameter.shape)
        entries[parameter.path] = {"dtype": name, "shape": shape, "data_offsets": [begin, end]}
    data = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    data += b" " * (-len(data) % 8)
    start = 8 + len(data)
    extents = {
        parameter.path: Extent(start + places[parameter.path], numpy_dtype(parameter.dtype).newbyteorder("<"))
        for parameter in parameters
        if parameter.size
    }
    return len(data).to_bytes(8, "little") + data, extents


def metadata_of(model: Model, notes: Mapping[str, Note], recipe: int) -> dict[str, str]:
    """What is said beside the values: as the hub's helpers do, and what else a native file would say."""
    ties = {tie.tied: tie.kept for tie in model.ties if not tie.transpose}
    return {"format": "pt"} | ties | {OWN: json.dumps(described(model, notes, recipe), ensure_ascii=False)}


def unmark(temporary: Temporary, paths: Sequence[str]) -> None:
    """Take from arrays what is said of how they came by their values; the header keeps its length, by spaces."""
    file = OnDisk(os.dup(temporary.descriptor), temporary.target)
    made, start = _header(file)
    own = _own(made.get("__metadata__", {}))
    told = own.get("parameters")
    if not isinstance(told, dict):
        return
    for path in paths:
        for name in ("scheme", "seed"):
            if isinstance(told.get(path), dict):
                told[path].pop(name, None)
    made["__metadata__"][OWN] = json.dumps(own, ensure_ascii=False)
    data = json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    if len(data) <= start - 8:  # somebody else's may be written more briefly than ours
        temporary.write(data.ljust(start - 8), 8)


def create(
    temporary: Temporary, model: Model, notes: Mapping[str, Note], recipe: int, like: Bytes | None = None
) -> dict[str, Extent]:
    """Lay out a file: the space, and the header."""
    metadata = metadata_of(model, notes, recipe)
    if like is not None and like.read(8, 1) == b"{":  # what somebody else has said goes along
        _, _, old = contents(like)
        theirs = {key: text for key, text in old.items() if text not in model.parameters}
        metadata = metadata | theirs | {OWN: metadata[OWN]}
    data, extents = header_of(list(model.owners()), metadata)
    temporary.reserve(len(data) + sum(each.bytes for each in model.owners()))
    temporary.write(data, 0)
    return extents
