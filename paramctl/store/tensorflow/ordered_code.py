"""The keys of slices: a name and the bounds of a slice, encoded so that the order of bytes is that of the parts.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/strings/ordered_code.cc
"""

from __future__ import annotations

from collections.abc import Sequence


def slice_key(name: str, bounds: Sequence[tuple[int, int]]) -> bytes:
    """Return the key of a slice of a tensor. bounds: the start and the length on each axis."""
    numbers = b"".join(_signed(start) + _signed(length) for start, length in bounds)
    text = name.encode().replace(b"\0", b"\0\xff") + b"\0\1"  # UTF-8 has no byte 0xff, which would be escaped too
    return _unsigned(0) + text + _unsigned(len(bounds)) + numbers


def _unsigned(number: int) -> bytes:
    digits = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([len(digits)]) + digits


def _signed(number: int) -> bytes:
    """Return a number of 64 bits: its length in unary in the first bits, then the number in two's complement."""
    bits = (~number if number < 0 else number).bit_length()
    size = bits // 7 + 1
    header = ((1 << size) - 1) << (7 * size)  # as many ones as bytes, from the first bit on
    value = number & ((1 << 8 * size) - 1)
    return (header ^ value).to_bytes(size, "big")
