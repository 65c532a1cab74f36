"""Models of ONNX, built field by field."""

from pathlib import Path

import numpy as np

from tests.wire import field


def tensor(name: str, code: int, shape: tuple[int, ...], values: bytes = b"") -> bytes:
    return b"".join(field(1, size) for size in shape) + field(2, code) + (field(8, name) if name else b"") + values


def model(*initializers: bytes, graph: bytes = b"", more: bytes = b"") -> bytes:
    inner = b"".join(field(5, each) for each in initializers) + graph
    return field(1, 8) + field(7, inner) + field(8, field(2, 17)) + more


def node(kind: str, output: str, *attributes: bytes, name: str = "") -> bytes:
    return field(
        1, field(2, output) + field(3, name) + field(4, kind) + b"".join(field(5, each) for each in attributes)
    )


def constant(output: str, value: bytes) -> bytes:
    return node("Constant", output, field(1, "value") + field(5, value))


def external(location: str, **keys: int) -> bytes:
    pairs = {"location": location} | {key: str(value) for key, value in keys.items()}
    return b"".join(field(13, field(1, key) + field(2, value)) for key, value in pairs.items()) + field(14, 1)


def sample(folder: Path) -> Path:
    """Write a model with an initializer in raw bytes, and one in varints."""
    raw = tensor("w", 1, (2, 3), field(9, np.arange(6, dtype="<f4").tobytes()))
    packed = tensor("n", 7, (3,), field(7, bytes([1, 2, 3])))
    path = folder / "m.onnx"
    path.write_bytes(model(raw, packed))
    return path
