"""The sample models, and models with masks, compute what the same networks in Keras compute with the same arrays.

The networks in Keras are those of test_samples and test_applications, whose layers are paired with the document's in the
order in which they are applied. The largest are smaller here, or have smaller inputs. Keras cannot rotate queries and keys, so llama's documents
are without their rotation here; test_rotation compares it with the formula in torch.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers as keras_layers

from paramctl import initialize
from paramctl.compute.space import NUMPY
from paramctl.compute.values import Values
from paramctl.model import Model
from paramctl.model.layers.attending import rotate
from paramctl.source.base import Source
from tests.interop import chapter, transformers
from tests.interop.networks import leaves, sample
from tests.interop.test_applications import APPLICATIONS, place
from tests.interop.test_checkpoints import opened, write
from tests.interop.test_forward import outputs_of
from tests.interop.test_samples import TRANSFORMERS, along

CHAINS = ["mlp", "rgnet", "tied_mlp", "nest_mlp", "lenet", "lstm_classifier"]
"""The samples that are chains of layers of Keras."""
SMALL = (64, 64, 3)
"""The size of the images that applications are compared with."""


def source_of(model: Model) -> Source:
    """The model with values, its biases too."""
    biases = [path for path in model.parameters if path.endswith("/bias")]
    return initialize(model, rules={path: {"random_normal": {"stddev": 0.1}} for path in biases}, seed=1).source


def set_weights(source: Source, theirs: Iterable[keras_layers.Layer]) -> None:
    """Give Keras' layers the arrays of the document's, paired in the order in which they are applied."""
    values = Values(source, np.dtype("float32"))
    weighted = [layer for layer in theirs if layer.weights]
    for path, layer in zip(homes(source.model), weighted, strict=True):
        layer.set_weights([values[name] for name in source.model.parameters if name.startswith(f"{path}/")])


def homes(model: Model) -> list[str]:
    """The paths of the layers that have parameters, in the order in which they are applied."""
    blocks = [*leaves(model.blocks)]
    first = {block.path: block for block in reversed(blocks)}
    paths = [block.reuse_of or block.path for block in blocks]
    return [path for path in paths if first[path].parameters]


def inputs_of(source: Source, rows: int = 2, shape: tuple[int, ...] = (), most: int = 2) -> dict[str, np.ndarray]:
    """Random inputs by name. shape: for sizes that are open. most: the number of different integers."""
    rng = np.random.default_rng(0)
    inputs: dict[str, np.ndarray] = {}
    for declared in source.model.inputs:
        size = (rows, *(shape or declared.shape[1:]))
        is_whole = declared.dtype.startswith("int")
        inputs[declared.name] = rng.integers(most, size=size) if is_whole else rng.random(size, "float32")
    return inputs


def compare(source: Source, inputs: dict[str, np.ndarray], theirs: Any) -> None:
    with np.errstate(invalid="ignore"):
        ours = [*outputs_of(source, inputs).values()]
    expected = [keras.ops.convert_to_numpy(tensor) for tensor in (theirs if isinstance(theirs, list) else [theirs])]
    for one, other in zip(ours, expected, strict=True):
        assert one.dtype == other.dtype
        most = np.nanmax(np.abs(other))
        assert most > 0
        assert np.allclose(one, other, rtol=1e-4, atol=1e-4 * most, equal_nan=True)


TOKENS = {"embedding": {"input_dim": 3, "output_dim": 6, "mask_zero": True}}
RETURN = {"units": 4, "return_sequences": True}
ATTENTION = {"num_heads": 2, "key_dim": 3}
MASKED: dict[str, list[Any]] = {
    "recurrent": [TOKENS, {"lstm": RETURN}, {"dropout": 0.2}, {"gru": RETURN}, {"simple_rnn": 3}],
    "backwards": [TOKENS, {"gru": RETURN | {"go_backwards": True}}, {"lstm": {"units": 3, "go_backwards": True}}],
    "both": [TOKENS, {"bidirectional": {"layer": {"lstm": RETURN}}}, {"bidirectional": {"layer": {"gru": 3}}}],
    "attention": [TOKENS, {"multi_head_attention": ATTENTION}, "layer_normalization", "global_average_pooling1d"],
    "dropped attention": [TOKENS, {"multi_head_attention": ATTENTION | {"dropout": 0.1}}, {"activation": "relu"}],
    "causal": [
        TOKENS,
        {"grouped_query_attention": {"head_dim": 2, "num_query_heads": 4, "num_key_value_heads": 2}},
        {"multi_head_attention": ATTENTION | {"use_causal_mask": True, "sliding_window": 3}},
        {"lstm": 3},
    ],
    "residual": [TOKENS, {"residual": [{"gru": {"units": 6, "return_sequences": True}}]}, {"lstm": 3}],
    "each step": [
        TOKENS,
        {"time_distributed": {"layer": {"dense": 5}}},
        {"bidirectional": {"layer": {"lstm": RETURN}}},
    ],
    "lost": [TOKENS, {"conv1d": {"filters": 4, "kernel_size": 3, "padding": "same"}}, {"lstm": 3}],
}
"""Chains of layers after an embedding that masks 0."""


@pytest.mark.parametrize("name", MASKED)
def test_masks_along_a_model(name: str, tmp_path: Path) -> None:
    """Longer sequences, of which some end early and one is all padding, whose mean is 0 / 0."""
    layers: list[Any] = MASKED[name]
    document = {"name": "m", "input": {"shape": [None], "dtype": "int32"}, "layers": layers}
    (tmp_path / "m.yaml").write_text(json.dumps(document))
    source = source_of(opened(tmp_path / "m.yaml").model)
    theirs = keras.models.load_model(write(source, tmp_path / "m.keras"))
    tokens = np.random.default_rng(0).integers(3, size=(5, 70))
    tokens[1, 50:] = tokens[2, :20] = tokens[3] = 0
    compare(source, {source.model.inputs[0].name: tokens}, theirs(tokens))


def test_masks_of_several_inputs(tmp_path: Path) -> None:
    """Masking, and attention to another sequence with a mask of its own."""
    document = {
        "name": "m",
        "inputs": {"x": [7, 4], "y": [9, 4]},
        "layers": [
            {"masking": {"name": "left", "from": "x"}},
            {"masking": {"name": "right", "from": "y", "mask_value": 0.5}},
            {"multi_head_attention": {"name": "attention", "from": "left", "value": "right", **ATTENTION}},
            {"add": {"from": ["left", "attention"]}},
            {"lstm": 3},
        ],
    }
    (tmp_path / "m.yaml").write_text(json.dumps(document))
    source = source_of(opened(tmp_path / "m.yaml").model)
    theirs = keras.models.load_model(write(source, tmp_path / "m.keras"))
    inputs = inputs_of(source)
    inputs["x"][0, 2:4], inputs["y"][1, 5:] = 0, 0.5
    compare(source, inputs, theirs([*inputs.values()]))


@pytest.mark.parametrize("name", CHAINS)
def test_chain(name: str) -> None:
    source = source_of(sample(name))
    theirs = getattr(chapter, name)()
    set_weights(source, [layer for layer, _ in along(theirs, theirs.inputs[0])])
    inputs = inputs_of(source, shape=(40,) if name == "lstm_classifier" else (), most=1000)
    compare(source, inputs, theirs(*inputs.values()))


def test_gpt2() -> None:
    """Two blocks of the real size; the output layer is tied to the embeddings."""
    small = {"vocabulary": 500, "context": 48}
    source, theirs = source_of(sample("gpt2", depth=2, **small)), transformers.gpt2(2, **small)
    set_weights(source, theirs.layers)
    inputs = inputs_of(source, most=500)
    compare(source, inputs, theirs(*inputs.values()))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformer(name: str) -> None:
    small = TRANSFORMERS[name]
    model, theirs = sample(name, depth=2, **small), getattr(transformers, name)(2, **small)
    for block in leaves(model.blocks):
        if block.type == "grouped_query_attention":
            vars(block.layer)["rope_theta"] = None
    source = source_of(model)
    set_weights(source, theirs.layers)
    inputs = inputs_of(source, shape=() if name == "vit_b16" else (20,))
    compare(source, inputs, theirs([*inputs.values()]))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_application(name: str) -> None:
    """Layers of ResNet are paired by their places, because the order of the two sides of a branch is each one's own."""
    source = source_of(sample(name))
    theirs = APPLICATIONS[name][0](weights=None, input_shape=SMALL)
    weighted = [layer for layer in theirs.layers if layer.weights]
    if name == "resnet50":
        placed = {place(layer.name): layer for layer in weighted}
        others = iter([layer for layer in weighted if place(layer.name) is None])
        weighted = [placed.get(path) or next(others) for path in homes(source.model)]
    set_weights(source, weighted)
    inputs = inputs_of(source, rows=1, shape=SMALL)
    compare(source, inputs, theirs(*inputs.values()))


def test_rotation() -> None:
    """The formula of Llama's code in transformers: x * cos + rotate_half(x) * sin."""
    x = torch.randn(2, 3, 7, 8, generator=torch.Generator().manual_seed(0))
    frequencies = 1 / 500000 ** (torch.arange(0, 8, 2) / 8)
    angles = torch.outer(torch.arange(7), frequencies).repeat(1, 2)
    half = torch.cat([-x[..., 4:], x[..., :4]], dim=-1)
    expected = x * angles.cos() + half * angles.sin()
    assert np.allclose(rotate(NUMPY, x.numpy(), 500000), expected, rtol=1e-5, atol=1e-6)
