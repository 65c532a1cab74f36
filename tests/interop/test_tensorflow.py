"""TensorFlow's own files: each array as TensorFlow reads it, by the name that Keras gives it, and no array more."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paramctl.core.dtypes import numpy_dtype
from paramctl.source.open import open_checkpoint
from paramctl.store.contents import Reader
from tests.conftest import Run

pytest.importorskip("tensorflow")

CASES = ["module", "sharded", "keras", "steps", "saved", "exported", "saver", "devices"]
DOCUMENT = """
name: network
input: [8, 8, 3]
layers:
  - conv2d: {name: conv, filters: 4, kernel_size: 3}
  - batch_normalization: {name: norm}
  - flatten
  - dense: {name: hidden, units: 5, activation: relu}
  - dense: {name: out, units: 2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensorflow")
    script = Path(__file__).parent / "tensorflow_files.py"
    done = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def arrays(reader: Reader, parameters: dict[str, object]) -> dict[str, np.ndarray]:
    return {name: reader.read(name, 0, item.size).reshape(item.shape) for name, item in parameters.items()}


@pytest.mark.parametrize("name", CASES)
def test_arrays_equal_tensorflows(name: str, folder: Path) -> None:
    """Parameters and the state of optimizers, to the last bit."""
    checkpoint = open_checkpoint(str(folder / name)).checkpoint
    expected = pickle.loads((folder / f"{name}.pickle").read_bytes())  # noqa: S301
    own = {path: item for path, item in checkpoint.model.parameters.items() if path not in checkpoint.model.tied}
    optimizer = checkpoint.origin.optimizer
    state = arrays(optimizer.reader, dict(optimizer.arrays)) if optimizer else {}
    for found, wanted in zip((arrays(checkpoint.reader, own), state), expected, strict=True):
        assert wanted or found == {}
        assert set(found) == set(wanted)
        for path, (dtype, shape, data) in wanted.items():
            assert found[path].dtype == numpy_dtype(dtype)
            assert found[path].shape == shape
            assert found[path].tobytes() == data
    assert name == "exported" or expected[1] or name in ("module", "sharded")


def test_a_trained_model_becomes_one_of_keras(folder: Path, paramctl: Run, tmp_path: Path) -> None:
    """The weights of a SavedModel are those of the document with its layers, and Keras loads the file."""
    import keras

    (tmp_path / "network.yaml").write_text(DOCUMENT)
    paramctl(
        "save",
        str(folder / "steps"),
        "--like",
        "network.yaml",
        "--rename",
        "block/hidden/*=hidden/*",
        "-o",
        "network.keras",
        check=True,
    )
    model = keras.saving.load_model(tmp_path / "network.keras")
    expected = pickle.loads((folder / "steps.pickle").read_bytes())[0]  # noqa: S301
    assert len(model.weights) == len(expected)
    by_name = {path.removeprefix("block/"): data for path, (_, _, data) in expected.items()}
    for weight in model.weights:
        assert keras.ops.convert_to_numpy(weight).tobytes() == by_name[weight.path.removeprefix("network/")]
