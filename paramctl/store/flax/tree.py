"""The tree of a Flax file: maps whose leaves are arrays, plain values, and others that are skipped.

Arrays are extensions: 1 is an array, and 3 a NumPy scalar, both a list of the shape, the dtype and the bytes.
An array of more than 2^30 bytes is a map of its chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import NamedTuple, TypeAlias

from paramctl.core.parameter import DTYPE_BYTES
from paramctl.store.flax.msgpack import BYTES, EXTENSION, LIST, MAP, TEXT, Cursor, Item

MAX_DEPTH = 100
MAX_AXES = 64
MAX_SIZE = 1 << 60
ARRAY, COMPLEX, SCALAR = 1, 2, 3
"""Flax's extensions."""
CHUNKED = "__msgpack_chunked_array__"
NARROW = {"int4": ("int8", 4), "uint4": ("uint8", 4), "int2": ("int8", 2), "uint2": ("uint8", 2)}
"""Integers in the low bits of a byte each: the dtype in which they are read, and the bits."""


class StoredArray(NamedTuple):
    """An array: its dtype and shape, and the offsets of its chunks in the file, each with its number of values.

    bits: the low bits of each byte that have the value, in an array of NARROW; 0 in others.
    """

    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[tuple[int, int], ...]
    bits: int = 0


class Skipped(NamedTuple):
    """An item that is neither an array of numbers nor a plain value."""

    kind: str


Leaf: TypeAlias = "StoredArray | Skipped | str | float | None"
Tree: TypeAlias = "dict[str, Tree] | Leaf"


def read_tree(cursor: Cursor, depth: int = 0) -> Tree:
    """Read an item with all that is in it. Raises ValueError."""
    item = cursor.head()
    if item.kind in (MAP, LIST):
        if depth > MAX_DEPTH:
            raise ValueError(f"maps must be nested at most {MAX_DEPTH} deep")
        return _read_map(cursor, item, depth)
    if item.kind == TEXT:
        return cursor.text(item.size)
    if item.kind == BYTES:
        cursor.skip(item.size)
        return Skipped("bytes")
    if item.kind == EXTENSION:
        return _read_extension(cursor, item)
    return item.value


def leaves(tree: Mapping[str, Tree], prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    """Yield the leaves of a tree, each with its path: its keys, joined by slashes."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def _read_map(cursor: Cursor, item: Item, depth: int) -> Tree:
    """Read a map, or a list as the map of its indices. Raises ValueError."""
    tree: dict[str, Tree] = {}
    for index in range(item.size):
        key = str(index)
        if item.kind == MAP:
            head = cursor.head()
            if head.kind != TEXT:
                raise ValueError("the keys of a map must be texts")
            key = cursor.text(head.size)
        if key in tree:
            raise ValueError(f"a map has the key {key!r} twice")
        tree[key] = read_tree(cursor, depth + 1)
    # chunks have the keys of an ordinary map, which only this marker distinguishes
    return _join_chunks(tree) if CHUNKED in tree else tree


def _read_extension(cursor: Cursor, item: Item) -> Leaf:
    begin = cursor.position
    if item.code not in (ARRAY, SCALAR):
        cursor.skip(item.size)
        return Skipped("a complex number" if item.code == COMPLEX else f"extension {item.code} of msgpack")
    head, shape_head = cursor.head(), cursor.head()
    if (head.kind, head.size, shape_head.kind) != (LIST, 3, LIST) or shape_head.size > MAX_AXES:
        raise ValueError("an array must be a list of its shape, dtype and bytes")
    shape = _shape([cursor.head().value for _ in range(shape_head.size)])
    dtype_head = cursor.head()
    if dtype_head.kind not in (TEXT, BYTES):
        raise ValueError("the dtype of an array must be a text")
    name = cursor.text(dtype_head.size)
    data = cursor.head()
    if data.kind != BYTES:
        raise ValueError("the values of an array must be bytes")
    offset = cursor.skip(data.size)
    # a size that does not fit would move all that follows
    if cursor.position - begin != item.size:
        raise ValueError(f"an array has {item.size:,} bytes, but its parts have {cursor.position - begin:,}")
    dtype, bits = NARROW.get(name, (name, 0))
    if dtype not in DTYPE_BYTES:
        return Skipped("text" if dtype.startswith(("str", "bytes")) else f"the dtype {dtype[:60]}")
    size = prod(shape)
    if size * DTYPE_BYTES[dtype] != data.size:
        raise ValueError(
            f"{dtype} of the shape {shape} must have {size * DTYPE_BYTES[dtype]:,} bytes (got {data.size:,})"
        )
    return StoredArray(dtype, shape, ((offset, size),), bits)


def _shape(sizes: list[object]) -> tuple[int, ...]:
    shape = tuple(size for size in sizes if isinstance(size, int) and not isinstance(size, bool) and size >= 0)
    if len(shape) != len(sizes) or len(shape) > MAX_AXES or prod(shape) > MAX_SIZE:
        raise ValueError(f"a shape must be a list of at most {MAX_AXES} sizes, of at most {MAX_SIZE:,} values")
    return shape


def _join_chunks(tree: Mapping[str, Tree]) -> StoredArray:
    """Return the array whose chunks a map has. Raises ValueError."""
    sizes, parts = tree.get("shape"), tree.get("chunks")
    if not isinstance(sizes, dict) or not isinstance(parts, dict):
        raise ValueError("an array in chunks must have a shape and chunks")
    shape = _shape(_in_order(sizes))
    chunks = [chunk for chunk in _in_order(parts) if isinstance(chunk, StoredArray)]
    if len(chunks) != len(parts) or len({(chunk.dtype, chunk.bits) for chunk in chunks}) != 1:
        raise ValueError("the chunks of an array must be arrays of one dtype")
    total = sum(prod(chunk.shape) for chunk in chunks)
    if total != prod(shape):
        raise ValueError(f"the chunks of an array must have {prod(shape):,} values (got {total:,})")
    return StoredArray(
        chunks[0].dtype, shape, tuple(place for chunk in chunks for place in chunk.chunks), chunks[0].bits
    )


def _in_order(items: Mapping[str, object]) -> list[object]:
    if any(str(index) not in items for index in range(len(items))):
        raise ValueError("the items of a list must have the keys 0, 1, 2, ...")
    return [items[str(index)] for index in range(len(items))]
