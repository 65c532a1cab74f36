"""The shortest texts of many float32 values at once, equal to those that NumPy prints for each.

A float32 value between 2^k and 2^(k+1) is scaled in float64 to an integer part of nine or ten digits. All decimals that
are nearer to it than to its neighbors read back as this value, and half the distance to a neighbor is known from k. The
text is the nearest multiple of the highest power of ten within this distance. Scaling is exact to 1e-6. Values for
which this error could decide are left to NumPy, and so are powers of two, whose neighbors have two distances, subnormal
values, zeros, and numbers that are not finite or large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import floor, log10
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array

PAD = 0xFF
"""The byte that fills the rows of a block. No text in UTF-8 has it."""

DOUBT = 1e-4
"""The distance, after scaling, below which NumPy decides."""

LIMIT = 1e5
"""The positive numbers that are decided here are below this one. The larger ones depend on NumPy's version."""

WIDTH = 20
"""The bytes of a row: a sign and up to five bytes of ``0.000``, a digit, a point; eight digits; an exponent."""


def text_block(texts: Sequence[str], width: int = 1) -> Array:
    """Return a block of ASCII texts, with rows of at least ``width`` bytes."""
    longest = max(width, max(map(len, texts), default=0))
    block = np.array(texts, f"S{longest}").view(np.uint8).reshape(len(texts), longest)
    filled: Array = block + (block == 0) * np.uint8(PAD)
    return filled


def four_digits() -> Array:
    """Return the block of the four digits of 0 to 9999, with leading zeros."""
    digits = np.arange(10_000)[:, None] // [1000, 100, 10, 1] % 10 + ord("0")
    return digits.astype(np.uint8)


class _Tables(NamedTuple):
    """The constants of the computation.

    scale, half, exponent: by the exponent's bits: the factor, half the distance to a neighbor after scaling, and the
        decimal exponent of a number of nine digits.
    before, after: by decimal exponent and sign, the bytes before the last eight digits, and those after them.
    digits: the four digits of 0 to 9999.
    dropped: by the number of digits, PAD in the places of those that are dropped of the last eight.
    """

    scale: Array
    half: Array
    exponent: Array
    before: Array
    after: Array
    digits: Array
    dropped: Array


LOWEST = -46
"""A decimal exponent below that of each float32 value."""


@cache
def _tables() -> _Tables:
    powers = [biased - 127 for biased in range(256)]
    exponents = [floor(power * log10(2)) for power in powers]
    scale = [float(f"1e{8 - exponent}") for exponent in exponents]
    half = [2.0 ** (power - 24) * factor for power, factor in zip(powers, scale, strict=True)]
    before, after = [], []
    for exponent in range(LOWEST, 6):
        zeros = f"0.{'0' * (-exponent - 1)}" if -4 <= exponent < 0 else ""
        point = "." if exponent == 0 or exponent < -4 else ""
        lead = zeros.encode().ljust(6, b"\xff") + point.encode().rjust(1, b"\xff")
        before += [b"\xff" + lead, b"-" + lead]
        after.append(f"e-{-exponent:02}".encode() if exponent < -4 else b"\xff" * 4)
    dropped = np.where(np.arange(1, 9) >= np.arange(10)[:, None], PAD, 0)
    return _Tables(
        np.array(scale),
        np.array(half),
        np.array(exponents),
        np.frombuffer(b"".join(before), np.uint64),
        np.frombuffer(b"".join(after), np.uint32),
        four_digits().view(np.uint32).ravel(),
        dropped.astype(np.uint8).view(np.uint32),
    )


def float32_block(values: Array, texts: Callable[[Array], list[str]]) -> Array:
    """Return the block of the shortest texts of contiguous float32 values.

    texts: returns the texts of the values that are not decided here, each different value once.
    """
    bits = values.view(np.uint32)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    unusual = (magnitude - np.uint32(0x00800000) >= _bits(LIMIT) - 0x00800000) | (bits & np.uint32(0x007FFFFF) == 0)
    unusual |= magnitude == _bits(1e-4)  # rounded below 1e-4, so NumPy prints it with an exponent
    magnitude[unusual] = _bits(1.5)
    exponents = (magnitude >> np.uint32(23)).astype(np.intp)
    number, count, doubtful = _shortest(magnitude.view(np.float32), exponents)
    block = _laid_out(number, count, _tables().exponent[exponents], bits >> np.uint32(31))
    rest = np.flatnonzero(unusual | doubtful)
    if rest.size:
        different, numbers = np.unique(bits[rest], return_inverse=True)
        block[rest] = text_block(texts(different.view(np.float32)), WIDTH)[numbers]
    return block


def _bits(value: float) -> np.uint32:
    return np.float32(value).view(np.uint32)


def _shortest(values: Array, exponents: Array) -> tuple[Array, Array, Array]:
    """Return the scaled decimal of each value, how many of its ten last places are zeros, and if it is doubtful."""
    tables = _tables()
    scaled = values.astype(np.float64) * tables.scale[exponents]
    half = tables.half[exponents]
    number = np.rint(scaled)
    distance = np.abs(number - scaled)
    doubtful = distance > 0.5 - DOUBT
    zeros = np.zeros(values.size, np.uint8)
    rows = np.arange(values.size)
    unit = 10.0
    while rows.size:
        nearest = np.rint(scaled / unit) * unit
        distance = np.abs(nearest - scaled)
        fits = distance < half
        # the nearest multiple may be outside by the error alone, or another may be as near
        unsure = (np.abs(distance - half) < DOUBT) | (fits & (distance > unit / 2 - DOUBT))
        doubtful[rows[unsure]] = True
        kept = np.flatnonzero(fits)
        rows, scaled, half = rows[kept], scaled[kept], half[kept]
        number[rows] = nearest[kept]
        zeros[rows] += 1
        unit *= 10
    return number, zeros, doubtful


def _laid_out(number: Array, zeros: Array, exponents: Array, negative: Array) -> Array:
    """Return the block of decimals: those of ten digits have at least one zero at the end, as nine digits suffice."""
    tables = _tables()
    ten = number >= 1e9
    whole = number.astype(np.uint32)
    np.floor_divide(whole, 10, out=whole, where=ten)
    exponents = exponents + ten
    count = np.maximum(9 + ten - zeros.astype(np.intp), np.where(exponents >= 0, exponents + 2, 1))
    first = whole // np.uint32(100_000_000)
    whole -= first * np.uint32(100_000_000)
    upper = whole // np.uint32(10_000)
    block = np.empty((number.size, WIDTH // 4), np.uint32)
    texts = block.view(np.uint8)
    texts[:, :8] = tables.before[2 * (exponents - LOWEST) + negative].view(np.uint8).reshape(-1, 8)
    texts[:, 6] = first + ord("0")
    block[:, 2] = tables.digits[upper] | tables.dropped[count, 0]
    block[:, 3] = tables.digits[whole - upper * np.uint32(10_000)] | tables.dropped[count, 1]
    block[:, 4] = tables.after[exponents - LOWEST]
    texts[np.flatnonzero((count == 1) & (exponents < -4)), 7] = PAD
    for exponent in range(1, 6):  # the point is after more digits than one
        rows = np.flatnonzero(exponents == exponent)
        if rows.size:
            texts[rows, 7 : 7 + exponent] = texts[rows, 8 : 8 + exponent]
            texts[rows, 7 + exponent] = ord(".")
    return texts
