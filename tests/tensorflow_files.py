"""TensorFlow's checkpoints made by hand: any tensors, slices, shards, graphs of objects, and any damage."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from paramctl.store.io.crc32c import MASK, checksum
from paramctl.store.tensorflow.ordered_code import slice_key

CODES = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int64": 9, "bool": 10, "bfloat16": 14, "float16": 19}
CODES |= {"int16": 5, "int8": 6, "complex64": 8, "uint16": 17, "complex128": 18, "uint32": 22, "uint64": 23}
CODES |= {"float8_e5m2": 24, "float8_e4m3fn": 25}
TEXT = 7
MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)


class Entry(NamedTuple):
    """An entry as the file has it, right or not. slices: (start, length) on each axis."""

    code: int
    shape: Sequence[int] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    checksum: int = 0
    slices: Sequence[Sequence[tuple[int, int]]] = ()

    def encode(self) -> bytes:
        sizes = b"".join(field(2, field(1, size) if size else b"") for size in self.shape)
        places = b"".join(field(3 + k, n) for k, n in enumerate((self.shard, self.offset, self.size)) if n)
        crc = b"\x35" + struct.pack("<I", mask(self.checksum))
        boxes = (b"".join(field(1, field(1, a) + field(2, b)) for a, b in box) for box in self.slices)
        return field(1, self.code) + field(2, sizes) + places + crc + b"".join(field(7, box) for box in boxes)


def mask(value: int) -> int:
    return ((value >> 15 | value << 17) + MASK) & 0xFFFFFFFF


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: int | str | bytes) -> bytes:
    """A varint, or a payload."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def block(entries: Sequence[tuple[bytes, bytes]], compression: int = 0) -> bytes:
    """A block with prefix-compressed keys, and its trailer."""
    body, last = b"", b""
    for key, value in entries:
        shared = next((k for k, (a, b) in enumerate(zip(key, last, strict=False)) if a != b), min(len(key), len(last)))
        body += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return sealed(body + struct.pack("<II", 0, 1) + bytes([compression]))


def sealed(data: bytes) -> bytes:
    return data + struct.pack("<I", mask(checksum(data)))


def table(entries: Mapping[bytes, bytes], per_block: int = 16, compression: int = 0) -> bytes:
    """A table of LevelDB with these entries, sorted."""
    data, handles, ordered = b"", [], sorted(entries.items())
    for start in range(0, len(ordered), per_block):
        part = block(ordered[start : start + per_block], compression)
        handles.append((ordered[start : start + per_block][-1][0] + b"~", varint(len(data)) + varint(len(part) - 5)))
        data += part
    return closed(data, handles)


def closed(data: bytes, handles: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Data blocks with the index of their handles and the footer."""
    meta, index = block([]), block(handles)
    footer = varint(len(data)) + varint(len(meta) - 5) + varint(len(data) + len(meta)) + varint(len(index) - 5)
    return data + meta + index + footer.ljust(40, b"\0") + MAGIC


def header(shards: int = 1, big_endian: bool = False, required: int = 0) -> bytes:
    version = field(1, 1) + (field(2, required) if required else b"")
    return field(1, shards) + (field(2, 1) if big_endian else b"") + field(3, version)


class Node(NamedTuple):
    """An object of a graph. children: the numbers of nodes by name. variable: (full name, key)."""

    children: Mapping[str, int] = {}
    variable: tuple[str, str] | None = None
    slots: Sequence[int] = ()


def graph(nodes: Sequence[Node]) -> bytes:
    """The text of a graph of objects."""
    out = b""
    for node in nodes:
        body = b"".join(field(1, field(1, number) + field(2, name)) for name, number in node.children.items())
        if node.variable:
            body += field(2, field(1, "VARIABLE_VALUE") + field(2, node.variable[0]) + field(3, node.variable[1]))
        out += field(1, body + b"".join(field(3, field(1, 0) + field(2, "m") + field(3, n)) for n in node.slots))
    return out


class Bundle:
    """A checkpoint in the making. Arrays go to the shards in turn."""

    def __init__(self, shards: int = 1, big_endian: bool = False) -> None:
        self.entries: dict[bytes, bytes] = {b"": header(shards, big_endian)}
        self.data = [b""] * shards
        self.big_endian, self.number = big_endian, 0

    def add(self, name: str | bytes, array: np.ndarray) -> Entry:
        stored = array.astype(array.dtype.newbyteorder(">")) if self.big_endian else array
        return self.put(name, CODES[str(array.dtype)], array.shape, stored.tobytes())

    def put(self, name: str | bytes, code: int, shape: Sequence[int], data: bytes, crc: int | None = None) -> Entry:
        shard = self.number % len(self.data)
        self.number += 1
        crc = checksum(data) if crc is None else crc
        entry = Entry(code, shape, shard, len(self.data[shard]), len(data), crc)
        self.data[shard] += data
        self.entries[name if isinstance(name, bytes) else name.encode()] = entry.encode()
        return entry

    def add_sliced(self, name: str, array: np.ndarray, axis: int, lengths: Sequence[int]) -> None:
        start, boxes = 0, []
        for length in lengths:
            box = [(0, size) for size in array.shape]
            box[axis] = (start, length)
            boxes.append(box)
            part = np.ascontiguousarray(np.take(array, range(start, start + length), axis))
            self.add(slice_key(name, box), part)
            start += length
        self.entries[name.encode()] = Entry(CODES[str(array.dtype)], array.shape, slices=boxes).encode()

    def add_text(self, name: str, text: bytes) -> None:
        length = varint(len(text))
        counted = struct.pack("<I", len(text))
        data = length + struct.pack("<I", mask(checksum(counted))) + text
        self.put(name, TEXT, (), data, checksum(counted + data[len(length) :]))

    def write(self, prefix: Path, per_block: int = 16) -> Path:
        """Write the files; return the index."""
        index = prefix.parent / f"{prefix.name}.index"
        index.write_bytes(table(self.entries, per_block))
        for number, data in enumerate(self.data):
            (prefix.parent / f"{prefix.name}.data-{number:05}-of-{len(self.data):05}").write_bytes(data)
        return index


def mixed(shards: int = 1, big_endian: bool = False) -> tuple[Bundle, dict[str, np.ndarray]]:
    """A checkpoint with arrays of many dtypes and shapes, and the arrays."""
    rng = np.random.default_rng(0)
    arrays = {
        "dense/kernel": rng.standard_normal((4, 3), "float32"),
        "dense/bias": np.arange(3, dtype="float64"),
        "embedding": rng.standard_normal((50, 8), "float32").astype(ml_dtypes.bfloat16),
        "half": rng.standard_normal((7,), "float32").astype("float16"),
        "count": np.array(-5, "int64"),
        "mask": np.array([True, False, True]),
        "wave": np.array([1 + 2j, -3j], "complex64"),
        "empty": np.zeros((0, 4), "int32"),
    }
    bundle = Bundle(shards, big_endian)
    for name, array in arrays.items():
        bundle.add(name, array)
    parted = np.arange(60, dtype="float32").reshape(5, 4, 3)
    bundle.add_sliced("parted", parted, 1, [1, 2, 1])
    return bundle, arrays | {"parted": parted}


def sample(folder: Path) -> Path:
    bundle, _ = mixed()
    bundle.add_text("note", b"text")
    return bundle.write(folder / "sample")
