"""safetensors: a header of JSON, then the values. https://github.com/huggingface/safetensors#format

Read as the specification has it, which is stricter than the library: no duplicate keys, no space before the
header, no hole and no overlap. Written with its names as they are; ties as ``__metadata__[tied] = kept``, as the
hub's helpers do; and what else a native file would say under ``__metadata__["paramctl"]``.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import PurePath
from typing import Any, NamedTuple

from paramctl.address.quoting import address_of, shell_quoted
from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES, Parameter
from paramctl.errors import InputError, OutputError
from paramctl.model import Model, Tie
from paramctl.store.checkpoint import (
    Checkpoint,
    Provenance,
    document_of,
    file_metadata,
    keras_of,
    model_of,
    sort_ties,
    stored_parameter,
    tied_to,
    transposed_of,
)
from paramctl.store.io.atomic import Temporary
from paramctl.store.io.extents import Extent, ExtentReader
from paramctl.store.io.json_limits import parse_json
from paramctl.store.location import LocalFile, Location

MOST_HEADER = 100_000_000
MOST_METADATA = 32_000_000
MOST_ARRAYS = 300_000
MOST_AXES = 64
MOST_TOKENS = 32
"""For each array, in what paramctl says of all."""
LONGEST_ENTRY = 8_192
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


def read(file: Location) -> Checkpoint:
    """What a safetensors file holds. Raises InputError unless it is exactly what the specification says."""
    parameters, extents, metadata = contents(file)
    model, notes = described_by(metadata, parameters, PurePath(file.name).stem)
    return Checkpoint(model, ExtentReader(file, extents), file, notes, (), extents)


def contents(file: Location) -> tuple[dict[str, Parameter], dict[str, Extent], dict[str, str]]:
    """The arrays in a file, where their values lie, and its metadata. Raises InputError."""
    try:
        found = _header(file)
        return *_laid_out(found, file), found.metadata
    except ValueError as error:
        raise InputError(f"{file.name}: {error}") from error


def described_by(
    metadata: Mapping[str, str], parameters: dict[str, Parameter], name: str
) -> tuple[Model, dict[str, Provenance]]:
    """The model of these arrays, with what metadata says of them: ties, and what paramctl wrote."""
    own = _own(metadata, len(parameters))
    document, transposed = document_of(own), transposed_of(own, parameters)
    told = own.get("parameters")
    told = {path: each for path, each in told.items() if isinstance(each, dict)} if isinstance(told, dict) else {}
    for path, each in parameters.items():
        parameters[path] = stored_parameter(path, each.shape, each.dtype, told.get(path))
    notes = {path: _note(each) for path, each in told.items()}
    ties = tuple(Tie(kept, tied) for tied, kept in metadata.items() if kept in parameters and tied not in parameters)
    for tie in (*ties, *transposed):
        parameters[tie.tied] = tied_to(tie, parameters[tie.kept])
    every = sort_ties((*ties, *transposed), own)
    return model_of(document.name if document else name, parameters, every, document, keras_of(own, parameters)), notes


def _note(told: Mapping[str, Any]) -> Provenance:
    scheme, seed = told.get("scheme"), told.get("seed")
    return Provenance(scheme if isinstance(scheme, str) else None, seed if type(seed) is int else None)


def _own(metadata: Mapping[str, str], arrays: int) -> dict[str, Any]:
    """What paramctl wrote beside the values of so many arrays; nothing if it is not what it must be."""
    try:
        own = parse_json(metadata.get(OWN, "{}"), MOST_TOKENS * (arrays + len(metadata) + 1_000))
    except ValueError:
        return {}
    return own if isinstance(own, dict) else {}


class Entry(NamedTuple):
    """What a header says of an array. begin, end: where its values lie, from the first of all."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def told(self) -> dict[str, Any]:
        """As the header has it."""
        return {"dtype": self.dtype, "shape": list(self.shape), "data_offsets": [self.begin, self.end]}


class Header(NamedTuple):
    """A header as it was read. start: where in the file the values begin."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    start: int


def _header(file: Location) -> Header:
    """The header, read an entry at a time: what no entry may hold is never built, however much there is of it."""
    size = int.from_bytes(file.read(0, 8), "little")
    if size > MOST_HEADER:
        raise ValueError(f"its header claims {size:,} bytes; at most {MOST_HEADER:,} are allowed")
    data = file.read(8, size)
    if len(data) < size:
        raise ValueError(f"its header claims {size:,} bytes, and the file ends before")
    if data[:1] != b"{":
        raise ValueError("its header must begin with '{'")
    entries: dict[str, Entry] = {}
    metadata: dict[str, str] = {}
    text = _Text(data)
    try:
        for name in text.pairs():
            if name == "__metadata__":
                metadata = dict(text.texts())
            elif len(entries) >= MOST_ARRAYS:
                raise ValueError(f"it has more than {MOST_ARRAYS:,} arrays")
            else:
                entries[name] = _entry(name, text.flat())
    except UnicodeDecodeError as error:
        raise ValueError("its header is not text in UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is no JSON: {error}") from error
    if text.place < size:
        raise ValueError(f"its header is no JSON: it ends at its byte {text.place:,}, and more follows")
    return Header(entries, metadata, 8 + size)


class _Text:
    """The JSON of a header, a piece after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, pattern: re.Pattern[bytes], what: str) -> bytes:
        found = pattern.match(self.data, self.place)
        if found is None:
            raise ValueError(f"its header is no JSON: {what} must stand at its byte {self.place:,}")
        self.place = found.end()
        return found[1]

    def pairs(self) -> Iterator[str]:
        """Each key of an object; whoever listens takes its value."""
        self.take(_OPEN, "'{'")
        if _CLOSE.match(self.data, self.place):
            self.take(_CLOSE, "'}'")
            return
        keys: set[str] = set()
        more = True
        while more:
            key = self.text(_KEY, "a name and ':'")
            if key in keys:
                raise ValueError(f"its header has the key {key!r} twice")
            keys.add(key)
            yield key
            more = self.take(_NEXT, "',' or '}'") == b","

    def text(self, pattern: re.Pattern[bytes], what: str) -> str:
        raw = self.take(pattern, what)
        if b"\\" not in raw:
            return raw[1:-1].decode("utf-8")
        text: str = json.loads(raw)
        if any("\ud800" <= each <= "\udfff" for each in text):
            raise ValueError(f"{text!r} in its header is not text")
        return text

    def texts(self) -> Iterator[tuple[str, str]]:
        """The pairs of __metadata__."""
        begin = self.place
        if not _OPEN.match(self.data, self.place):
            raise ValueError("its __metadata__ must map text to text")
        for many, key in enumerate(self.pairs()):
            value = _QUOTED.match(self.data, self.place)
            if value is None:
                raise ValueError(f"its __metadata__ must map text to text, and {key!r} is none")
            if value.end() - begin > MOST_METADATA or many >= MOST_ARRAYS:
                rule = f"at most {MOST_ARRAYS:,} texts of {MOST_METADATA:,} bytes together"
                raise ValueError(f"its __metadata__ may have {rule}")
            yield key, self.text(_QUOTED, "a text")

    def flat(self) -> Any:
        """An object in which no other lies; None if something else stands there."""
        found = _FLAT.match(self.data, self.place)
        if found is None:
            return None
        self.place = found.end()
        return _DECODER.raw_decode(found[1].decode("utf-8"))[0]


_SPACE = rb"[ \t\n\r]*+"
_OPEN, _CLOSE, _NEXT = (re.compile(rb"([%s])" % each + _SPACE) for each in (b"{", b"}", b",}"))
_QUOTED = re.compile(rb'("(?:[^"\\\x00-\x1f]++|\\[^\x00-\x1f])*+")' + _SPACE)
_KEY = re.compile(_QUOTED.pattern + rb":" + _SPACE)
_FLAT = re.compile(rb"(\{[^{}]{0,%d}+\})" % LONGEST_ENTRY + _SPACE)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"its header has the key {twin!r} twice")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_without_twins)


def _entry(name: str, told: Any) -> Entry:
    """What is told of an array; ValueError if it is not what an entry must be."""
    if not isinstance(told, dict) or told.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} in its header must have dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = told["dtype"], told["shape"], told["data_offsets"]
    if not isinstance(dtype, str) or dtype not in NAMES:
        raise ValueError(f"{name!r} has the dtype {dtype!r}, which is not supported")
    for key in ("shape", "data_offsets"):
        value = told[key]
        if not isinstance(value, list) or not all(type(each) is int and 0 <= each < 2**63 for each in value):
            raise ValueError(f"{name!r}: {key} must be a list of whole numbers, not negative and below 2^63")
    if len(offsets) != 2 or offsets[1] < offsets[0]:
        raise ValueError(f"{name!r}: data_offsets must be a place and one that is not before it")
    if len(shape) > MOST_AXES:
        raise ValueError(f"{name!r} may have at most {MOST_AXES} axes")
    return Entry(sys.intern(dtype), tuple(shape), *offsets)


def _laid_out(found: Header, file: Location) -> tuple[dict[str, Parameter], dict[str, Extent]]:
    """The arrays in the order in which they lie, and where: each where the one before it ends."""
    parameters: dict[str, Parameter] = {}
    extents: dict[str, Extent] = {}
    end = 0
    for name, entry in sorted(found.entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        dtype, size = NAMES[entry.dtype], entry.end - entry.begin
        if entry.begin != end:
            raise ValueError(f"{name!r} must begin at byte {end:,} of the values, where the one before it ends")
        needed = prod(entry.shape) * DTYPE_BYTES[dtype]
        if size != needed:
            raise ValueError(f"{name!r} has {size:,} bytes, and its shape {entry.shape} in {dtype} needs {needed:,}")
        if not needed and prod(each for each in entry.shape if each) * DTYPE_BYTES[dtype] >= 2**63:
            raise ValueError(f"{name!r} is empty, and its shape {entry.shape} is more than NumPy can have all the same")
        parameters[name] = stored_parameter(name, entry.shape, dtype)
        extents[name] = Extent(found.start + entry.begin, numpy_dtype(dtype).newbyteorder("<"))
        end = entry.end
    if isinstance(file, LocalFile) and file.size() != found.start + end:
        raise ValueError(f"it has {file.size():,} bytes, and by its header {found.start + end:,}")
    return parameters, extents


def header(model: Model, notes: Mapping[str, Provenance], recipe: int) -> tuple[bytes, dict[str, Extent]]:
    """The header for a model's arrays, and where in the file the values of each are to be written."""
    return header_of(list(model.owners()), metadata_of(model, notes, recipe))


def _cast_hint(parameter: Parameter) -> str:
    """Return the option that casts an array to a dtype that safetensors has, as it is typed, or ""."""
    if parameter.dtype != "complex128":
        return ""
    address = address_of(parameter.path, "/" if "/" in parameter.path else ".")
    return f". Use --dtype {shell_quoted(f'{address}=complex64')}"


def header_of(parameters: Sequence[Parameter], metadata: Mapping[str, str]) -> tuple[bytes, dict[str, Extent]]:
    """The same for some arrays, under this metadata."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    places = {}
    for parameter in parameters:
        begin, end = end, end + parameter.bytes
        places[parameter.path] = begin
        if parameter.dtype not in DTYPES:
            raise OutputError(f"{parameter.path}: safetensors has no {parameter.dtype}{_cast_hint(parameter)}")
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


def metadata_of(model: Model, notes: Mapping[str, Provenance], recipe: int) -> dict[str, str]:
    """What is said beside the values: as the hub's helpers do, and what else a native file would say."""
    ties = {tie.tied: tie.kept for tie in model.ties if not tie.transpose}
    return {"format": "pt"} | ties | {OWN: json.dumps(file_metadata(model, notes, recipe), ensure_ascii=False)}


def clear_provenance(temporary: Temporary, paths: Sequence[str]) -> None:
    """Take from arrays what is said of how they came by their values; the header keeps its length, by spaces."""
    file = LocalFile(os.dup(temporary.descriptor), temporary.target)
    found = _header(file)
    own = _own(found.metadata, len(found.entries))
    told = own.get("parameters")
    if not isinstance(told, dict):
        return
    for path in paths:
        for name in ("scheme", "seed"):
            if isinstance(told.get(path), dict):
                told[path].pop(name, None)
    said = found.metadata | {OWN: json.dumps(own, ensure_ascii=False)}
    made = {"__metadata__": said} | {name: entry.told for name, entry in found.entries.items()}
    data = json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    if len(data) <= found.start - 8:  # somebody else's may be written more briefly than ours
        temporary.write(data.ljust(found.start - 8), 8)


def create(
    temporary: Temporary, model: Model, notes: Mapping[str, Provenance], recipe: int, like: Checkpoint | None = None
) -> dict[str, Extent]:
    """Lay out a file: the space, and the header."""
    metadata = metadata_of(model, notes, recipe)
    if like is not None and not model.stored and like.file.read(8, 1) == b"{":  # what somebody else has said goes along
        _, _, old = contents(like.file)
        theirs = {key: text for key, text in old.items() if text not in model.parameters}
        metadata = metadata | theirs | {OWN: metadata[OWN]}
    data, extents = header_of(list(model.owners()), metadata)
    temporary.reserve(len(data) + sum(each.bytes for each in model.owners()))
    temporary.write(data, 0)
    return extents
