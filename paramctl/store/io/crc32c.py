"""CRC-32C, the checksum of TensorFlow's checkpoints and of LevelDB, in NumPy at about the speed of memory.

A checksum is the remainder of the data, as a polynomial over GF(2), divided by the polynomial of CRC-32C. The product
of that polynomial and another is a polynomial z^290 + z^136 + z^113 + z^107 + z^32 + 1 with z = x^8. So XORing a byte
onto the bytes 154, 177, 183, 258 and 290 places behind it, and then dropping it, keeps the remainder. Squared over
GF(2), the polynomial has the same terms at twice the distances, so that long runs of bytes are dropped at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

POLYNOMIAL = 0x82F63B78
"""The polynomial, reflected: the highest bit is the coefficient of x^0."""
DISTANCES = (154, 177, 183, 258, 290)
MASK = 0xA282EAD8
"""Added to a rotated checksum where it is stored, because a checksum of data with its checksum is a constant."""
BLOCK_BYTES = 1 << 20
"""Bytes to fold at once: few enough for the processor's cache."""


def checksum(data: bytes | bytearray | memoryview) -> int:
    """Return the CRC-32C of bytes."""
    register = 0xFFFFFFFF
    for start in range(0, len(data), BLOCK_BYTES):
        block = data[start : start + BLOCK_BYTES]
        # folding has a cost of its own, so a few bytes are divided one by one
        if len(block) > 4 * DISTANCES[-1]:
            folded = np.frombuffer(block, np.uint8).copy()
            folded[:4] ^= np.frombuffer(register.to_bytes(4, "little"), np.uint8)
            register, block = 0, _fold(folded).data
        register = _remainder(block, register)
    return register ^ 0xFFFFFFFF


def combine(first: int, second: int, size: int) -> int:
    """Return the CRC-32C of two runs of bytes from the CRC-32C of each, and the size of the second."""
    return _product(first, _power(size)) ^ second


def unmask(stored: int) -> int:
    """Return the checksum that is stored masked."""
    rotated = (stored - MASK) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def _fold(data: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a few bytes with the same remainder as all bytes, which are overwritten."""
    start, scale = 0, 1
    while 2 * scale * DISTANCES[-1] < len(data):
        scale *= 2
    while scale:
        while (size := min(len(data) - start - scale * DISTANCES[-1], scale * DISTANCES[0])) > 0:
            dropped = data[start : start + size]
            # no target overlaps the dropped bytes: the shortest distance is as long as they can be
            for distance in DISTANCES:
                target = data[start + scale * distance :][:size]
                np.bitwise_xor(target, dropped, out=target)
            start += size
        scale //= 2
    return data[start:]


def _remainder(data: bytes | bytearray | memoryview, register: int) -> int:
    table = _table()
    for byte in memoryview(data).cast("B"):
        register = register >> 8 ^ table[(register ^ byte) & 0xFF]
    return register


@lru_cache(maxsize=1)
def _table() -> list[int]:
    """Return the remainder of each byte."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ POLYNOMIAL if byte & 1 else byte >> 1
        table.append(byte)
    return table


@lru_cache(maxsize=1024)
def _power(size: int) -> int:
    """Return the remainder of x to the power of 8 times a size, by repeated squaring."""
    # x^0 and x^8
    power, square = 1 << 31, 1 << 23
    while size:
        if size & 1:
            power = _product(power, square)
        square, size = _product(square, square), size >> 1
    return power


def _product(a: int, b: int) -> int:
    """Return the remainder of the product of two polynomials."""
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ POLYNOMIAL if b & 1 else b >> 1
    return product
