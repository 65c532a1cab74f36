"""The header of a GGUF file: its keys, and the name, shape, type and place of each tensor. Parsed within limits.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#file-structure
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

from paramctl.core.parameter import DTYPE_BYTES
from paramctl.store.gguf import MAGIC
from paramctl.store.gguf.cursor import Cursor
from paramctl.store.gguf.tensor_types import BLOCKS, DTYPES, REFUSED
from paramctl.store.gguf.values import MAX_KEYS, ValueReader
from paramctl.store.location import Location

VERSIONS = (2, 3)
MAX_TENSORS = 300_000
MAX_AXES = 64
"""ggml has 4; NumPy has 64."""
MAX_SIZE = 2**63
ALIGNMENT = "general.alignment"
DEFAULT_ALIGNMENT = 32


class Tensor(NamedTuple):
    """A tensor. shape: with the first axis slowest, as elsewhere; the file has the reverse. code: of its type.

    begin: the offset of its first byte in the file. size: its bytes.
    """

    name: str
    shape: tuple[int, ...]
    code: int
    begin: int
    size: int


class Header(NamedTuple):
    """A parsed header. keys: the values of the file's keys."""

    keys: dict[str, Any]
    tensors: dict[str, Tensor]


def parse_header(location: Location) -> Header:
    """Parse the header of a file, and check that the file has all values. Raises ValueError."""
    cursor = Cursor(location)
    _check_version(cursor)
    tensor_count, key_count = cursor.length(), cursor.length()
    for count, limit, words in ((tensor_count, MAX_TENSORS, "tensors"), (key_count, MAX_KEYS, "keys")):
        if count > limit:
            raise ValueError(f"at most {limit:,} {words} are allowed (got {count:,})")
    reader = ValueReader(cursor)
    keys: dict[str, Any] = {}
    for _ in range(key_count):
        key = reader.key()
        if key in keys:
            raise ValueError(f"has the key {key!r} twice")
        keys[key] = reader.value()
    tensors: dict[str, Tensor] = {}
    for _ in range(tensor_count):
        tensor = _tensor(reader)
        if tensor.name in tensors:
            raise ValueError(f"has the tensor {tensor.name!r} twice")
        tensors[tensor.name] = tensor
    # the last value may be an array that was skipped
    cursor.check_within_file()
    alignment = _alignment(keys)
    start = cursor.position + -cursor.position % alignment
    tensors = {name: tensor._replace(begin=start + tensor.begin) for name, tensor in tensors.items()}
    _check_places(tensors, start, alignment, location)
    return Header(keys, tensors)


def _check_version(cursor: Cursor) -> None:
    if cursor.take(len(MAGIC)) != MAGIC:
        raise ValueError(f"must begin with {MAGIC.decode()}")
    version = cursor.code()
    # 3 as 00 00 00 03 is 50,331,648
    swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in VERSIONS and 0 < swapped < 1 << 16:
        raise ValueError("GGUF for big-endian machines is not supported. Convert it with gguf-convert-endian")
    if version not in VERSIONS:
        raise ValueError(f"GGUF of version {version:,} is not supported (2 and 3 are)")


def _alignment(keys: Mapping[str, Any]) -> int:
    alignment = keys.get(ALIGNMENT, DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1) or alignment >= 1 << 32:
        raise ValueError(f"{ALIGNMENT} must be a power of two (got {str(alignment)[:60]})")
    return alignment


def _tensor(reader: ValueReader) -> Tensor:
    """Return the next tensor. ``begin`` is counted from the first value of all."""
    name, cursor = reader.key(), reader.cursor
    axes = cursor.code()
    if axes > MAX_AXES:
        raise ValueError(f"{name!r} has {axes:,} axes; at most {MAX_AXES} are allowed")
    # ggml counts axes from the fastest: a weight of (out, in) has the dims in, out
    shape = tuple(cursor.length() for _ in range(axes))[::-1]
    code, begin = cursor.code(), cursor.length()
    # an empty array may still have a shape that NumPy cannot represent
    if prod(size for size in shape if size) * 8 >= MAX_SIZE:
        raise ValueError(f"{name!r} has the shape {shape}, which exceeds NumPy's limit")
    if code in DTYPES:
        return Tensor(name, shape, code, begin, prod(shape) * DTYPE_BYTES[DTYPES[code]])
    if code not in BLOCKS:
        raise ValueError(f"{name!r} has an unsupported type: {REFUSED.get(code, f'number {code:,}')}")
    words, values, size = BLOCKS[code]
    # ggml divides each row into blocks of its own
    if not shape or shape[-1] % values:
        raise ValueError(f"the last axis of {name!r} must be a multiple of {values} in {words} (got the shape {shape})")
    return Tensor(name, shape, code, begin, prod(shape) // values * size)


def _check_places(tensors: Mapping[str, Tensor], start: int, alignment: int, location: Location) -> None:
    """Raise ValueError unless the tensors are aligned, do not overlap, and end within the file."""
    end = start
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.begin, tensor.size)):
        if (tensor.begin - start) % alignment:
            offset = tensor.begin - start
            raise ValueError(f"the offset of {tensor.name!r} must be a multiple of {alignment:,} (got {offset:,})")
        # an empty tensor takes no place
        if tensor.size and tensor.begin < end:
            raise ValueError(f"{tensor.name!r} begins at byte {tensor.begin:,}, within the tensor before it")
        end = max(end, tensor.begin + tensor.size)
    # a pipe has no size, so the last byte is read; padding after it may be missing
    if tensors and end > start and not location.read(end - 1, 1):
        raise ValueError(f"truncated: its tensors end at byte {end:,}")
