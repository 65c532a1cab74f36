"""A small file of each format that is only read, for tests that loop over the registry of formats."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests import dcp_files, flax_files, gguf_files, onnx_files, orbax_folders, tensorflow_files
from tests.conftest import ROOT

FIXTURES = ROOT / "tests/fixtures"


def torch_file(folder: Path) -> Path:
    """Copy a file that torch.save wrote: a training checkpoint with a tie and an optimizer."""
    return Path(shutil.copy(FIXTURES / "torch_training.ckpt", folder))


def torch_set(folder: Path) -> Path:
    shutil.copytree(FIXTURES / "torch_sharded", folder, dirs_exist_ok=True)
    return folder / "pytorch_model.bin.index.json"


SAMPLES: dict[str, Callable[[Path], Path]] = {
    "Flax msgpack": flax_files.sample,
    "Flax msgpack set": flax_files.sample_set,
    "GGUF": gguf_files.sample,
    "ONNX": onnx_files.sample,
    "Orbax": orbax_folders.sample,
    "TensorFlow": tensorflow_files.sample,
    "torch": torch_file,
    "torch set": torch_set,
    "torch distributed": dcp_files.sample,
}
"""A function for each format, by its name. It writes a sample in a folder, and returns the file to open."""
