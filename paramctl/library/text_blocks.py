"""Texts of many values at once.

A block is a matrix of bytes with a row for the text of each value. PAD fills the rest of a row, and ``join`` drops it.
Blocks side by side are the columns of a table. They cost a few passes of NumPy over the bytes, where a Python string
for each value costs several times as much.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from paramctl.core.dtypes import Array, to_native
from paramctl.library.float_texts import PAD, float32_block, four_digits, text_block

ROWS = 1 << 14
"""The number of rows of a block, which is small enough for a processor's cache."""

NOT_FINITE = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}


def join(blocks: Sequence[Array]) -> str:
    """Return the text of blocks side by side, row after row."""
    return np.concatenate(blocks, axis=1).tobytes().translate(None, bytes([PAD])).decode()


def constant_block(text: str, rows: int) -> Array:
    """Return a block with the same text in each row. It may be any text: PAD is no byte of UTF-8."""
    data = np.frombuffer(text.encode(), np.uint8)
    return np.broadcast_to(data, (rows, data.size))


def choice_block(texts: Sequence[str], numbers: Array) -> Array:
    """Return a block with the text of each number, an index of ``texts``."""
    return text_block(texts)[numbers]


def value_texts(values: Array) -> list[str]:
    """Return each value as the shortest text that reads back the same."""
    values = to_native(values)
    if values.dtype.kind == "b":
        return ["true" if value else "false" for value in values.tolist()]
    if values.dtype == np.float64:
        return list(map(repr, values.tolist()))  # NumPy's text, in a third of the time
    return list(map(str, values if values.dtype.kind == "f" else values.tolist()))


def json_texts(values: Array) -> list[str]:
    """Return each value as JSON, which has no complex numbers, NaN or infinities: they become strings."""
    values = to_native(values)
    texts = value_texts(values)
    if values.dtype.kind == "c":
        return [json.dumps(text) for text in texts]
    if values.dtype.kind not in "biu" and not np.isfinite(values).all():
        return [NOT_FINITE.get(text, text) for text in texts]
    return texts


def value_block(values: Array, as_json: bool = False) -> Array:
    """Return the block of the texts of values, as ``value_texts`` or ``json_texts`` returns them."""
    values = to_native(values)
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    texts = json_texts if as_json else value_texts
    if values.dtype == np.float32:
        return float32_block(values, texts)
    if values.dtype.itemsize > 2:
        return text_block(texts(values))
    # a text for each value that occurs, not for each value; their bits tell 0.0 from -0.0
    bits, numbers = np.unique(values.view(f"u{values.dtype.itemsize}"), return_inverse=True)
    return choice_block(texts(bits.view(values.dtype)), numbers)


@cache
def _groups() -> tuple[Array, Array]:
    """Return the four digits of 0 to 9999, without leading zeros, and, after them, with leading zeros.

    In the second table, of the digits before the last four, the first number has no digits.
    """
    digits = four_digits()
    leading = np.arange(10_000)[:, None] < [1000, 100, 10, 0]
    last = np.concatenate([np.where(leading, PAD, digits), digits]).astype(np.uint8).view(np.uint32).ravel()
    before = last.copy()
    before[0] = PAD * 0x01010101
    return last, before


def number_block(numbers: Array) -> Array:
    """Return the block of the texts of integers, which must not be negative."""
    width = len(str(numbers.max(initial=0)))
    block = np.empty((numbers.size, -(-width // 4)), np.uint32)
    table, before = _groups()
    for column in reversed(range(block.shape[1])):
        higher = numbers // 10_000
        block[:, column] = table[numbers - 10_000 * higher + 10_000 * (higher > 0)]
        numbers, table = higher, before
    return block.view(np.uint8)[:, -width:]


def index_blocks(ranges: Sequence[range], start: int, rows: int) -> dict[int, Any]:
    """Return the block of the index of each axis, for values in C order from number ``start`` on."""
    blocks = {}
    places = np.arange(start, start + rows)
    for axis in reversed(range(len(ranges))):
        positions = ranges[axis]
        outer = places // len(positions)
        blocks[axis] = number_block(positions.start + positions.step * (places - len(positions) * outer))
        places = outer
    return blocks
