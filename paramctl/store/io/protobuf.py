"""The wire format of protocol buffers: the fields of a message, within a budget, without its schema.

A payload is read on request only, so that a message with gigabytes of values costs no memory. Every error is a
ValueError that completes "damaged (...)".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""The wire types. 3 and 4 begin and end a group, which no framework writes."""
MAX_FIELDS = 5_000_000
"""The number of fields to read from a file by default: several for each array, node, or name."""
MAX_BYTES = 1 << 26
"""The bytes of a payload that are read at once by default."""
MAX_NUMBER = (1 << 29) - 1
MAX_VARINT = 10
WINDOW = 1 << 16
"""Bytes that are read at once from a file, so that small fields and the messages in them share a read."""


class Readable(Protocol):
    """A place with bytes, such as a Location."""

    def read(self, offset: int, size: int) -> bytes: ...


class Message:
    """A message: a range of bytes. The messages in it share its bytes and its budget of fields."""

    def __init__(self, wire: Wire, start: int, stop: int) -> None:
        self.wire, self.start, self.stop = wire, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def fields(self) -> Iterator[Field]:
        """Yield the fields in order. Raises ValueError for a damaged message, and for one beyond the budget."""
        position = self.start
        while position < self.stop:
            self.wire.count_field()
            buffer, base = self.wire.window(position, min(2 * MAX_VARINT, self.stop - position))
            end = min(self.stop - base, len(buffer))
            tag, at = parse_varint(buffer, position - base, end)
            number, kind = tag >> 3, tag & 7
            # random bytes fail here or at the wire type, before they pass for a long payload
            if not 1 <= number <= MAX_NUMBER:
                raise ValueError(f"a field must have a number from 1 to {MAX_NUMBER:,} (got {number:,})")
            if kind == BYTES:
                size, at = parse_varint(buffer, at, end)
                if size > self.stop - base - at:
                    raise ValueError(f"truncated: a field of {size:,} bytes is longer than its message")
                start, position = base + at, base + at + size
                # the caller may move the window, so the next field is looked up by its position
                yield Field(number, kind, 0, Message(self.wire, start, position))
                continue
            value, at = _parse_number(buffer, at, end, kind)
            position = base + at
            yield Field(number, kind, value, None)

    def read(self, most: int = MAX_BYTES) -> bytes:
        """Return the bytes of the message. Raises ValueError if the payload is longer than ``most``."""
        if len(self) > most:
            raise ValueError(f"a field must have at most {most:,} bytes (got {len(self):,})")
        buffer, base = self.wire.window(self.start, len(self))
        return bytes(buffer[self.start - base : self.stop - base])


class Field(NamedTuple):
    """A field of a message.

    number: identifies the field in its schema. kind: its wire type.
    value: of a number, unsigned. payload: of text, bytes, a message, or packed numbers; None for a number.
    """

    number: int
    kind: int
    value: int
    payload: Message | None

    @property
    def unsigned(self) -> int:
        """Return a number without a sign. Raises ValueError if the field is not a number."""
        if self.payload is not None:
            raise ValueError(f"field {self.number} must be a number")
        return self.value

    @property
    def signed(self) -> int:
        """Return a varint or a fixed number as int64 or int32 is stored: in two's complement."""
        bits = 32 if self.kind == FIXED32 else 64
        value = self.unsigned
        return value - (1 << bits) if value >> (bits - 1) else value

    @property
    def message(self) -> Message:
        """Return the payload as a message. Raises ValueError if the field is a number."""
        if self.payload is None:
            raise ValueError(f"field {self.number} must be a message (got a number)")
        return self.payload

    def read(self, most: int = MAX_BYTES) -> bytes:
        """Return the bytes of the payload. Raises ValueError if the payload is longer than ``most``."""
        return self.message.read(most)

    def text(self, most: int = MAX_BYTES) -> str:
        """Return the payload as text. Raises ValueError if it is not UTF-8."""
        try:
            return self.read(most).decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"field {self.number} must be UTF-8 text") from error

    def integers(self) -> Iterator[int]:
        """Yield the values of a repeated int64, of which a file may have one in each field, or all packed in one."""
        if self.payload is None:
            yield self.signed
            return
        data = self.read()
        at = 0
        while at < len(data):
            self.payload.wire.count_field()
            value, at = parse_varint(data, at, len(data))
            yield value - (1 << 64) if value >> 63 else value


class Wire:
    """The bytes of a message and of all messages in it, read in windows. Not safe to share between threads."""

    def __init__(self, source: Readable | None, buffer: bytes, base: int, budget: int) -> None:
        self.source, self.buffer, self.base = source, buffer, base
        self.budget, self.fields_left = budget, budget

    def count_field(self) -> None:
        self.fields_left -= 1
        if self.fields_left < 0:
            raise ValueError(f"a file must have at most {self.budget:,} fields")

    def window(self, position: int, size: int) -> tuple[bytes, int]:
        """Return bytes with those from a position on among them, and the position of their first."""
        if not self.base <= position <= position + size <= self.base + len(self.buffer):
            if self.source is not None:
                self.buffer, self.base = self.source.read(position, max(size, WINDOW)), position
            if position + size > self.base + len(self.buffer):
                raise ValueError("truncated")
        return self.buffer, self.base


def message(data: bytes, budget: int = MAX_FIELDS) -> Message:
    """Return bytes as a message."""
    return Message(Wire(None, data, 0, budget), 0, len(data))


def message_at(source: Readable, start: int, stop: int, budget: int = MAX_FIELDS) -> Message:
    """Return a range of a file as a message, of which only the fields' heads and the requested payloads are read."""
    return Message(Wire(source, b"", start, budget), start, stop)


def parse_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the number of 64 bits that begins at an index, and the index behind it. Raises ValueError."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                raise ValueError("a number has more than 64 bits")
            return value, at
        shift += 7
        if shift >= 7 * MAX_VARINT:
            raise ValueError("a number has more than 64 bits")
    raise ValueError("truncated within a number")


def _parse_number(data: bytes, at: int, end: int, kind: int) -> tuple[int, int]:
    """Return the value of a field that is a number, and the index behind it. Raises ValueError."""
    if kind == VARINT:
        return parse_varint(data, at, end)
    if kind not in (FIXED32, FIXED64):
        raise ValueError(f"a field has the wire type {kind}, which is not supported")
    size = 4 if kind == FIXED32 else 8
    if at + size > end:
        raise ValueError("truncated within a number")
    return int.from_bytes(data[at : at + size], "little"), at + size
