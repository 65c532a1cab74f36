"""A small file of each format that is only read, for tests that loop over the registry of formats."""

from collections.abc import Callable
from pathlib import Path

from tests import flax_files, gguf_files, onnx_files, orbax_folders, tensorflow_files

SAMPLES: dict[str, Callable[[Path], Path]] = {
    "Flax msgpack": flax_files.sample,
    "GGUF": gguf_files.sample,
    "ONNX": onnx_files.sample,
    "Orbax": orbax_folders.sample,
    "TensorFlow": tensorflow_files.sample,
}
"""A function for each format, by its name. It writes a sample in a folder, and returns the file to open."""
