"""Generated networks: nested blocks, shared layers, branches and wrappers, under the same names in every file of Keras.

The model that Keras loads from .keras also loads the weights that are saved from the same document, alone or in
shards, and writes the same groups itself. Its own files, in the formats of Keras 2 and 3, come back as the same model.
"""

import gc
import json
import random
import weakref
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras.src.saving import serialization_lib

from paramctl.conversion.match import like_reference, match_to
from paramctl.conversion.report import Allowed
from tests.interop.test_checkpoints import arrays_of, equal, load_without_a_word, opened, values, write

COUNT = 24
STEPS, FEATURES = 5, 4
LEAVES: list[Any] = [
    {"dense": {"units": FEATURES, "activation": "tanh"}},
    {"dense": {"units": FEATURES}},
    {"conv1d": {"filters": FEATURES, "kernel_size": 2, "padding": "same"}},
    {"layer_normalization": {}},
    {"batch_normalization": {"trainable": False}},
    {"time_distributed": {"layer": {"dense": {"units": FEATURES}}}},
    {"bidirectional": {"layer": {"lstm": {"units": 2, "return_sequences": True}}}},
    {"gru": {"units": FEATURES, "return_sequences": True}},
    {"multi_head_attention": {"num_heads": 2, "key_dim": 2, "use_gate": True}},
    {"spatial_dropout1d": {"rate": 0.5}},
    {"identity": {}},
]


class Generator:
    """Random documents, in which every layer keeps the shape."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)  # noqa: S311
        self.blocks: dict[str, Any] = {}
        self.count = 0

    def document(self) -> dict[str, Any]:
        layers = self.layers(0, self.draw.randint(2, 5))
        dtype = self.draw.choice(["float32", "float32", "float64"])
        inputs = {"shape": [STEPS, FEATURES], "dtype": dtype}
        blocks = {"blocks": self.blocks} if self.blocks else {}
        return {"name": "net", "dtype": dtype, "input": inputs, "layers": layers, **blocks}

    def layers(self, depth: int, length: int) -> list[Any]:
        entries: list[Any] = []
        names: list[str] = []
        for _ in range(length):
            kind = self.draw.choice(["leaf", "leaf", "reuse", "residual", "parallel", "block", "from"])
            name = self.name()
            if kind == "reuse" and names:
                entries.append({"reuse": self.draw.choice(names)})
                continue
            if kind in ("residual", "parallel", "block") and depth < 2:
                entries.append(self.compound(kind, name, depth))
            else:
                ((layer, options),) = self.draw.choice(LEAVES).items()
                entries.append({layer: options | {"name": name}})
            if kind == "from" and names:
                entries.append({"add": {"name": self.name(), "from": [name, self.draw.choice(names)]}})
            if kind != "residual":  # a block with branches is not reused
                names.append(name)
        return entries

    def compound(self, kind: str, name: str, depth: int) -> Any:
        inner = self.layers(depth + 1, self.draw.randint(1, 3))
        if kind == "residual":
            return {"residual": {"layers": inner, "name": name}}
        if kind == "parallel":
            branches = {"a": inner, "b": self.layers(depth + 1, 1)}
            return {"parallel": {"merge": self.draw.choice(["add", "maximum"]), "branches": branches, "name": name}}
        self.blocks[f"block_{name}"] = {"layers": inner}
        return {f"block_{name}": {"name": name}}

    def name(self) -> str:
        self.count += 1
        return f"n{self.count}"


def groups(path: Path) -> dict[str, Any]:
    """Every group of variables with the name that it records, and every variable with its shape."""
    found: dict[str, Any] = {}

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[path] = item.shape
        elif path.endswith("vars"):
            found[path] = item.attrs.get("name")

    with h5py.File(path) as file:
        file.visititems(visit)
    return {path: entry for path, entry in found.items() if "seed_generator" not in path}


def scramble(model: keras.Model) -> None:
    """Other values in every variable, all different; positive, because some are variances."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if "seed" not in variable.path:
            variable.assign(rng.uniform(0.1, 1, variable.shape).astype(variable.dtype))


def outputs(model: keras.Model) -> np.ndarray:
    x = np.random.default_rng(0).random((2, STEPS, FEATURES), "float32")
    array: np.ndarray = keras.ops.convert_to_numpy(model(x))
    return array


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_network_in_every_file_of_keras(seed: int, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(json.dumps(Generator(seed).document()))
    source = opened(tmp_path / "m.yaml")
    model = keras.models.load_model(write(source, tmp_path / "m.keras"))
    stored = [array for _, array in values(source)]
    assert sorted(map(np.sum, stored)) == sorted(map(np.sum, arrays_of(model)))
    drawn = arrays_of(model)
    for suffix, options in {"weights.h5": {}, "weights.json": {"max_shard_size": 300}}.items():
        scramble(model)
        load_without_a_word(model, write(source, tmp_path / f"m.{suffix}", **options))
        assert equal(drawn, arrays_of(model)), suffix

    scramble(model)
    expected = outputs(model)
    model.save_weights(tmp_path / "k.weights.h5")
    assert groups(tmp_path / "k.weights.h5").items() >= groups(tmp_path / "m.weights.h5").items()
    for name in ("k.keras", "k.h5"):
        model.save(tmp_path / name)
        own = opened(tmp_path / name)
        if own.model.document is None:  # Keras 2's format records too little of some nested models: saving is refused
            assert name == "k.h5"
            continue
        write(own, tmp_path / "again.weights.h5", force=True)
        assert groups(tmp_path / "again.weights.h5").items() >= groups(tmp_path / "m.weights.h5").items(), name
        again = keras.models.load_model(write(own, tmp_path / "again.keras", force=True))
        assert equal(arrays_of(model), arrays_of(again)), name
        assert np.array_equal(outputs(again), expected), name
        scramble(again)
        load_without_a_word(again, tmp_path / "k.weights.h5")
        assert np.array_equal(outputs(again), expected), name


RESIDUAL = {
    "name": "res",
    "input": [4],
    "layers": [
        {"dense": {"name": "stem", "units": 4}},
        {"residual": [{"dense": {"units": 4, "activation": "relu"}}, {"dense": {"units": 4}}]},
        {
            "residual": {
                "layers": [{"dense": {"units": 3}}, "layer_normalization"],
                "shortcut": [{"dense": {"name": "proj", "units": 3}}],
            }
        },
        {"dense": {"name": "head", "units": 2}},
    ],
}


def flat_residual() -> keras.Model:
    """The network of RESIDUAL as Keras code writes it: one Functional with Add layers."""
    given = keras.Input((4,))
    x = keras.layers.Dense(4)(given)
    x = keras.layers.Add()([keras.layers.Dense(4)(keras.layers.Dense(4, activation="relu")(x)), x])
    y = keras.layers.LayerNormalization()(keras.layers.Dense(3)(x))
    x = keras.layers.Add()([y, keras.layers.Dense(3)(x)])
    return keras.Model(given, keras.layers.Dense(2)(x))


def test_weights_of_a_flat_model_fit_a_document_with_residual_blocks(tmp_path: Path) -> None:
    """By their places in Keras' file, in both directions: the outputs are equal, whatever the layers are called."""
    (tmp_path / "m.yaml").write_text(json.dumps(RESIDUAL))
    document, model = opened(tmp_path / "m.yaml"), flat_residual()
    scramble(model)
    model.save(tmp_path / "flat.keras")
    model.save_weights(tmp_path / "flat.weights.h5")
    x = np.random.default_rng(0).random((3, 4), "float32")
    for name in ("flat.keras", "flat.weights.h5"):
        fitted, _ = match_to(opened(tmp_path / name), like_reference(document), Allowed(()))
        assert fitted.model.parameters.keys() == document.model.parameters.keys()
        nested = keras.models.load_model(write(fitted, tmp_path / "nested.keras", force=True))
        assert [type(layer).__name__ for layer in nested.layers].count("Functional") == 2
        assert np.array_equal(*(keras.ops.convert_to_numpy(each(x)) for each in (nested, model)))
    drawn = keras.models.load_model(write(document, tmp_path / "drawn.keras"))
    fitted, _ = match_to(document, like_reference(opened(tmp_path / "flat.keras")), Allowed(()))
    load_without_a_word(model, write(fitted, tmp_path / "back.weights.h5"))
    assert np.array_equal(*(keras.ops.convert_to_numpy(each(x)) for each in (drawn, model)))


def test_keras_keeps_the_wrapped_layers_while_it_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras knows a layer that it serializes by its address, which another layer gets if the first one is freed."""
    entry = {"bidirectional": {"layer": {"lstm": {"units": 2, "return_sequences": True}}}}
    wrapped = {"time_distributed": {"layer": {"bidirectional": {"layer": {"gru": {"units": 2}}}}}}
    document = {"name": "net", "input": [3, 5, 4], "layers": [wrapped, entry, entry]}
    (tmp_path / "m.yaml").write_text(json.dumps(document))
    seen: list[weakref.ref[Any]] = []
    record = serialization_lib.record_object_after_serialization

    def recorded(item: Any, config: dict[str, Any]) -> None:
        seen.append(weakref.ref(item))
        if isinstance(item, keras.layers.Bidirectional | keras.layers.RNN):
            gc.collect()
        assert all(reference() is not None for reference in seen)
        record(item, config)

    path = write(opened(tmp_path / "m.yaml"), tmp_path / "m.keras")
    monkeypatch.setattr(serialization_lib, "record_object_after_serialization", recorded)
    keras.models.load_model(path)
    assert len(seen) >= 6
