"""The opcodes of pickles whose argument is a number or a string.

Each function takes the machine and the index behind the opcode, and returns the index behind the opcode's argument.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from struct import Struct
from typing import Any

from paramctl.store.pickles.objects import Span
from paramctl.store.pickles.state import BadPickle, Machine

MAX_INLINE = 1024
"""Bytes of a string that is kept. A longer one is a Span."""
MAX_TEXT = 1 << 20
"""The same, of text."""
MAX_LINE = 1 << 26
"""Bytes of a text argument of protocol 0."""
MAX_INTEGER = 400
"""Bytes, or decimal digits, of an integer."""

Handler = Callable[[Machine, int], int]


def number(layout: str) -> Handler:
    """Return the function of an opcode whose argument is a number."""
    struct = Struct(layout)

    def push_number(machine: Machine, index: int) -> int:
        machine.stack.append(struct.unpack_from(machine.data, index)[0])
        return index + struct.size

    return push_number


def constant(value: Any) -> Handler:
    """Return the function of an opcode that pushes a value which cannot change."""

    def push_constant(machine: Machine, index: int) -> int:
        machine.stack.append(value)
        return index

    return push_constant


def string(size_layout: str, is_text: bool) -> Handler:
    """Return the function of an opcode whose argument is a string after its size."""
    struct, limit = Struct(size_layout), MAX_TEXT if is_text else MAX_INLINE

    def push_string(machine: Machine, index: int) -> int:
        size = struct.unpack_from(machine.data, index)[0]
        index += struct.size
        if size < 0:
            raise BadPickle(f"a string has {size} bytes")
        # a long string is mostly the values of an array, which stay in the file until they are needed
        if size > limit:
            machine.stack.append(Span(machine.base + index, size, is_text))
            return machine.skip(index, size)
        value, index = machine.take(index, size)
        machine.stack.append(value.decode("utf-8", "surrogatepass") if is_text else value)
        return index

    return push_string


def old_string(size_layout: str) -> Handler:
    """Return the function of an opcode for a string of Python 2: text or bytes. As text, it keeps every byte."""
    inner = string(size_layout, False)

    def push_old_string(machine: Machine, index: int) -> int:
        index = inner(machine, index)
        if isinstance(machine.stack[-1], bytes):
            machine.stack[-1] = machine.stack[-1].decode("utf-8", "surrogateescape")
        return index

    return push_old_string


def line(machine: Machine, index: int) -> tuple[bytes, int]:
    """Return a text argument of protocol 0, which ends with a newline, and the index behind it."""
    end = machine.data.find(b"\n", index)
    if end < 0:
        index = machine.slide(index, MAX_LINE)
        end = machine.data.find(b"\n", index, MAX_LINE)
    if end < 0:
        raise BadPickle(f"a line is truncated, or has more than {MAX_LINE:,} bytes")
    return machine.data[index:end], end + 1


def push_line(convert: Callable[[bytes], Any]) -> Handler:
    """Return the function of an opcode of protocol 0, by the function that converts its argument."""

    def push_converted(machine: Machine, index: int) -> int:
        text, index = line(machine, index)
        machine.stack.append(convert(text))
        return index

    return push_converted


def integer(text: bytes) -> int | bool:
    if len(text) > MAX_INTEGER:
        raise BadPickle(f"an integer has {len(text):,} digits")
    return {b"00": False, b"01": True}.get(text, int(text.removesuffix(b"L")))


def quoted(text: bytes) -> str:
    """Return a string of protocol 0, which is written as a literal of Python 2."""
    if len(text) < 2 or text[0] != text[-1] or text[:1] not in b"'\"":
        raise BadPickle("a string lacks its quotes")
    return codecs.escape_decode(text[1:-1])[0].decode("utf-8", "surrogateescape")


def long_integer(size_layout: str) -> Handler:
    """Return the function of an opcode for an integer of any size, in two's complement."""
    struct = Struct(size_layout)

    def push_long(machine: Machine, index: int) -> int:
        size = struct.unpack_from(machine.data, index)[0]
        if not 0 <= size <= MAX_INTEGER:
            raise BadPickle(f"an integer has {size:,} bytes")
        value, index = machine.take(index + struct.size, size)
        machine.stack.append(int.from_bytes(value, "little", signed=True))
        return index

    return push_long


SCALARS: dict[int, Handler] = {
    ord("N"): constant(None),
    0x88: constant(True),
    0x89: constant(False),
    ord(")"): constant(()),
    ord("M"): number("<H"),
    ord("J"): number("<i"),
    ord("G"): number(">d"),
    0x8A: long_integer("<B"),
    0x8B: long_integer("<i"),
    ord("I"): push_line(integer),
    ord("L"): push_line(integer),
    ord("F"): push_line(float),
    ord("S"): push_line(quoted),
    ord("V"): push_line(lambda text: codecs.raw_unicode_escape_decode(text)[0]),
    ord("U"): old_string("<B"),
    ord("T"): old_string("<i"),
    ord("C"): string("<B", is_text=False),
    ord("B"): string("<I", is_text=False),
    0x8E: string("<Q", is_text=False),
    0x96: string("<Q", is_text=False),  # a bytearray
    0x8C: string("<B", is_text=True),
    ord("X"): string("<I", is_text=True),
    0x8D: string("<Q", is_text=True),
}
