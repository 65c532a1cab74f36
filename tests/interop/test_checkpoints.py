"""Checkpoints both ways: what paramctl writes, Keras and torch's helpers load, with the same values; and what they write
comes back through every format unchanged."""

import json
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import huggingface_hub
import keras
import numpy as np
import pytest
import torch
from keras import layers
from safetensors.torch import load_file, load_model, save_model

from paramctl.inspect.diff import compare
from paramctl.model import build, totals
from paramctl.model.document import parse
from paramctl.model.layers import LAYERS
from paramctl.source.base import Source
from paramctl.source.drawn import Drawn
from paramctl.source.open import open_path, source_of
from paramctl.source.save import save
from paramctl.store.contents import read_alias
from paramctl.store.io.write_values import WriteOptions
from tests.interop.cases import Case, cases
from tests.interop.networks import SAMPLES, keras_counts
from tests.interop.sides import OPTIONS_NOT_IN_KERAS, by_paramctl, channels_first, matched, only_keras_takes
from tests.interop.test_layers import IN_KERAS, NOT_IN_KERAS

BUILDABLE = ["mlp", "rgnet", "tied_mlp", "nest_mlp", "lenet", "lstm_classifier", "vgg16", "resnet50", "mobilenet_v2"]
"""The samples that have nothing but Keras' layers."""

APPLICATIONS = ["MobileNetV2", "ResNet50", "EfficientNetB0", "DenseNet121"]


def opened(path: Path) -> Source:
    return source_of(open_path(str(path)))


def write(source: Source, path: Path | str, **options: Any) -> Path:
    save(source, str(path), WriteOptions(**options))
    return Path(path)


def values(source: Source) -> Iterator[tuple[str, np.ndarray]]:
    """Every array by each of its names."""
    for path, parameter in source.model.parameters.items():
        yield path, np.array(read_alias(source, path, 0, parameter.size)).reshape(parameter.shape)


def arrays_of(model: keras.Model) -> list[np.ndarray]:
    return [np.asarray(variable.numpy()) for variable in model.variables if "seed" not in variable.path]


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) > 0 and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, other, strict=True)
    )


def scramble(model: keras.Model) -> None:
    """Other values in every variable, all different."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if "seed" not in variable.path:
            variable.assign(rng.normal(size=variable.shape).astype(variable.dtype))


def load_without_a_word(model: keras.Model, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.load_weights(path)


def assert_same(a: Source, b: Source) -> None:
    reports = []
    assert compare(a, b, progress=lambda *report: reports.append(report)) == []
    assert reports, "some values are compared"


def test_every_sample_is_buildable_in_keras_or_has_a_custom_layer() -> None:
    for path in sorted(SAMPLES.glob("*.yaml")):
        model = opened(path).model
        own = any(block.type in NOT_IN_KERAS - {"residual", "parallel", "reuse"} for block in model.walk())
        turned = any(getattr(block.layer, "rope_theta", None) for block in model.walk())
        assert (path.stem in BUILDABLE) is not (own or turned), path.stem


@pytest.mark.parametrize("name", BUILDABLE)
def test_keras_loads_each_saved_sample(name: str, tmp_path: Path) -> None:
    """.keras; .weights.h5 and .weights.json into the model that Keras builds of it; all with the drawn values."""
    source = opened(SAMPLES / f"{name}.yaml")
    model = keras.models.load_model(write(source, tmp_path / "m.keras"))
    drawn = dict(values(source))
    assert equal(sorted_arrays(drawn.values()), sorted_arrays(arrays_of(model)))
    told = arrays_of(model)
    for suffix in ("weights.h5", "weights.json"):
        scramble(model)
        load_without_a_word(
            model,
            write(source, tmp_path / f"m.{suffix}", **({"max_shard_size": 2_000_000} if "json" in suffix else {})),
        )
        assert equal(told, arrays_of(model)), suffix
    assert len(list(tmp_path.glob("m_*.h5"))) > (1 if model.count_params() > 2_000_000 else 0)


@pytest.mark.parametrize("name", [name for name in BUILDABLE if name not in ("vgg16", "resnet50")])
def test_weights_that_keras_saves_come_back(name: str, tmp_path: Path) -> None:
    """The same names as in the document, with Keras' values: from .keras by themselves, from weights too."""
    source = opened(SAMPLES / f"{name}.yaml")
    model = keras.models.load_model(write(source, tmp_path / "m.keras"))
    scramble(model)
    model.save(tmp_path / "k.keras")
    model.save_weights(tmp_path / "k.weights.h5")
    found = dict(values(opened(tmp_path / "k.keras")))
    assert found.keys() == source.model.parameters.keys()
    assert equal(sorted_arrays(found.values()), sorted_arrays(arrays_of(model)))
    for path, array in values(opened(tmp_path / "k.weights.h5")):
        assert np.array_equal(array, found[path]), path


def sorted_arrays(arrays: Any) -> list[np.ndarray]:
    return sorted(arrays, key=lambda array: (array.shape, array.tobytes()))


@pytest.mark.parametrize("name", [name for name in IN_KERAS if name not in ("bidirectional", "time_distributed")])
def test_a_layer_is_at_its_path_in_keras(name: str, tmp_path: Path) -> None:
    """Every layer with parameters, in a few of its forms: Keras loads the file, and writes the same places again."""
    tried = 0
    for case in (channels_first(each) for each in cases(LAYERS[name])):
        case = matched(LAYERS[name], case)
        if tried == 3 or only_keras_takes(LAYERS[name], case) or not has_parameters(name, case):
            continue
        entry = {
            name: {k: v for k, v in case.options.items() if k not in OPTIONS_NOT_IN_KERAS}
            | {"name": "subject", "from": mains(case)}
        }
        try:
            written = build(parse(json.dumps({"name": "m", "inputs": case.inputs, "layers": [entry]}), "case"))
        except ValueError:
            continue
        (tmp_path / "m.yaml").write_text(json.dumps({"name": "m", "inputs": case.inputs, "layers": [entry]}))
        source = opened(tmp_path / "m.yaml")
        try:
            path = write(source, tmp_path / "m.keras", force=True)
        except OSError as error:
            assert "is a function with options, which a Keras configuration cannot express" in str(error)
            continue
        model = keras.models.load_model(path)
        assert equal(sorted_arrays(dict(values(source)).values()), sorted_arrays(arrays_of(model))), (case, written)
        model.save_weights(tmp_path / "k.weights.h5")
        write(source, tmp_path / "m.weights.h5", force=True)
        assert datasets(tmp_path / "k.weights.h5") == datasets(tmp_path / "m.weights.h5")
        assert_same(source, opened(path))
        tried += 1
    assert tried == 3 or not any(has_parameters(name, case) for case in cases(LAYERS[name]))


def mains(case: Case) -> list[str]:
    return [name for name in case.inputs if not name.endswith("_input")]


def has_parameters(name: str, case: Case) -> bool:
    said = by_paramctl(LAYERS[name], case)
    return (
        not isinstance(said, str) and bool(said.parameters) and None not in {s for i in case.inputs.values() for s in i}
    )


def datasets(path: Path) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item.shape}) if isinstance(item, h5py.Dataset) else None)
    return found


def configuration(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read("config.json")


@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_whole_network_of_keras_through_other_formats_and_back(name: str, tmp_path: Path) -> None:
    """Keras' own totals and values; and through safetensors back into .keras and .weights.h5, unchanged."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None)
    scramble(model)
    model.save(tmp_path / "m.keras")
    source = opened(tmp_path / "m.keras")
    counted = totals(source.model.owners())
    assert (counted.trainable, counted.non_trainable, counted.unknown) == (*keras_counts(model), 0)
    listed = {variable.path.removeprefix(f"{model.name}/"): np.asarray(variable.numpy()) for variable in model.weights}
    found = dict(values(source))
    assert found.keys() == listed.keys()
    assert all(np.array_equal(found[path], array) for path, array in listed.items())
    assert all(block.output for block in source.model.blocks), "every layer has its shape"

    write(source, tmp_path / "m.safetensors")
    middle = opened(tmp_path / "m.safetensors")
    again = keras.models.load_model(write(middle, tmp_path / "again.keras"))
    assert configuration(tmp_path / "again.keras") == configuration(tmp_path / "m.keras")
    assert equal(arrays_of(model), arrays_of(again))
    scramble(again)
    load_without_a_word(again, write(middle, tmp_path / "again.weights.h5"))
    assert equal(arrays_of(model), arrays_of(again))


@keras.saving.register_keras_serializable("tests")
class Own(layers.Layer):
    """A layer of somebody's own, of which a file tells nothing but its class."""

    def build(self, shape: Any) -> None:
        self.w = self.add_weight(name="w", shape=(shape[-1],))
        self.kept = self.add_weight(name="kept", shape=(shape[-1],), trainable=False)

    def call(self, x: Any) -> Any:
        return x * self.w


def test_a_network_that_no_document_says(tmp_path: Path) -> None:
    """Own classes, models within models with several inputs, cross-attention: shown as they are, and back unchanged."""
    queries, keys = keras.Input((5, 6), name="queries"), keras.Input((7, 6), name="keys")
    one, other = keras.Input((5, 6)), keras.Input((5, 6))
    two = keras.Model([one, other], layers.Add()([layers.Dense(6, name="inner")(one), other]), name="two")
    x = layers.MultiHeadAttention(2, 3, name="cross")(queries, keys)
    x = Own(name="own")(two([x, queries]))
    x = layers.BatchNormalization(scale=False, name="norm")(x)
    x = layers.TimeDistributed(layers.Dense(3, name="each"), name="steps")(x)
    x = layers.Bidirectional(layers.LSTM(2, name="lstm"), name="both")(x)
    model = keras.Model([queries, keys], layers.Dense(2, name="head", trainable=False)(x), name="odd")
    scramble(model)
    model.save(tmp_path / "m.keras")
    source = opened(tmp_path / "m.keras")
    found = dict(values(source))
    assert {"cross/query/kernel", "two/inner/kernel", "norm/beta", "steps/each/kernel"} <= found.keys()
    assert {"both/forward_lstm/lstm_cell/kernel", "own/0", "own/1", "head/kernel"} <= found.keys()
    by_path = source.model.parameters
    assert (by_path["own/0"].trainable, by_path["head/kernel"].trainable, by_path["norm/moving_mean"].trainable) == (
        None,
        False,
        False,
    )
    blocks = {block.path: block for block in source.model.walk()}
    assert (blocks["own"].type, blocks["own"].output, blocks["own"].inputs) == ("own", (None, 5, 6), ("two",))
    assert blocks["both"].output == (None, 4)
    assert equal(sorted_arrays(found.values()), sorted_arrays(arrays_of(model)))
    write(source, tmp_path / "m.npz")
    write(opened(tmp_path / "m.npz"), tmp_path / "m.h5")
    again = keras.models.load_model(write(opened(tmp_path / "m.h5"), tmp_path / "again.keras"))
    assert equal(arrays_of(model), arrays_of(again))
    assert configuration(tmp_path / "again.keras") == configuration(tmp_path / "m.keras")


def test_both_directions_of_a_layer_that_keras_wrote(tmp_path: Path) -> None:
    """Keras tells a bidirectional layer by both of its layers; it is a document's one layer all the same."""
    layer = layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="sum", name="b")
    model = keras.Sequential([keras.Input((6, 5)), layer, layers.TimeDistributed(layers.Dense(2))])
    scramble(model)
    model.save(tmp_path / "m.keras")
    source = opened(tmp_path / "m.keras")
    assert [path for path, _ in values(source)] == [variable.path.partition("/")[2] for variable in model.weights]
    assert equal([array for _, array in values(source)], arrays_of(model))
    assert [block.type for block in source.model.blocks] == ["bidirectional", "time_distributed"]


def test_an_optimizers_state_is_carried_over_between_keras_files(tmp_path: Path) -> None:
    """A model that is trained on goes on as if nothing had been done to its file; other formats leave the state out."""
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="a"), layers.Dropout(0.5)])
    model.compile("adam", "mse")
    model.fit(np.ones((8, 4)), np.ones((8, 4)), verbose=0)
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    for name in ("m.keras", "m.weights.h5"):
        other = write(opened(tmp_path / name), tmp_path / f"other-{name}")
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            again = keras.models.load_model(other if name == "m.keras" else tmp_path / "m.keras")
            if name == "m.weights.h5":
                for variable in again.optimizer.variables:
                    variable.assign(keras.ops.zeros_like(variable))
                again.load_weights(other)
        there = [keras.ops.convert_to_numpy(each) for each in again.optimizer.variables]
        assert equal(there, [keras.ops.convert_to_numpy(each) for each in model.optimizer.variables])
        assert equal(arrays_of(again), arrays_of(model))
    through = opened(write(opened(tmp_path / "m.keras"), tmp_path / "m.safetensors"))
    assert through.origin.location is not None
    assert through.origin.optimizer is None


def names_and_training(source: Source) -> dict[str, bool | None]:
    return {path: parameter.trainable for path, parameter in source.model.parameters.items()}


def test_optimizers_below_the_top_are_no_parameters(tmp_path: Path) -> None:
    """Of a model within another that was compiled, and of a training loop of one's own; their state goes along."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="a")], name="inner")
    inner.compile("adam", "mse")
    inner.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(1, name="b")(inner(x)), name="outer")
    model.save(tmp_path / "m.keras")
    source = opened(tmp_path / "m.keras")
    assert totals(source.model.owners()).parameters == model.count_params()
    again = keras.models.load_model(write(source, tmp_path / "again.keras"))
    state = again.get_layer("inner").optimizer.variables
    assert equal(
        [*map(keras.ops.convert_to_numpy, state)], [*map(keras.ops.convert_to_numpy, inner.optimizer.variables)]
    )

    class Loop(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.net_optimizer = layers.Dense(3), keras.optimizers.Adam()
            self.net_loss_tracker = keras.metrics.Mean()

        def call(self, x: Any) -> Any:
            return self.net(x)

    loop = Loop()
    loop(np.zeros((1, 2), "float32"))
    loop.net_optimizer.build(loop.trainable_variables)
    loop.save_weights(tmp_path / "l.weights.h5")
    assert totals(opened(tmp_path / "l.weights.h5").model.owners()).parameters == loop.count_params()


def test_quantized_layers_have_keras_names(tmp_path: Path) -> None:
    """Those of integers of 8 bits, with and without a bias; what is trained of them as in Keras."""
    x = keras.Input((3,), dtype="int32")
    y = layers.Dense(4, use_bias=False, name="bare")(layers.Embedding(10, 4, name="table")(x))
    y = layers.EinsumDense("abc,cd->abd", output_shape=(None, 5), name="sums")(layers.Dense(4, name="full")(y))
    model = keras.Model(x, y)
    model.quantize("int8")
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    said = {variable.path: variable.trainable for variable in model.weights}
    assert {path for path, trained in said.items() if trained} == {"full/bias"}
    found = names_and_training(opened(tmp_path / "m.keras"))
    assert {path: bool(trained) for path, trained in found.items()} == said
    assert names_and_training(opened(tmp_path / "m.weights.h5")) == said | {"full/bias": None}


def test_every_file_of_one_model_has_the_same_names(tmp_path: Path) -> None:
    """Its archive, its weights alone or in shards, and Keras 2's format as Keras 3 writes it."""
    cells = [layers.LSTMCell(3), layers.GRUCell(2)]
    model = keras.Sequential(
        [
            keras.Input((5, 3)),
            layers.TimeDistributed(layers.Dense(4)),
            layers.RNN(cells, return_sequences=True, name="stack"),
            *(layers.Dense(2) for _ in range(12)),
        ],
        name="many",
    )
    scramble(model)
    for name in ("m.keras", "m.h5", "m.weights.h5"):
        (model.save_weights if "weights" in name else model.save)(tmp_path / name)
    model.save_weights(tmp_path / "m.weights.json", max_shard_size=300 / 1024**3)
    assert len(list(tmp_path.glob("m_*.weights.h5"))) > 1
    want = {variable.path.removeprefix("many/"): np.asarray(variable.numpy()) for variable in model.weights}
    for path in tmp_path.glob("m.*"):
        found = dict(values(opened(path)))
        assert found.keys() == want.keys(), path
        assert all(np.array_equal(found[name], array) for name, array in want.items()), path
    chain = keras.Sequential([keras.Input((3,)), *(layers.Dense(2) for _ in range(12))])
    chain.save(tmp_path / "c.h5")
    assert opened(tmp_path / "c.h5").model.document is not None, "its configuration fits"


def test_a_set_is_read_as_keras_reads_it(tmp_path: Path) -> None:
    """Groups that the index does not name in a file are not in the set."""
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="a"), layers.Dense(2, name="b")])
    scramble(model)
    model.save_weights(tmp_path / "m.weights.json", max_shard_size=25 / 1024**3)
    index = json.loads((tmp_path / "m.weights.json").read_text())["weight_map"]
    (first, last) = (index[f"/layers/{name}/vars"][-1] for name in ("dense", "dense_1"))
    assert first != last
    with h5py.File(tmp_path / last, "a") as file:
        file["layers/dense/vars/0"] = np.full((2, 2), 99, "float32")
    before = arrays_of(model)
    load_without_a_word(model, tmp_path / "m.weights.json")
    assert equal(before, arrays_of(model))
    assert equal(before, [array for _, array in values(opened(tmp_path / "m.weights.json"))])


def test_trainable_is_set_for_known_classes(tmp_path: Path) -> None:
    """In Keras 2's format, whose names say nothing of a class of somebody's own."""
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2, name="head")(Own(name="own")(x)))
    model.save(tmp_path / "m.h5")
    found = names_and_training(opened(tmp_path / "m.h5"))
    assert found == {"own/w": None, "own/kept": None, "head/kernel": True, "head/bias": True}


def test_a_subclassed_model_through_other_formats(tmp_path: Path) -> None:
    """Its file tells no configuration; names stay numbers where the class does not tell, and the way back is exact."""

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.rest = layers.Dense(3), [layers.Dense(3), Own()]

        def call(self, x: Any) -> Any:
            for layer in (self.first, *self.rest):
                x = layer(x)
            return x

    model = Net()
    model(np.zeros((1, 4), "float32"))
    scramble(model)
    model.save_weights(tmp_path / "m.weights.h5")
    source = opened(tmp_path / "m.weights.h5")
    write(source, tmp_path / "m.safetensors")
    written = write(opened(tmp_path / "m.safetensors"), tmp_path / "again.weights.h5")
    before = arrays_of(model)
    scramble(model)
    for variable in model.variables:
        variable.assign(variable * 0)
    load_without_a_word(model, written)
    assert equal(before, arrays_of(model))


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(50, 8)
        self.inner = torch.nn.Linear(8, 8)
        self.head = torch.nn.Linear(8, 50, bias=False)
        self.head.weight = self.table.weight


def test_torchs_helpers_load_a_tie(tmp_path: Path) -> None:
    """safetensors' own load_model, strictly, and what its save_model wrote."""
    network = Tied()
    save_model(network, tmp_path / "t.safetensors")
    source = opened(tmp_path / "t.safetensors")
    assert {frozenset((tie.kept, tie.tied)) for tie in source.model.ties} == {
        frozenset(("table.weight", "head.weight"))
    }
    write(source, tmp_path / "t.h5")
    write(opened(tmp_path / "t.h5"), tmp_path / "again.safetensors")
    other = Tied()
    assert load_model(other, tmp_path / "again.safetensors", strict=True) == (set(), [])
    assert torch.equal(other.head.weight, network.head.weight)
    assert other.head.weight is other.table.weight


def test_the_hubs_helpers_load_a_set(tmp_path: Path) -> None:
    """huggingface_hub loads a folder of shards by its index, ties included, and paramctl what it wrote."""
    network = Tied()
    save_model(network, tmp_path / "t.safetensors")
    write(opened(tmp_path / "t.safetensors"), f"{tmp_path}/set/", max_shard_size=1_000)
    assert len(list((tmp_path / "set").glob("*.safetensors"))) > 1
    other = Tied()
    huggingface_hub.load_torch_model(other, tmp_path / "set", strict=False)
    for one, two in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    (tmp_path / "hub").mkdir()
    huggingface_hub.save_torch_model(network, tmp_path / "hub", max_shard_size=1_000)
    assert_same(opened(tmp_path / "t.safetensors"), opened(tmp_path / "hub"))


def test_bfloat16_and_float8_in_torch(tmp_path: Path) -> None:
    """The same bits in torch, after a way through HDF5 and npz."""
    arrays = {
        "b": torch.randn(7, 5).to(torch.bfloat16),
        "e4": torch.randn(7, 5).to(torch.float8_e4m3fn),
        "e5": torch.randn(7, 5).to(torch.float8_e5m2),
    }
    from safetensors.torch import save_file

    save_file(arrays, tmp_path / "t.safetensors")
    write(opened(tmp_path / "t.safetensors"), tmp_path / "t.h5")
    write(opened(tmp_path / "t.h5"), tmp_path / "t.npz")
    again = load_file(write(opened(tmp_path / "t.npz"), tmp_path / "again.safetensors"))
    for name, array in arrays.items():
        assert again[name].dtype == array.dtype
        assert torch.equal(again[name].view(torch.uint8), array.view(torch.uint8))


def test_keras_loads_bfloat16(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("name: m\ninput: [4]\ndtype: bfloat16\nlayers: [{dense: 3}]\n")
    source = opened(tmp_path / "m.yaml")
    model = keras.models.load_model(write(source, tmp_path / "m.keras"))
    kernel = model.variables[0]
    assert kernel.dtype == "bfloat16"
    assert np.array_equal(
        kernel.value.detach().to(torch.float32).numpy(), dict(values(source))["dense/kernel"].astype("float32")
    )


def test_keras_loads_layers_of_different_dtypes(tmp_path: Path) -> None:
    """Each layer has the dtype of its own arrays, so that none is rounded; so has one that another wraps."""
    entries = [{"dense": {"units": 4, "name": name}} for name in "ab"]
    steps = {"time_distributed": {"layer": {"dense": 4}, "name": "c"}}
    document = {"name": "m", "input": [3, 4], "layers": [entries[0], "relu", entries[1], steps]}
    (tmp_path / "m.yaml").write_text(json.dumps(document))
    source = opened(tmp_path / "m.yaml")
    dtypes = {"a": "bfloat16", "b": "float32", "c": "float16"}
    made = source.model.map_parameters(lambda each: replace(each, dtype=dtypes[each.path[0]]))
    assert isinstance(source, Drawn)
    source = Drawn(made, source.assigned, source.seed)
    model = keras.models.load_model(write(source, tmp_path / "m.keras"))
    told = {variable.path.removeprefix("m/"): variable for variable in model.variables}
    assert {path: variable.dtype for path, variable in told.items()} == {
        path: dtypes[path[0]] for path in source.model.parameters
    }
    for path, array in values(source):
        there = keras.ops.convert_to_numpy(keras.ops.cast(told[path], "float32"))
        assert np.array_equal(there, array.astype("float32")), path
