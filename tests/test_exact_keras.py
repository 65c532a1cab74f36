"""Keras' own initial values: the bytes that Keras gave on each backend, without any framework.

tests/fixtures/exact/keras.json has hashes of Keras' values; tests/interop/test_exact_keras.py compares them with Keras.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import paramctl as pc
from paramctl.errors import AddressError
from paramctl.init.distributions import Normal, TruncatedNormal, Uniform
from paramctl.init.engines.base import DrawRequest
from paramctl.init.engines.keras import ON_JAX, ON_TENSORFLOW, ON_TORCH
from paramctl.init.engines.philox import Philox
from paramctl.init.engines.streams import BLOCK_SIZE
from paramctl.model.layers import LAYERS
from tests.keras_documents import BACKENDS, DOCUMENTS, SEEDS, fingerprint

GOLDEN = json.loads((Path(__file__).parent / "fixtures/exact/keras.json").read_text())
DRAWING = ("rate", "stddev", "layer")
"""The options of layers that take a seed without an initializer."""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "model.yaml"
        path.write_text(text)
        return str(path)

    return write


def exact_arrays(weights):
    return [np.asarray(weights[row.path]) for row in weights.report if "close" not in row.exactly]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_bytes_of_keras(name, backend, written):
    model = written(DOCUMENTS[name])
    found = {
        str(seed): fingerprint(exact_arrays(pc.initialize(model, exactly=f"keras:{backend}", allow="close", seed=seed)))
        for seed in SEEDS
    }
    assert found == GOLDEN[backend][name]


def test_every_layer_that_takes_a_seed_in_keras_is_in_a_document():
    taking = {
        name
        for name, layer in LAYERS.items()
        if layer.in_keras and any(option.endswith("_initializer") or option in DRAWING for option in layer.signature)
    }
    text = "\n".join(DOCUMENTS.values())
    assert len(taking) > 25
    assert [name for name in sorted(taking) if f"{name}: " not in text and f"- {name}\n" not in text] == []


@pytest.mark.parametrize("engine", [ON_TORCH, ON_JAX, ON_TENSORFLOW], ids=lambda engine: engine.name)
@pytest.mark.parametrize("law", [Uniform(-1.0, 2.0), Normal(0.5, 2.0), TruncatedNormal(0.0, 0.1)], ids=str)
def test_a_block_has_the_same_values_whether_it_is_drawn_first_or_last(engine, law):
    size = 2 * BLOCK_SIZE + 21
    requests = {"w": DrawRequest(law, (size,), np.dtype("float32"))}
    forward, backward = (engine.start(3, requests) for _ in range(2))
    blocks = [forward.draw("w", block) for block in range(3)]
    for block in (2, 1, 0):
        assert np.array_equal(backward.draw("w", block), blocks[block])
    assert [block.size for block in blocks] == [BLOCK_SIZE, BLOCK_SIZE, 21]
    assert len(np.unique(np.concatenate(blocks))) > BLOCK_SIZE


def test_philox_has_the_words_of_its_publication():
    # Random123's known answers: kat_vectors, philox4x32 with 10 rounds
    zeros, ones = Philox((0, 0), (0, 0)), Philox((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2)
    assert [f"{word:08x}" for word in zeros.words(np.array([0], np.uint64))[0]] == [
        "6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8",
    ]  # fmt: skip
    assert [f"{word:08x}" for word in ones.words(np.array([2**64 - 1], np.uint64))[0]] == [
        "408f276d", "41c83b0e", "a20bc7c6", "6d5451fd",
    ]  # fmt: skip


def test_a_scheme_of_the_command_line_is_the_initializer_of_the_layer(written):
    plain = written("input: [6]\nlayers: [{dense: 5}, {dropout: 0.1}, {dense: 4}]")
    chosen = pc.initialize(plain, exactly="keras:jax", scheme="he_normal", seed=2)
    values = [np.asarray(chosen[path]) for path in ("dense/kernel", "dense_1/kernel")]
    same = written(
        "input: [6]\nlayers: [{dense: {units: 5, kernel_initializer: he_normal}}, {dropout: 0.1},"
        " {dense: {units: 4, kernel_initializer: he_normal}}]"
    )
    written_in_document = pc.initialize(same, exactly="keras:jax", seed=2)
    assert [np.array_equal(value, written_in_document[path]) for value, path in zip(
        values, ("dense/kernel", "dense_1/kernel"), strict=True)] == [True, True]  # fmt: skip
    without = written("input: [6]\nlayers: [{dense: 5}, {dense: 4}]")
    shifted = pc.initialize(without, exactly="keras:jax", scheme="he_normal", seed=2)
    assert np.array_equal(shifted["dense/kernel"], values[0])
    assert not np.array_equal(shifted["dense_1/kernel"], values[1])  # the dropout takes a seed


def test_an_order_constructs_layers_before_others(written):
    model = written("input: [6]\nlayers: [{dense: {units: 6, name: a}}, {dense: {units: 6, name: b}}]")
    usual = pc.initialize(model, exactly="keras:tensorflow", seed=4)
    swapped = pc.initialize(model, exactly="keras:tensorflow", seed=4, order=["b"])
    assert np.array_equal(usual["a/kernel"], swapped["b/kernel"])
    assert np.array_equal(usual["b/kernel"], swapped["a/kernel"])


MLP = "input: [4]\nlayers: [{dense: 4}]"
REFUSED = {
    "layer": ("input: [4, 4]\nlayers: [{position_embedding: 4}]", {}, "Keras has no layer position_embedding"),
    "scheme": (MLP, {"scheme": "xavier_normal"}, "Keras has no initializer xavier_normal"),
    "gain": (MLP, {"scheme": "glorot_uniform:gain=2"}, "glorot_uniform has no option gain"),
    "mode": (MLP, {"scheme": "variance_scaling:mode=fan_geo_avg"}, "no mode fan_geo_avg"),
    "thrown away": (MLP, {"order": ["rand(2, 4)"]}, "an order names layers only"),
    "again": (MLP, {"order": ["dense=zeros"]}, "an order names layers only"),
    "unknown": (MLP, {"order": ["densely"]}, "no layer matches"),
    "seed": (MLP, {"seed": 2**32}, "must be from 0 to 4,294,967,295"),
    "scale": (
        "input: [4]\nlayers: [rms_normalization]",
        {"rules": {"rms_normalization/scale": "zeros"}},
        "takes no initializer for it",
    ),
    "forget gate": (
        "input: [4, 4]\nlayers: [{lstm: {units: 2, recurrent_initializer: zeros}}]",
        {"rules": {"**/bias": "ones"}},
        "Keras sets the forget gate to 1",
    ),
    "projections": (
        "input: [4, 4]\nlayers: [{multi_head_attention: {num_heads: 1, key_dim: 2}}]",
        {"rules": {"**/query/kernel": "zeros"}},
        "Keras has one initializer for all of",
    ),
    "orthogonal": ("input: [4, 4]\nlayers: [{gru: 2}]", {}, "orthogonal values are only close"),
    "half": ("input: [4, 4]\nlayers: [{gru: 2}]", {"dtype": "float16"}, "no orthogonal matrix in float16"),
    "dtype": (MLP, {"dtype": "float64", "exactly": "keras:tensorflow"}, "the values in float64 are unknown"),
    "ties": (
        "input: [4]\nlayers: [{dense: {units: 4, name: a}}, {dense: {units: 4, name: b}}]\n"
        "ties: [{keep: a/kernel, tie: b/kernel}]",
        {},
        "tied parameters",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_keras_cannot_do_is_refused_in_one_line(name, written):
    text, options, rule = REFUSED[name]
    with pytest.raises(AddressError, match=rule) as error:
        np.asarray(pc.initialize(written(text), **{"exactly": "keras:torch"} | options)["dense/kernel"])
    assert "\n" not in str(error.value)
