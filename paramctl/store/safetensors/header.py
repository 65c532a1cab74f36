"""The header of a safetensors file: parsed within limits, and written.

The parser follows the specification, which is stricter than the library: no duplicate keys, no space before the
header, no hole and no overlap between arrays. https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from paramctl.address.quoting import address_of, shell_quoted
from paramctl.core.parameter import DTYPE_BYTES, PACKED_BITS, Parameter, bytes_of
from paramctl.errors import OutputError
from paramctl.store.checkpoint import stored_parameter
from paramctl.store.header_cache import HeaderCache
from paramctl.store.io.extents import Extent
from paramctl.store.io.json_limits import parse_integer
from paramctl.store.location import Location, SpooledPipe
from paramctl.store.safetensors import MAX_HEADER

MAX_METADATA = 32_000_000
MAX_ARRAYS = 300_000
MAX_AXES = 64
MAX_ENTRY = 8_192
"""Bytes of the JSON that describes one array."""
MAX_SIZE = 2**63
CACHED = 256
"""A file has few shapes."""
METADATA = "__metadata__"

DTYPES = {
    "BOOL": "bool",
    "F4": "float4_e2m1fn",
    "F6_E2M3": "float6_e2m3fn",
    "F6_E3M2": "float6_e3m2fn",
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
"""paramctl's names of the format's dtypes."""
CODES = {dtype: code for code, dtype in DTYPES.items()}


class Entry(NamedTuple):
    """The header's entry of one array. begin, end: offsets of its bytes from the first value of all."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    def as_json(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "shape": list(self.shape), "data_offsets": [self.begin, self.end]}


class Header(NamedTuple):
    """A parsed header. start: the offset of the first value in the file."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    start: int


_HEADERS: HeaderCache[Header] = HeaderCache()


def parse_header(location: Location) -> Header:
    """Return the header of a file, parsed once while the file is open. Raises ValueError."""
    header = _HEADERS.get(location)
    if header is None:
        header = _parse_header(location)
        _HEADERS.put(location, header)
    return header


def _parse_header(location: Location) -> Header:
    """Parse the header of a file, entry by entry, so that a hostile one never becomes large objects in memory."""
    start = location.read(0, 8)
    if len(start) < 8:
        raise ValueError(f"truncated within the length of the header: {len(start)} of 8 bytes")
    size = int.from_bytes(start, "little")
    if size > MAX_HEADER:
        raise ValueError(f"the header has {size:,} bytes; at most {MAX_HEADER:,} are allowed")
    data = location.read(8, size)
    if len(data) < size:
        raise ValueError(f"truncated within the header: {8 + len(data):,} of {8 + size:,} bytes")
    if data[:1] != b"{":
        raise ValueError("the header must begin with '{'")
    entries: dict[str, Entry] = {}
    metadata: dict[str, str] = {}
    text = _Scanner(data)
    try:
        for name in text.object_keys():
            if name == METADATA:
                metadata = dict(text.string_pairs())
            elif len(entries) >= MAX_ARRAYS:
                raise ValueError(f"more than {MAX_ARRAYS:,} arrays")
            else:
                entries[name] = text.plain_entry() or _entry(name, text.flat_object())
    except UnicodeDecodeError as error:
        raise ValueError("the header must be text in UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"the header is not JSON: {error}") from error
    if text.position < size:
        raise ValueError(f"the header is not JSON: it ends at byte {text.position:,} of {size:,}")
    return Header(entries, metadata, 8 + size)


class _Scanner:
    """A scanner of the JSON of a header, token by token."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, pattern: re.Pattern[bytes], expected: str) -> bytes:
        match = pattern.match(self.data, self.position)
        if match is None:
            raise ValueError(f"the header is not JSON: expected {expected} at byte {self.position:,}")
        self.position = match.end()
        return match[1]

    def object_keys(self) -> Iterator[str]:
        """Yield each key of an object. The caller must take the key's value before the next key."""
        self.take(_OPEN, "'{'")
        if _CLOSE.match(self.data, self.position):
            self.take(_CLOSE, "'}'")
            return
        seen: set[str] = set()
        more = True
        while more:
            key = self.string(_KEY, "a name and ':'")
            if key in seen:
                raise ValueError(f"the header has the key {key!r} twice")
            seen.add(key)
            yield key
            more = self.take(_NEXT, "',' or '}'") == b","

    def string(self, pattern: re.Pattern[bytes], expected: str) -> str:
        raw = self.take(pattern, expected)
        if b"\\" not in raw:  # json.loads is several times slower, and few names have escapes
            return raw[1:-1].decode("utf-8")
        text: str = json.loads(raw)
        if any("\ud800" <= character <= "\udfff" for character in text):  # half of a surrogate pair
            raise ValueError(f"the header has {text!r}, which is not Unicode text")
        return text

    def string_pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the keys and values of an object that maps strings to strings, as __metadata__ must."""
        begin = self.position
        if not _OPEN.match(self.data, self.position):
            raise ValueError(f"{METADATA} must map strings to strings")
        for count, key in enumerate(self.object_keys()):
            value = _QUOTED.match(self.data, self.position)
            if value is None:
                raise ValueError(f"{METADATA} must map strings to strings, and the value of {key!r} is not one")
            if value.end() - begin > MAX_METADATA or count >= MAX_ARRAYS:
                limit = f"{MAX_ARRAYS:,} strings of together {MAX_METADATA:,} bytes"
                raise ValueError(f"{METADATA} may have at most {limit}")
            yield key, self.string(_QUOTED, "a string")

    def plain_entry(self) -> Entry | None:
        """Return an entry that is written as safetensors or json write it, or None for any other value.

        Most entries are. The rules are those of ``_entry``, in a quarter of its time.
        """
        match = _PLAIN.match(self.data, self.position)
        if match is None:
            return None
        dtype, shape, begin, end = match.groups()
        entry = Entry(sys.intern(dtype.decode()), _plain_shape(shape), int(begin), int(end))
        if entry.dtype not in DTYPES or not entry.begin <= entry.end:
            return None
        self.position = match.end()
        return entry

    def flat_object(self) -> Any:
        """Return an object without nested objects, or None if the next value is anything else."""
        match = _FLAT.match(self.data, self.position)
        if match is None:
            return None
        self.position = match.end()
        try:
            return _DECODER.raw_decode(match[1].decode("utf-8"))[0]
        except RecursionError:  # brackets in brackets
            return None


# possessive quantifiers (*+, ++) never give back what they have taken: a hostile header is scanned in linear time
_SPACE = rb"[ \t\n\r]*+"
_OPEN, _CLOSE, _NEXT = (re.compile(rb"([%s])" % characters + _SPACE) for characters in (b"{", b"}", b",}"))
_QUOTED = re.compile(rb'("(?:[^"\\\x00-\x1f]++|\\[^\x00-\x1f])*+")' + _SPACE)
_KEY = re.compile(_QUOTED.pattern + rb":" + _SPACE)
_NUMBER = rb"(?:0|[1-9][0-9]{0,17}+)"  # below 2^63
# no possessive group here: with early releases of Python 3.11 it takes the comma of "1,"
_SIZES = rb"(?:%b(?:, ?%b){0,%d})?" % (_NUMBER, _NUMBER, MAX_AXES - 1)
_PLAIN = re.compile(
    rb'\{"dtype": ?"([A-Z0-9_]++)", ?"shape": ?\[(%b)\], ?"data_offsets": ?\[(%b), ?(%b)\]\}'
    % (_SIZES, _NUMBER, _NUMBER)
    + _SPACE
)
_FLAT = re.compile(rb"(\{[^{}]{0,%d}+\})" % MAX_ENTRY + _SPACE)


@lru_cache(CACHED)
def _plain_shape(text: bytes) -> tuple[int, ...]:
    return tuple(map(int, text.split(b","))) if text else ()


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        duplicate = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the header has the key {duplicate!r} twice")
    return mapping


def _parse_integer(digits: str) -> int:
    if digits == "-0":  # the safetensors library refuses it
        raise ValueError("the header is damaged: -0 is neither a size nor an offset")
    try:
        return parse_integer(digits)
    except ValueError as error:
        raise ValueError(f"the header is damaged: {error}") from error


_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_int=_parse_integer)


def _entry(name: str, value: Any) -> Entry:
    """Check the entry of an array. Raises ValueError."""
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} must have dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{name!r}: unsupported dtype {dtype!r}")
    for key in ("shape", "data_offsets"):
        numbers = value[key]
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < MAX_SIZE for n in numbers):
            raise ValueError(f"{name!r}: {key} must be a list of integers, not negative and below 2^63")
    if len(offsets) != 2 or offsets[1] < offsets[0]:
        raise ValueError(f"{name!r}: data_offsets must be a start and an end that is not before it")
    if len(shape) > MAX_AXES:
        raise ValueError(f"{name!r} has {len(shape):,} axes; at most {MAX_AXES} are allowed")
    return Entry(sys.intern(dtype), tuple(shape), *offsets)


def arrays_of(header: Header, location: Location) -> tuple[dict[str, Parameter], dict[str, Extent]]:
    """Return the arrays of a header in the order of their bytes, and the extents of their values.

    Raises ValueError unless each begins where the one before it ends, and the file ends with the last.
    """
    parameters: dict[str, Parameter] = {}
    extents: dict[str, Extent] = {}
    end = 0
    for name, entry in sorted(header.entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        dtype, size = DTYPES[entry.dtype], entry.end - entry.begin
        if entry.begin != end:
            raise ValueError(f"{name!r} must begin at byte {end:,} of the values, where the array before it ends")
        count = prod(entry.shape)
        if count * PACKED_BITS.get(dtype, 8) % 8:
            raise ValueError(f"{name!r} must end with a byte, but {entry.shape} in {dtype} does not")
        needed = bytes_of(dtype, count)
        if size != needed:
            raise ValueError(f"{name!r} has {size:,} bytes, but {entry.shape} in {dtype} needs {needed:,}")
        # an empty array may still have a shape that NumPy cannot represent: (0, 2^62, 8)
        if not needed and prod(n for n in entry.shape if n) * DTYPE_BYTES.get(dtype, 1) >= MAX_SIZE:
            raise ValueError(f"{name!r} is empty, and its shape {entry.shape} exceeds NumPy's limit")
        parameters[name] = stored_parameter(name, entry.shape, dtype)
        extents[name] = Extent(header.start + entry.begin, dtype)
        end = entry.end
    # a pipe is not read to its end for its size
    if not isinstance(location, SpooledPipe) and location.size() != header.start + end:
        raise ValueError(f"the file has {location.size():,} bytes, but its header describes {header.start + end:,}")
    return parameters, extents


def build_header(parameters: Sequence[Parameter], metadata: Mapping[str, str]) -> tuple[bytes, dict[str, Extent]]:
    """Return the header of a new file, and the extent of each array that has values. Raises OutputError."""
    entries: dict[str, Any] = {METADATA: metadata}
    end = 0
    offsets = {}
    for parameter in parameters:
        if parameter.dtype not in CODES:
            raise OutputError(
                f"{parameter.path}: safetensors does not support {parameter.dtype}{_cast_hint(parameter)}"
            )
        begin, end = end, end + parameter.bytes
        offsets[parameter.path] = begin
        entries[parameter.path] = Entry(CODES[parameter.dtype], parameter.shape, begin, end).as_json()
    data = header_text(entries)
    data += b" " * (-len(data) % 8)  # aligns the values, as the safetensors library does
    if len(data) > MAX_HEADER:  # the library would refuse the file
        raise OutputError(f"the header must have at most {MAX_HEADER:,} bytes (got {len(data):,}). Save it as .h5")
    start = 8 + len(data)
    extents = {
        parameter.path: Extent(start + offsets[parameter.path], parameter.dtype)
        for parameter in parameters
        if parameter.size
    }
    return len(data).to_bytes(8, "little") + data, extents


def _cast_hint(parameter: Parameter) -> str:
    """Return a hint with the option that casts an array to a dtype that safetensors supports, or ""."""
    if parameter.dtype != "complex128":
        return ""
    address = address_of(parameter.path, "/" if "/" in parameter.path else ".")
    return f". Use --dtype {shell_quoted(f'{address}=complex64')}"


def header_text(entries: Mapping[str, Any]) -> bytes:
    return json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
