"""Files of Flax's msgpack, built item by item."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np


class Extension(bytes):
    """An extension of msgpack: its code, and its bytes."""

    code = 1

    @classmethod
    def of(cls, code: int, data: bytes) -> "Extension":
        extension = cls(data)
        extension.code = code
        return extension


def pack(value: Any) -> bytes:
    """Return a value as msgpack has it, in the longest form of each kind but maps and small integers."""
    if isinstance(value, Extension):
        return b"\xc9" + struct.pack(">IB", len(value), value.code) + value
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return bytes([value & 0xFF]) if -32 <= value < 128 else b"\xd3" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode()
        return (bytes([0xA0 | len(data)]) if len(data) < 32 else b"\xda" + struct.pack(">H", len(data))) + data
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, list | tuple):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(pack, value))
    if isinstance(value, dict):
        head = bytes([0x80 | len(value)]) if len(value) < 16 else b"\xde" + struct.pack(">H", len(value))
        return head + b"".join(pack(key) + pack(item) for key, item in value.items())
    return array(value)


def array(values: np.ndarray, code: int = 1, **parts: Any) -> bytes:
    """Return an array as an extension, whose parts can be replaced."""
    found = {"shape": values.shape, "dtype": values.dtype.name, "data": values.tobytes()} | parts
    return pack(Extension.of(code, pack(list(found.values()))))


def sample(folder: Path) -> Path:
    path = folder / "m.msgpack"
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    path.write_bytes(pack({"params": {"kernel": kernel, "bias": np.ones(3, np.float16)}, "step": 7}))
    return path


def sample_set(folder: Path) -> Path:
    """Write two files and their index, as transformers does."""
    parts = {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3, np.float32)}
    weight_map = {}
    for number, (name, values) in enumerate(parts.items(), 1):
        file = f"flax_model-{number:05}-of-00002.msgpack"
        (folder / file).write_bytes(pack({"model": {"dense": {name: values}}}))
        weight_map[f"model/dense/{name}"] = file
    path = folder / "flax_model.msgpack.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 36}, "weight_map": weight_map}, indent=2))
    return path
