"""GGUF files made by hand: any keys, any tensors, and any damage."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

CODES = {"float32": 0, "float16": 1, "int8": 24, "int16": 25, "int32": 26, "int64": 27, "float64": 28, "bfloat16": 30}
BLOCKS = {"q4_0": (2, 32, 18), "q8_0": (8, 32, 34), "q4_k": (12, 256, 144), "q6_k": (14, 256, 210)}


class Raw(NamedTuple):
    """A tensor as the file has it, right or not. dims: fastest first. offset: of its bytes; None for the next one."""

    code: int
    dims: Sequence[int]
    data: bytes
    offset: int | None = None


class Typed(NamedTuple):
    """A value of a key with the code of its type, encoded."""

    code: int
    data: bytes


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def typed(value: Any) -> Typed:
    match value:
        case Typed():
            return value
        case bool():
            return Typed(7, bytes([value]))
        case int():
            return Typed(4, struct.pack("<I", value))
        case float():
            return Typed(6, struct.pack("<f", value))
        case str() | bytes():
            return Typed(8, string(value))
    items = [typed(item) for item in value]
    code = items[0].code if items else 4
    return Typed(9, struct.pack("<IQ", code, len(items)) + b"".join(item.data for item in items))


def raw(array: np.ndarray) -> Raw:
    return Raw(CODES[array.dtype.name], array.shape[::-1], array.astype(array.dtype.newbyteorder("<")).tobytes())


def quantized(name: str, shape: Sequence[int], seed: int = 0) -> Raw:
    """A tensor of random blocks."""
    code, values, size = BLOCKS[name]
    blocks = int(np.prod(shape)) // values
    return Raw(code, shape[::-1], np.random.default_rng(seed).bytes(blocks * size))


def gguf(
    tensors: Mapping[str, np.ndarray | Raw] | Sequence[tuple[str | bytes, np.ndarray | Raw]],
    keys: Mapping[str, Any] | Sequence[tuple[str | bytes, Any]] = (),
    version: int = 3,
    alignment: int = 32,
) -> bytes:
    """The bytes of a file. alignment: where it is not the usual one, keys must have it too."""
    pairs = list(tensors.items() if isinstance(tensors, Mapping) else tensors)
    entries = list(keys.items() if isinstance(keys, Mapping) else keys)
    head = b"GGUF" + struct.pack("<IQQ", version, len(pairs), len(entries))
    for key, value in entries:
        code, data = typed(value)
        head += string(key) + struct.pack("<I", code) + data
    values = b""
    for name, array in pairs:
        tensor = array if isinstance(array, Raw) else raw(array)
        offset = len(values) if tensor.offset is None else tensor.offset
        axes = len(tensor.dims)
        head += string(name) + struct.pack(f"<I{axes}QIQ", axes, *tensor.dims, tensor.code, offset)
        values += tensor.data + bytes(-len(tensor.data) % alignment)
    return head + bytes(-len(head) % alignment) + values


def arrays() -> dict[str, np.ndarray]:
    """An array of each dtype, and one of more than a block of values."""
    rng = np.random.default_rng(0)
    plain = {f"blk.0.{name}.weight": np.arange(6).reshape(2, 3).astype(name) for name in CODES if name != "bfloat16"}
    plain["blk.0.bfloat16.weight"] = np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16)
    return plain | {"token_embd.weight": rng.standard_normal((700, 400), dtype=np.float32)}


KEYS = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.ggml.add_bos_token": True,
    "llama.some_list": [1, 2, 3],
    "tokenizer.ggml.tokens": [f"token {number}" for number in range(5_000)],
}


def sample(folder: Path) -> Path:
    """A small file with plain tensors, as for every other format that is only read."""
    few = {name: array for name, array in arrays().items() if array.size < 100}
    keys = KEYS | {"tokenizer.ggml.tokens": ["a", "b", "c"]}
    path = folder / "m.gguf"
    path.write_bytes(gguf(few, keys)[:-20])  # ggml pads the last tensor, and its reader does not require it
    return path
