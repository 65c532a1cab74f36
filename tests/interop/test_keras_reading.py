"""Files of Keras as Keras itself reads them: what is trained, quantized layers, variables under names of their own, and
files of Keras 2 under the names that its versions gave."""

import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import Model, Sequential, layers

import paramctl as pc
from paramctl.model import from_document, totals
from paramctl.store.checkpoint import Checkpoint
from paramctl.store.hdf5 import client as hdf5_client
from tests.conftest import ROOT
from tests.interop.test_checkpoints import arrays_of, equal, opened, scramble, sorted_arrays, values, write

FIXTURES = ROOT / "tests/fixtures"


def checkpoint(path: Path) -> Checkpoint:
    from paramctl.source.open import open_path

    found = open_path(str(path)).checkpoint
    assert found is not None
    return found


def test_a_document_has_the_dtypes_of_kerass_layers_and_keras_those_of_the_document(tmp_path: Path) -> None:
    """A policy for mixed precision keeps the parameters in float32. In a wrapper the inner layer has them."""
    model = Sequential(
        [
            keras.Input((5, 4)),
            layers.Dense(3, dtype="float16"),
            layers.TimeDistributed(layers.Dense(3, dtype="float64"), dtype="float64"),
            layers.Dense(2, dtype="mixed_bfloat16"),
            layers.Dense(2, dtype="bfloat16"),
            layers.Flatten(dtype="bfloat16"),
            layers.Dense(2, dtype="float32"),
        ]
    )
    model.save(tmp_path / "m.keras")
    read = opened(tmp_path / "m.keras").model
    expected = [variable.dtype for variable in model.variables]
    assert [parameter.dtype for parameter in read.parameters.values()] == expected
    assert read.document is not None
    built = from_document(read.document, "m")
    assert [parameter.dtype for parameter in built.parameters.values()] == expected
    (tmp_path / "m.json").write_text(read.document.text)
    write(opened(tmp_path / "m.json"), tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras")
    assert [variable.dtype for variable in again.variables] == expected
    dense = [layer.dtype_policy.name for layer in again.layers if isinstance(layer, layers.Dense)]
    assert dense == ["float16", "float32", "bfloat16", "float32"]


def own_paths(variables: list[Any], model: Model) -> set[str]:
    return {variable.path.removeprefix(f"{model.name}/") for variable in variables}


def nested(inner: Model, *more: layers.Layer) -> Model:
    return Sequential([keras.Input(inner.input_shape[1:]), inner, *more])


def small(**options: Any) -> Model:
    return Sequential([keras.Input((4,)), layers.Dense(3), layers.BatchNormalization()], **options)


def frozen(model: Model, *places: int) -> Model:
    """The model after the same assignments as in a notebook: of the whole, or of its layers at these places."""
    for part in [model.layers[place] for place in places] or [model]:
        part.trainable = False
    return model


def functional(*more: layers.Layer) -> Model:
    x = keras.Input((4,))
    y = layers.Dense(3, trainable=False)(x)
    for layer in more:
        y = layer(y)
    return keras.Model(x, y)


def sequence(*more: layers.Layer) -> Model:
    return Sequential([keras.Input((5, 4)), *more])


def one_direction() -> Model:
    backward = layers.LSTM(2, go_backwards=True, trainable=False)
    return sequence(layers.Bidirectional(layers.LSTM(2), backward_layer=backward))


TRAINED: dict[str, Callable[[], Model]] = {
    "a layer": lambda: functional(layers.Dense(2)),
    "a sequential": lambda: frozen(small()),
    "a functional": lambda: frozen(functional(layers.Dense(2))),
    "a model within": lambda: nested(frozen(small()), layers.Dense(2)),
    "a model within a model within": lambda: nested(nested(frozen(small())), layers.Dense(2)),
    "a layer of a model within": lambda: nested(frozen(small(), 0), layers.Dense(2)),
    "a model within, not its layers": lambda: nested(small(trainable=False), layers.Dense(2)),
    "a functional within": lambda: nested(functional(layers.Dense(2)), layers.Dense(2)),
    "each step": lambda: sequence(layers.TimeDistributed(layers.Dense(2, trainable=False))),
    "the wrapper alone": lambda: sequence(layers.TimeDistributed(layers.Dense(2), trainable=False)),
    "the wrapper, later": lambda: frozen(sequence(layers.TimeDistributed(layers.Dense(2)), layers.Dense(1)), 0),
    "both directions": lambda: sequence(layers.Bidirectional(layers.LSTM(2, trainable=False))),
    "both directions, later": lambda: frozen(sequence(layers.Bidirectional(layers.GRU(2)), layers.Dense(1)), 0),
    "one direction": one_direction,
    "a model at each step": lambda: sequence(layers.TimeDistributed(small())),
    "a frozen model at each step": lambda: sequence(layers.TimeDistributed(frozen(small()))),
    "directions at each step": lambda: Sequential(
        [
            keras.Input((3, 5, 4)),
            layers.TimeDistributed(layers.Bidirectional(layers.GRU(2, trainable=False))),
        ]
    ),
    "a cell": lambda: sequence(layers.RNN(layers.LSTMCell(2, trainable=False))),
    "one of two cells": lambda: sequence(layers.RNN([layers.LSTMCell(2, trainable=False), layers.GRUCell(2)])),
    "convolutional cells": lambda: Sequential(
        [
            keras.Input((3, 8, 2)),
            layers.ConvLSTM1D(3, 2, return_sequences=True),
            layers.Bidirectional(layers.ConvLSTM1D(2, 2, trainable=False)),
        ]
    ),
    "spectral": lambda: sequence(layers.SpectralNormalization(layers.Dense(3)), layers.Dense(2)),
    "statistics": lambda: Sequential([keras.Input((4,)), layers.BatchNormalization(trainable=False)]),
}


@pytest.mark.parametrize("suffix", ["keras", "weights.h5", "h5"])
def test_no_file_of_keras_takes_the_hdf5_library(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained model is read with all of its values, and no worker is started, which alone runs the library."""
    inputs = keras.Input((6, 8))
    dtype = "float32" if suffix == "h5" else "bfloat16"  # the older format loses the dtype of bfloat16
    outputs = layers.Dense(2, dtype=dtype)(layers.LSTM(5)(layers.MultiHeadAttention(2, 4)(inputs, inputs)))
    model = Model(inputs, layers.BatchNormalization()(outputs))
    model.compile("adam", "mse")
    model.fit(np.zeros((4, 6, 8)), np.zeros((4, 2)), verbose=0)
    path = tmp_path / f"m.{suffix}"
    (model.save_weights if suffix == "weights.h5" else model.save)(path)

    def start() -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(hdf5_client, "_start", start)
    monkeypatch.setattr(hdf5_client, "_spare", [])
    monkeypatch.setattr(hdf5_client, "_listers", [])
    with pc.open(path) as weights:
        read = [np.asarray(array[...], "float32") for array in weights.values()]
    expected = [np.asarray(variable.numpy(), "float32") for variable in model.weights]
    assert len(read) == len(expected) > 10
    assert sorted(float(array.sum()) for array in read) == sorted(float(array.sum()) for array in expected)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_the_trained_parameters_are_those_of_keras(name: str, suffix: str, tmp_path: Path) -> None:
    """The same paths as trainable_weights of the model, and of the model that Keras loads from the file."""
    model = TRAINED[name]()
    model.save(tmp_path / f"m.{suffix}")
    again = keras.models.load_model(tmp_path / f"m.{suffix}")
    found = list(checkpoint(tmp_path / f"m.{suffix}").model.owners())
    assert {parameter.trainable for parameter in found} <= {True, False}
    trained = {parameter.path for parameter in found if parameter.trainable}
    assert len(trained) == len(model.trainable_weights) == len(again.trainable_weights)
    count = sum(parameter.size for parameter in found if parameter.trainable)
    assert count == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    if "within" not in name and "model" not in name:
        assert trained == own_paths(model.trainable_weights, model)


@pytest.mark.parametrize("name", ["each step", "both directions", "both directions, later", "a layer"])
def test_training_is_kept_between_formats(name: str, tmp_path: Path) -> None:
    """From Keras 2's format to a new configuration, Keras counts the same parameters."""
    model = TRAINED[name]()
    model.save(tmp_path / "m.h5")
    again = keras.models.load_model(write(opened(tmp_path / "m.h5"), tmp_path / "new.keras"))
    assert again.count_params() == model.count_params()
    assert sum(int(np.prod(weight.shape)) for weight in again.trainable_weights) == sum(
        int(np.prod(weight.shape)) for weight in model.trainable_weights
    )


def quantizable(policies: str | None = None) -> Model:
    options = {} if policies is None else {"dtype": policies}
    x = keras.Input((8,), dtype="int32")
    y = layers.Embedding(10, 6, name="e")(x)
    y = layers.EinsumDense("abc,cd->abd", output_shape=(None, 4), bias_axes="d", name="einsum")(y)
    y = layers.Dense(6, name="a", **options)(y)
    return keras.Model(x, layers.Dense(5, use_bias=False, name="b", **options)(y))


@pytest.mark.parametrize("mode", ["int8", "int4", "int4, one scale", "float8"])
def test_quantized_layers_have_keras_names(mode: str, tmp_path: Path) -> None:
    """Names, shapes, dtypes and training of every variable, as layer.quantize makes them."""
    model = quantizable()
    scramble(model)
    if mode == "int4, one scale":
        model.quantize("int4", config=keras.quantizers.Int4QuantizationConfig(block_size=-1))
    else:
        model.quantize(mode)
    expected = {
        variable.path: (tuple(variable.shape), str(variable.dtype), variable.trainable) for variable in model.weights
    }
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    found = checkpoint(tmp_path / "m.keras")
    assert not found.origin.missing
    facts = {p.path: (p.shape, p.dtype, p.trainable) for p in found.model.parameters.values()}
    assert facts == expected
    weights = checkpoint(tmp_path / "m.weights.h5").model.parameters.values()
    assert {p.path: (p.shape, p.dtype) for p in weights} == {path: each[:2] for path, each in expected.items()}
    assert {p.path for p in weights if p.trainable is False} == {path for path, each in expected.items() if not each[2]}
    again = keras.models.load_model(write(opened(tmp_path / "m.keras"), tmp_path / "again.keras"))
    assert equal(sorted_arrays(arrays_of(again)), sorted_arrays(arrays_of(model)))


@pytest.mark.parametrize("policy", ["gptq/4/-1_from_float32", "gptq/8/4_from_float32", "awq/4/-1_from_float32"])
def test_layers_that_are_quantized_by_calibration(policy: str, tmp_path: Path) -> None:
    """Keras leaves kernel_zero out of the file; every other variable has its name."""
    model = quantizable(policy)
    model.save_weights(tmp_path / "m.weights.h5")
    found = checkpoint(tmp_path / "m.weights.h5").model.parameters.values()
    expected = {variable.path: tuple(variable.shape) for variable in model.weights}
    assert {p.path: p.shape for p in found} == {k: shape for k, shape in expected.items() if "kernel_zero" not in k}
    assert all(p.trainable is False for p in found if p.path[0] in "ab" and not p.path.endswith("bias"))


def test_an_integer_kernel_of_keras_is_no_quantized_one(tmp_path: Path) -> None:
    """The kernel has been cast to an integer dtype that Keras does not quantize to: what follows it is the bias."""
    model = Sequential([keras.Input((4,)), layers.Dense(3, name="d")])
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5", "a") as file:
        path = "layers/dense/vars/0"
        del file[path]
        file[path] = np.arange(12).reshape(4, 3)
    assert list(checkpoint(tmp_path / "m.weights.h5").model.parameters) == ["d/kernel", "d/bias"]
    model.load_weights(tmp_path / "m.weights.h5")
    assert np.asarray(model.layers[0].kernel.numpy()).tolist() == np.arange(12).reshape(4, 3).tolist()


@keras.saving.register_keras_serializable("tests")
class Named(layers.Layer):
    """A layer that saves its variables under names of its own."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(name="scale", shape=(shape[-1],))
        self.alpha = self.add_weight(name="alpha", shape=(2,), trainable=False)

    def call(self, x: Any) -> Any:
        return x * self.scale

    def save_own_variables(self, store: Any) -> None:
        store["alpha"], store["factors/scale"] = self.alpha, self.scale

    def load_own_variables(self, store: Any) -> None:
        self.alpha.assign(store["alpha"])
        self.scale.assign(store["factors/scale"])


def test_variables_under_names_of_their_own(tmp_path: Path) -> None:
    """They are a layer's parameters, unlike an optimizer's; every format carries them, and Keras loads them again."""
    model = Sequential([keras.Input((4,)), layers.Dense(3, name="d"), Named(name="own")])
    model.compile("adam", "mse")
    model.fit(np.ones((2, 4)), np.ones((2, 3)), verbose=0)
    scramble(model)
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    found = checkpoint(tmp_path / "m.keras")
    assert sorted(found.model.parameters) == ["d/bias", "d/kernel", "own/alpha", "own/factors/scale"]
    assert found.model.parameters["own/alpha"].trainable is None
    assert found.origin.optimizer is not None
    assert all(path.startswith("optimizer/") for path in found.origin.optimizer.arrays)
    through = write(opened(write(opened(tmp_path / "m.keras"), tmp_path / "m.npz")), tmp_path / "m.safetensors")
    for source in (opened(tmp_path / "m.keras"), opened(through)):
        again = keras.models.load_model(write(source, tmp_path / "again.keras", force=True))
        assert equal(arrays_of(again), arrays_of(model))
        scramble_again = write(source, tmp_path / "again.weights.h5", force=True)
        again.load_weights(scramble_again)
        assert equal(arrays_of(again), arrays_of(model))
    sets = write(opened(tmp_path / "m.weights.h5"), tmp_path / "s.weights.json", max_shard_size=64)
    assert sorted(checkpoint(sets).model.parameters) == sorted(found.model.parameters)


def test_a_file_that_lacks_a_layer_is_one_that_keras_refuses(tmp_path: Path) -> None:
    """Keras expects the parameters that paramctl calls missing: in .keras and in Keras 2's format, in a model within too."""
    inner = Sequential([keras.Input((3,)), layers.Dense(3, name="lost")], name="inner")
    model = Sequential([keras.Input((4,)), layers.Dense(3, name="kept"), inner])
    model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        (tmp_path / "w.h5").write_bytes(archive.read("model.weights.h5"))
        config = archive.read("config.json")
    with h5py.File(tmp_path / "w.h5", "a") as file:
        del file["layers/sequential/layers/dense/vars/0"], file["layers/sequential/layers/dense/vars/1"]
    with zipfile.ZipFile(tmp_path / "lost.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", config)
        archive.write(tmp_path / "w.h5", "model.weights.h5")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        del file["model_weights/inner"]
        file.create_group("model_weights/inner").attrs["weight_names"] = []
    for name in ("lost.keras", "m.h5"):
        assert checkpoint(tmp_path / name).origin.missing == {"inner/lost/kernel": (3, 3), "inner/lost/bias": (3,)}
        with pytest.raises(ValueError, match=r"expected 2 variables|Layer count mismatch"):
            keras.models.load_model(tmp_path / name)
        with pytest.raises(OSError, match="must have all parameters"):
            write(opened(tmp_path / name), tmp_path / "x.npz")


def test_a_layer_that_two_models_share_is_not_missing(tmp_path: Path) -> None:
    """Its configuration is listed twice, and the file has its variables once."""
    shared = layers.Dense(4, name="shared")
    x = keras.Input((4,))
    inner = keras.Model(x, shared(x), name="inner")
    y = keras.Input((4,))
    keras.Model(y, inner(shared(y))).save(tmp_path / "m.keras")
    found = checkpoint(tmp_path / "m.keras")
    assert list(found.model.parameters) == ["shared/kernel", "shared/bias"]
    assert not found.origin.missing


STYLES = {
    "1.0 to 2.3": lambda name: re.sub(r"(lstm|gru|simple_rnn)_cell(_\d+)?/", "", name),
    "2.2 to 2.12": lambda name: re.sub(r"(lstm|gru|simple_rnn)_cell(_\d+)?/", r"\1_cell_7/", name),
}
"""The names of variables in Keras and tf.keras, from those of Keras 3: without the cell, or with a numbered one."""


def inner_names(layer: layers.Layer) -> Iterator[str]:
    """The names of the models, and of the layers that TimeDistributed wraps: names of variables do not have them."""
    for inner in getattr(layer, "layers", ()):
        if isinstance(inner, Model):
            yield inner.name
        if isinstance(inner, layers.TimeDistributed):
            yield inner.layer.name
        yield from inner_names(inner)


def as_keras2(model: Model, path: Path, style: str, bare: bool = False) -> Path:
    """A file as Keras 2 wrote it: trained variables first in each layer, under the names of its versions."""
    model.save(path)
    left_out = {model.name, *inner_names(model)}
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in [each for each in config["config"]["layers"] if each["class_name"] == "GRU"]:
            assert layer["config"].pop("reset_after") is False
        if bare:
            config["config"] = [layer for layer in config["config"]["layers"] if layer["class_name"] != "InputLayer"]
            config["config"][0]["config"]["batch_input_shape"] = list(model.input_shape)
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.2.4"
        del file["model_weights"]
        root = file.create_group("model_weights")
        root.attrs["keras_version"] = b"2.2.4"
        root.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = root.create_group(layer.name)
            names = []
            for variable in layer.trainable_weights + layer.non_trainable_weights:
                name = "/".join(segment for segment in variable.path.split("/") if segment not in left_out)
                if "depthwise_conv2d" in name and name.endswith("/kernel"):
                    name = name.replace("/kernel", "/depthwise_kernel")
                names.append(STYLES[style](name) + ":0")
                group[names[-1]] = variable.numpy()
            group.attrs["weight_names"] = [name.encode() for name in names]
    return path


def two_deep() -> Model:
    inner = Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="c0"), layers.BatchNormalization(name="b0")], name="m0"
    )
    x = keras.Input((8, 8, 3))
    middle = keras.Model(x, inner(x), name="m1")
    y = keras.Input((8, 8, 3))
    return keras.Model(y, layers.Conv2D(4, 3, name="last")(middle(y)), name="m2")


def equal_shapes() -> Model:
    """Layers of one shape, of which the frozen one's variables come last in the file."""
    inner = [layers.Dense(4, name="x", trainable=False), layers.Dense(4, name="y"), layers.BatchNormalization(name="z")]
    model = Sequential([keras.Input((4,)), *inner], name="inner")
    return Sequential([keras.Input((4,)), model, layers.Dense(2, name="end")], name="outer")


LEGACY: dict[str, Callable[[], Model]] = {
    "dense": lambda: Sequential([keras.Input((4,)), layers.Dense(3), layers.LeakyReLU(0.1), layers.Dense(2)]),
    "lstm": lambda: sequence(layers.LSTM(3, return_sequences=True), layers.SimpleRNN(2)),
    "gru": lambda: sequence(layers.GRU(3, reset_after=False)),
    "named": lambda: sequence(layers.LSTM(3, name="encoder", use_bias=False)),
    "bidirectional": lambda: sequence(layers.Bidirectional(layers.LSTM(3), name="both")),
    "each step": lambda: sequence(layers.TimeDistributed(layers.Dense(3)), layers.TimeDistributed(layers.Dense(2))),
    "depthwise": lambda: Sequential(
        [keras.Input((8, 8, 3)), layers.DepthwiseConv2D(3, depth_multiplier=2), layers.SeparableConv2D(4, 3)]
    ),
    "two models deep": two_deep,
    "equal shapes": equal_shapes,
}


@pytest.mark.parametrize("name", LEGACY)
@pytest.mark.parametrize("style", STYLES)
def test_files_of_keras_2_become_files_of_keras_3(name: str, style: str, tmp_path: Path) -> None:
    """Keras loads the result, with the same values under Keras 3's names and the same outputs."""
    model = LEGACY[name]()
    scramble(model)
    for variable in model.weights:
        if variable.path.endswith("moving_variance"):
            variable.assign(np.abs(variable.numpy()))
    inputs = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:])).astype("float32")
    for bare in (False, True) if isinstance(model, Sequential) and name != "equal shapes" else (False,):
        source = opened(as_keras2(model, tmp_path / "old.h5", style, bare))
        again = keras.models.load_model(write(source, tmp_path / "new.keras", force=True))
        assert np.allclose(again.predict(inputs, verbose=0), model.predict(inputs, verbose=0), atol=1e-6)
        assert len(again.weights) == len(dict(values(source))) == len(model.weights)
        counted = totals(source.model.owners())
        assert counted.unknown == 0
        assert counted.trainable == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_models_that_keras_2_called_twice(suffix: str, tmp_path: Path) -> None:
    """Keras 3 computes from the translation what Keras 2 computed when it wrote the file."""
    path = FIXTURES / f"keras2_models_called_twice.{suffix}"
    recorded = json.loads((FIXTURES / "keras2_models_called_twice.values.json").read_text())
    inputs = [np.array(values, "float32") for values in recorded["inputs"]]
    again = keras.models.load_model(write(opened(path), tmp_path / "new.keras"))
    assert np.allclose(again.predict(inputs, verbose=0), recorded["output"], atol=1e-5)
    for variable in again.weights:
        variable.assign(np.zeros(variable.shape))
    again.load_weights(write(opened(path), tmp_path / "new.weights.h5"))
    assert np.allclose(again.predict(inputs, verbose=0), recorded["output"], atol=1e-5)


def test_weights_of_keras_2_alone_have_the_same_names(tmp_path: Path) -> None:
    """Without a configuration, --like finds each variable by its name."""
    model = sequence(layers.LSTM(3, return_sequences=True, name="encoder"), layers.GRU(2, name="g"))
    model.save(tmp_path / "m.keras")
    for style in ("1.0 to 2.3", "2.2 to 2.12"):
        with h5py.File(tmp_path / "w.h5", "w") as alone:
            alone.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
            for layer in model.layers:
                group = alone.create_group(layer.name)
                names = [STYLES[style](v.path.removeprefix(f"{model.name}/")) + ":0" for v in layer.weights]
                group.attrs["weight_names"] = names
                for key, variable in zip(names, layer.weights, strict=True):
                    group[key] = variable.numpy()
        assert list(checkpoint(tmp_path / "w.h5").model.parameters) == list(
            checkpoint(tmp_path / "m.keras").model.parameters
        )


@pytest.mark.parametrize("name", ["a model within a model within", "both directions", "each step", "a layer"])
def test_a_file_without_names_of_layers_has_those_of_its_configuration(name: str, tmp_path: Path) -> None:
    """As Keras before 3.3 wrote it; Keras loads it by the places of the variables."""
    model = TRAINED[name]()
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        (tmp_path / "w.h5").write_bytes(archive.read("model.weights.h5"))
        config = archive.read("config.json")
    with h5py.File(tmp_path / "w.h5", "a") as file:
        groups: list[h5py.Group] = []
        file.visititems(lambda _, item: groups.append(item) if isinstance(item, h5py.Group) else None)
        for group in groups:
            group.attrs.pop("name", None)
    with zipfile.ZipFile(tmp_path / "nameless.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", config)
        archive.write(tmp_path / "w.h5", "model.weights.h5")
    assert equal(arrays_of(keras.models.load_model(tmp_path / "nameless.keras")), arrays_of(model))
    named, nameless = (checkpoint(tmp_path / f"{each}.keras").model for each in ("m", "nameless"))
    assert [(p.path, p.trainable) for p in named.parameters.values()] == [
        (p.path, p.trainable) for p in nameless.parameters.values()
    ]


def test_an_adapted_normalization(tmp_path: Path) -> None:
    """EfficientNet's begins with one: 3 means, 3 variances and a count. Others have their statistics as options."""
    x = 3 + 2 * np.random.default_rng(0).standard_normal((64, 4, 5, 3), "float32")
    adapted, whole = layers.Normalization(), layers.Normalization(axis=None, invert=True)
    fixed = layers.Normalization(axis=(3, 1), mean=[[1.0, 2.0, 3.0]] * 4, variance=[[1.0, 2.0, 0.0]] * 4)
    model = Sequential([keras.Input((4, 5, 3)), layers.Rescaling(0.5), adapted, whole, fixed, layers.Conv2D(2, 3)])
    adapted.adapt(x)
    whole.adapt(x)
    expected = model.predict(x, verbose=0)
    for name in ("m.keras", "m.h5"):
        model.save(tmp_path / name)
        read = opened(tmp_path / name).model
        facts = [(each.path.rpartition("/")[2], each.shape, each.dtype) for each in read.parameters.values()][:3]
        assert facts == [("mean", (3,), "float32"), ("variance", (3,), "float32"), ("count", (), "int32")]
        assert totals(read.parameters.values()).non_trainable == 3 + 3 + 1 + 1 + 1 + 1
        (output,) = pc.run(tmp_path / name, x).values()
        # a variance of 0 makes values of 10^7, whose sums cancel: they are as exact as the largest of them
        assert np.allclose(output, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
        again = keras.models.load_model(write(opened(tmp_path / name), tmp_path / f"of-{name}.keras"))
        assert np.array_equal(again.predict(x, verbose=0), expected)
    # Keras' backend for TensorFlow counts in int64
    model.save_weights(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5", "r+") as file:
        group = file["layers/normalization/vars"]
        del group["2"]
        group["2"] = np.int64(7)
    pc.save(tmp_path / "m.weights.h5", tmp_path / "c.weights.h5")
    model.load_weights(tmp_path / "c.weights.h5")
    assert int(keras.ops.convert_to_numpy(adapted.count)) == 7
    assert np.array_equal(model.predict(x, verbose=0), expected)
