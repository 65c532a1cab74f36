"""The state of a real optimizer: Keras' variables are what --state lists, and go through other formats into Keras."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import paramctl as pc

FILES = ["m.weights.h5", "m.keras", "m.h5"]


def compiled() -> keras.Model:
    layers = [keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "mse", metrics=["mae"])
    return model


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A model trained for some steps, and a folder with its files."""
    keras.utils.set_random_seed(3)
    model, folder = compiled(), tmp_path_factory.mktemp("fitted")
    model.fit(np.random.rand(32, 4), np.random.rand(32, 1), epochs=2, verbose=0)
    for name in FILES:
        (model.save_weights if name.endswith(".weights.h5") else model.save)(folder / name)
    return model, folder


def optimizer_values(model: keras.Model) -> list[np.ndarray]:
    return [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in model.optimizer.variables]


def state_of(path: Path) -> dict[str, np.ndarray]:
    weights = pc.open(path).with_state()
    return {name: np.asarray(array) for name, array in weights.items() if not array.parameter.is_parameter}


@pytest.mark.parametrize("name", FILES)
def test_state_is_keras_own(name: str, fitted: tuple[keras.Model, Path]) -> None:
    """The same number of arrays as the optimizer has variables, each under its name or number, with equal values."""
    model, folder = fitted
    state = state_of(folder / name)
    names = [variable.path for variable in model.optimizer.variables]
    if name == "m.h5":
        by_name = {path.removeprefix("optimizer_weights/"): array for path, array in state.items()}
    else:
        by_name = {names[int(path.removeprefix("optimizer/vars/"))]: array for path, array in state.items()}
    assert by_name.keys() == set(names)
    for path, expected in zip(names, optimizer_values(model), strict=True):
        assert by_name[path].dtype == expected.dtype
        assert np.array_equal(by_name[path], expected), path
    assert pc.summary(folder / name).totals.parameters == model.count_params()


@pytest.mark.parametrize("way", ["way.safetensors", "way.npz", "way.hdf5"])
def test_keras_loads_state_that_has_been_in_another_format(
    way: str, fitted: tuple[keras.Model, Path], tmp_path: Path
) -> None:
    """Training goes on as from Keras' own file: the same weights after the next step."""
    model, folder = fitted
    pc.save(str(folder / "m.weights.h5"), tmp_path / way, state=True)
    pc.save(str(tmp_path / way), tmp_path / "back.weights.h5")
    loaded, own = compiled(), compiled()
    for each, path in ((loaded, tmp_path / "back.weights.h5"), (own, folder / "m.weights.h5")):
        each.optimizer.build(each.trainable_variables)
        each.load_weights(path)
    for one, other in zip(optimizer_values(loaded), optimizer_values(model), strict=True):
        assert np.array_equal(one, other)
    examples, targets = np.random.rand(8, 4), np.random.rand(8, 1)
    for each in (loaded, own):
        each.train_on_batch(examples, targets)
    for one, other in zip(loaded.get_weights(), own.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_a_keras_archive_returns_with_its_optimizer(fitted: tuple[keras.Model, Path], tmp_path: Path) -> None:
    model, folder = fitted
    pc.save(str(folder / "m.keras"), tmp_path / "way.safetensors", state=True)
    pc.save(str(tmp_path / "way.safetensors"), tmp_path / "back.keras")
    loaded = keras.models.load_model(tmp_path / "back.keras")
    for one, other in zip(optimizer_values(loaded), optimizer_values(model), strict=True):
        assert np.array_equal(one, other)


def test_a_keras_file_without_its_optimizer_loads(fitted: tuple[keras.Model, Path], tmp_path: Path) -> None:
    """After --drop, the weights load into a model that is not compiled, and all of them are equal."""
    model, folder = fitted
    pc.save(str(folder / "m.weights.h5"), tmp_path / "bare.weights.h5", drop="optimizer/**")
    assert state_of(tmp_path / "bare.weights.h5") == {}
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.BatchNormalization()])
    other.add(keras.layers.Dense(1))
    other.load_weights(tmp_path / "bare.weights.h5")
    for one, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(one, expected)


def test_the_metadata_of_keras_files(fitted: tuple[keras.Model, Path]) -> None:
    """Keras' configuration is shown as Keras wrote it, and Keras loads a file whose attributes have changed."""
    _, folder = fitted
    rows = {row.key: row.value for row in pc.metadata(folder / "m.keras")}
    assert json.loads(rows["config.json"])["class_name"] == "Sequential"
    assert json.loads(rows["metadata.json"])["keras_version"] == keras.__version__
    rows = {row.key: row.value for row in pc.metadata(folder / "m.h5") if row.place is None}
    assert json.loads(rows["training_config"])["loss"] == "mse"
    shutil.copy(folder / "m.h5", folder / "noted.h5")
    pc.set_metadata(folder / "noted.h5", {"note": "one"})
    assert keras.models.load_model(folder / "noted.h5", compile=False).count_params()
