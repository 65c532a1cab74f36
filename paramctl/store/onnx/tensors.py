"""Tensors of ONNX: their names, shapes and dtypes, and the place of their values.

A tensor has its values in one of three forms: raw bytes, little-endian; numbers in a field of their own, such as
``float_data``; or a range of another file.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

from paramctl.core.parameter import PACKED_BITS
from paramctl.store.io.protobuf import BYTES, FIXED32, FIXED64, VARINT, Field, Message

RAW = 9
FLOATS, INT32S, INT64S, DOUBLES, UINT64S = 4, 5, 7, 10, 11
"""The fields of a tensor's numbers."""
WIRE_TYPES = {FLOATS: FIXED32, INT32S: VARINT, INT64S: VARINT, DOUBLES: FIXED64, UINT64S: VARINT}
LISTS = {"value_float": (2, 1, FLOATS), "value_int": (3, 7, INT64S)}
LISTS |= {"value_floats": (7, 1, FLOATS), "value_ints": (8, 7, INT64S)}
"""The attributes of a constant without a tensor: the field of the numbers, the type, and its field in a tensor."""
TEXT_LISTS = frozenset({"value_string", "value_strings"})
MAX_NAME = 1 << 16
MAX_AXES = 64
MAX_SIZE = 1 << 60
MAX_GATHERED = 1 << 26
"""Bytes of numbers that are not in one piece of the file, of all tensors. No exporter writes such files."""


class ElementType(NamedTuple):
    """The type of a tensor's values.

    dtype: in which they are read. bits: of a value in the file. field: of the numbers, if they are not raw.
    """

    dtype: str
    bits: int
    field: int = INT32S

    def bytes(self, count: int) -> int:
        """Return the bytes of so many values."""
        return -(-count * self.bits // 8)

    @property
    def is_packed(self) -> bool:
        """Return True if values stay packed. Integers of less than a byte are read as integers of a byte each."""
        return self.dtype in PACKED_BITS


TYPES = {
    1: ElementType("float32", 32, FLOATS),
    2: ElementType("uint8", 8),
    3: ElementType("int8", 8),
    4: ElementType("uint16", 16),
    5: ElementType("int16", 16),
    6: ElementType("int32", 32),
    7: ElementType("int64", 64, INT64S),
    9: ElementType("bool", 8),
    10: ElementType("float16", 16),
    11: ElementType("float64", 64, DOUBLES),
    12: ElementType("uint32", 32, UINT64S),
    13: ElementType("uint64", 64, UINT64S),
    14: ElementType("complex64", 64, FLOATS),
    15: ElementType("complex128", 128, DOUBLES),
    16: ElementType("bfloat16", 16),
    17: ElementType("float8_e4m3fn", 8),
    18: ElementType("float8_e4m3fnuz", 8),
    19: ElementType("float8_e5m2", 8),
    20: ElementType("float8_e5m2fnuz", 8),
    21: ElementType("uint8", 4),
    22: ElementType("int8", 4),
    23: ElementType("float4_e2m1fn", 4),
    24: ElementType("float8_e8m0fnu", 8),
    25: ElementType("uint8", 2),
    26: ElementType("int8", 2),
    27: ElementType("float6_e2m3fn", 6),
    28: ElementType("float6_e3m2fn", 6),
}
"""The types, by ONNX's numbers for them."""
TEXT = 8


class Span(NamedTuple):
    """A range of bytes with the values of a tensor.

    field: RAW, or that of the numbers. gathered: whether the range is one of the numbers in several pieces, not of
    the file.
    """

    field: int
    start: int
    stop: int
    gathered: bool = False


class Tensor(NamedTuple):
    """A tensor. Exactly one of span and external is set if it has values.

    code: ONNX's number for the type of its values. external: the keys of the range of another file.
    """

    name: str
    code: int
    shape: tuple[int, ...]
    span: Span | None
    external: Mapping[str, str] | None

    @property
    def size(self) -> int:
        return prod(self.shape)


def read_tensor(tensor: Message, gathered: bytearray) -> Tensor:
    """Read the fields of a tensor, without its values. Raises ValueError.

    gathered: receives the numbers of a tensor that has them in several pieces.
    """
    name, code, is_external = "", 0, False
    dims: list[int] = []
    external: dict[str, str] = {}
    raw: Span | None = None
    numbers: list[Field] = []
    for field in tensor.fields():
        if field.number == 1:
            dims.extend(field.integers())
        elif field.number == 2:
            code = field.unsigned
        elif field.number == 3:
            raise ValueError("a tensor in segments, which is not supported")
        elif field.number == 8:
            name = field.text(MAX_NAME)
        elif field.number == RAW:
            raw = Span(RAW, field.message.start, field.message.stop)
        elif field.number == 13:
            external.update([read_pair(field.message)])
        elif field.number == 14:
            is_external = field.unsigned == 1
        elif field.number in WIRE_TYPES:
            numbers.append(field)
    shape = _shape(name, dims)
    span = None if is_external else raw if raw and not numbers else _join(name, numbers, raw, gathered)
    return Tensor(name, code, shape, span, external if is_external else None)


def read_numbers(name: str, attribute: Message, kind: str, gathered: bytearray) -> Tensor:
    """Return the number or the list of numbers of an attribute, which is one of LISTS, as a tensor."""
    place, code, number = LISTS[kind]
    numbers = [field._replace(number=number) for field in attribute.fields() if field.number == place]
    if not kind.endswith("s"):
        # a number that is 0 may be missing
        numbers = numbers[-1:] or [Field(number, WIRE_TYPES[number], 0, None)]
        return Tensor(name, code, (), _join(name, numbers, None, gathered), None)
    sizes = [_count(field) for field in numbers]
    return Tensor(name, code, (sum(sizes),), _join(name, numbers, None, gathered), None)


def _count(field: Field) -> int:
    if field.payload is None:
        return 1
    return len(field.payload) // 4 if field.number == FLOATS else sum(byte < 0x80 for byte in field.read(MAX_GATHERED))


def read_pair(entry: Message) -> tuple[str, str]:
    """Return the key and the value of a message with these two. Raises ValueError."""
    texts = {field.number: field.text() for field in entry.fields() if field.number in (1, 2)}
    return texts.get(1, ""), texts.get(2, "")


def _shape(name: str, dims: list[int]) -> tuple[int, ...]:
    if len(dims) > MAX_AXES or any(size < 0 for size in dims) or prod(dims) > MAX_SIZE:
        shown = ", ".join(map(str, dims[:MAX_AXES]))[:200]
        raise ValueError(f"{name} must have at most {MAX_AXES} axes and {MAX_SIZE:,} values (got the shape ({shown}))")
    return tuple(dims)


def _join(name: str, numbers: list[Field], raw: Span | None, gathered: bytearray) -> Span | None:
    """Return the range of a tensor's numbers, which are copied if a file has them in several pieces."""
    if not numbers:
        return None
    number = numbers[0].number
    if raw is not None or any(field.number != number for field in numbers):
        raise ValueError(f"{name} must have its values in one field")
    first = numbers[0].payload
    if len(numbers) == 1 and first is not None:
        return Span(number, first.start, first.stop)
    # without [packed = true], each number is a field of its own
    start = len(gathered)
    for field in numbers:
        gathered += field.read(MAX_GATHERED) if field.payload is not None else _packed(name, field)
        if len(gathered) > MAX_GATHERED:
            raise ValueError(f"numbers in several pieces must have at most {MAX_GATHERED:,} bytes")
    return Span(number, start, len(gathered), gathered=True)


def _packed(name: str, field: Field) -> bytes:
    """Return a number as packed numbers have it. Raises ValueError if it has another wire type than they have."""
    if field.kind != WIRE_TYPES[field.number] or field.kind == BYTES:
        raise ValueError(f"{name}: field {field.number} has the wire type {field.kind}")
    if field.kind != VARINT:
        return field.value.to_bytes(4 if field.kind == FIXED32 else 8, "little")
    value, data = field.value, bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
