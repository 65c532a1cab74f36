"""The index of a checkpoint: the entry of each tensor, and of each slice of a partitioned variable.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/tensor_bundle.proto
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from paramctl.store.io.crc32c import unmask
from paramctl.store.io.protobuf import Field, Message, message
from paramctl.store.tensorflow.ordered_code import slice_key
from paramctl.store.tensorflow.table import table_entries

VERSION = 1
"""The version of the format that this reader knows. A file says which version a reader must know at least."""
MAX_SHARDS = 100_000
MAX_RANK = 254
"""As TensorFlow limits it."""
SLICE_START = b"\0"
"""The first byte of a key of a slice."""
DTYPES = {
    **dict(zip((1, 2, 3, 4, 5, 6), ("float32", "float64", "int32", "uint8", "int16", "int8"), strict=True)),
    **dict(zip((8, 9, 10, 14, 19), ("complex64", "int64", "bool", "bfloat16", "float16"), strict=True)),
    **dict(zip((17, 18, 22, 23), ("uint16", "complex128", "uint32", "uint64"), strict=True)),
    # the integers of quantized tensors; their scales are constants of the graph
    **dict(zip((11, 12, 13, 15, 16), ("int8", "uint8", "int32", "int16", "uint16"), strict=True)),
    **dict(zip((24, 25, 26, 28), ("float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2fnuz"), strict=True)),
}
"""The dtype of each number of DataType whose values paramctl reads."""
TEXT = 7
KINDS = {
    TEXT: "text",
    20: "a resource",
    21: "a variant",
    27: "values of float8_e4m3b11fnuz",
    29: "values of int4",
    30: "values of uint4",
    31: "values of int2",
    32: "values of uint2",
    33: "values of float4_e2m1fn",
}
"""The kind of content of the other numbers."""

Slice = tuple[tuple[int, int], ...]
"""The start and the length on each axis. The length -1 means the whole axis."""


class Entry(NamedTuple):
    """The place of a tensor. slices: of a partitioned variable, whose values are in the entries of its slices."""

    dtype: int
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    checksum: int = 0
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """The index of a checkpoint. slices: the entries of slices, by the key of each."""

    shards: int
    big_endian: bool
    entries: Mapping[str, Entry]
    slices: Mapping[bytes, Entry]

    def slice_entries(self, name: str) -> list[tuple[Slice, Entry]]:
        """Return the slices of a partitioned variable with their entries. Raises ValueError if one is missing."""
        entry = self.entries[name]
        result = []
        for box in entry.slices:
            part = self.slices.get(slice_key(name, box))
            if part is None or part.dtype != entry.dtype:
                raise ValueError(f"a slice of {name} is missing")
            result.append((box, part))
        return result


def parse_bundle(data: bytes) -> Bundle:
    """Parse the index of a checkpoint. Raises ValueError if it is damaged."""
    table = table_entries(data)
    key, value = next(table, (b"", b""))
    if key or not value:
        raise ValueError("its header is missing")
    shards, big_endian = _parse_header(message(value))
    entries, slices = {}, {}
    for key, value in table:
        # the keys of slices begin with a NUL, so that they precede all names
        if key.startswith(SLICE_START):
            slices[key] = _parse_entry(message(value))
        else:
            entries[_name(key)] = _parse_entry(message(value))
    return Bundle(shards, big_endian, entries, slices)


def _name(key: bytes) -> str:
    try:
        name = key.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the name {key[:64]!r} is not UTF-8") from error
    if "\0" in name:
        raise ValueError(f"the name {name[:64]!r} has a NUL")
    return name


def _parse_header(header: Message) -> tuple[int, bool]:
    """Return the number of shards, and whether values are big-endian."""
    shards, big_endian = 1, False
    for field in header.fields():
        if field.number == 1:
            shards = field.unsigned
        elif field.number == 2:
            big_endian = field.unsigned == 1
        elif field.number == 3:
            required = max((part.unsigned for part in field.message.fields() if part.number == 2), default=0)
            if required > VERSION:
                raise ValueError(f"requires a reader of version {required}, and this is of version {VERSION}")
    if not 1 <= shards <= MAX_SHARDS:
        raise ValueError(f"must have 1 to {MAX_SHARDS:,} shards (got {shards:,})")
    return shards, big_endian


def _parse_entry(fields: Message) -> Entry:
    numbers: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    slices = []
    for field in fields.fields():
        if field.number == 2:
            shape = _parse_shape(field)
        elif field.number == 7:
            slices.append(tuple(_parse_extent(extent) for extent in field.message.fields() if extent.number == 1))
        else:
            numbers[field.number] = field.signed if field.number != 6 else unmask(field.unsigned)
    dtype, shard, offset, size, checksum = (numbers.get(number, 0) for number in (1, 3, 4, 5, 6))
    if min(shard, offset, size) < 0:
        raise ValueError(f"a place must not be negative (got {min(shard, offset, size)})")
    return Entry(dtype, shape, shard, offset, size, checksum, tuple(slices))


def _parse_shape(field: Field) -> tuple[int, ...]:
    sizes = []
    for dim in field.message.fields():
        if dim.number == 2:
            sizes.append(max((part.signed for part in dim.message.fields() if part.number == 1), default=0))
        elif dim.number == 3 and dim.unsigned:
            raise ValueError("a shape is unknown")
    if len(sizes) > MAX_RANK or min(sizes, default=0) < 0:
        raise ValueError(f"a shape must have at most {MAX_RANK} sizes of at least 0")
    return tuple(sizes)


def _parse_extent(field: Field) -> tuple[int, int]:
    numbers = {part.number: part.signed for part in field.message.fields()}
    return numbers.get(1, 0), numbers.get(2, -1)
