"""Every layer's output shape, parameters and fans, against figures worked out by hand."""

import pytest

from paramctl.model.layers import LAYERS
from tests.conftest import model

IMAGE = "input: [8, 9, 6]\n"
TEXT = "input: [5, 6]\n"

# document, output shape, {parameter: shape}
CASES = {
    "conv2d": (
        IMAGE + "layers: [{conv2d: {filters: 4, kernel_size: [3, 2], strides: 2, groups: 2}}]",
        (None, 3, 4, 4),
        {"kernel": (3, 2, 3, 4), "bias": (4,)},
    ),
    "conv2d same": (
        IMAGE + "layers: [{conv2d: {filters: 4, kernel_size: 3, strides: 2, padding: same, use_bias: false}}]",
        (None, 4, 5, 4),
        {"kernel": (3, 3, 6, 4)},
    ),
    "conv2d dilated": (
        IMAGE + "layers: [{conv2d: {filters: 1, kernel_size: 3, dilation_rate: 3, use_bias: false}}]",
        (None, 2, 3, 1),
        {"kernel": (3, 3, 6, 1)},
    ),
    "conv2d channels first": (
        IMAGE + "layers: [{conv2d: {filters: 2, kernel_size: 3, data_format: channels_first, use_bias: false}}]",
        (None, 2, 7, 4),
        {"kernel": (3, 3, 8, 2)},
    ),
    "conv1d causal": (
        TEXT + "layers: [{conv1d: {filters: 2, kernel_size: 3, padding: causal}}]",
        (None, 5, 2),
        {"kernel": (3, 6, 2), "bias": (2,)},
    ),
    "depthwise": (
        IMAGE + "layers: [{depthwise_conv2d: {kernel_size: 3, depth_multiplier: 2}}]",
        (None, 6, 7, 12),
        {"kernel": (3, 3, 6, 2), "bias": (12,)},
    ),
    "max pooling": (IMAGE + "layers: [max_pooling2d]", (None, 4, 4, 6), {}),
    "average pooling": (
        IMAGE + "layers: [{average_pooling2d: {pool_size: 3, strides: 1, padding: same}}]",
        (None, 8, 9, 6),
        {},
    ),
    "global pooling": (IMAGE + "layers: [global_average_pooling2d]", (None, 6), {}),
    "global pooling, axes kept": (IMAGE + "layers: [{global_max_pooling2d: {keepdims: true}}]", (None, 1, 1, 6), {}),
    "zero padding": (IMAGE + "layers: [{zero_padding2d: [[1, 2], [0, 3]]}]", (None, 11, 12, 6), {}),
    "flatten": (IMAGE + "layers: [flatten]", (None, 8 * 9 * 6), {}),
    "reshape": (IMAGE + "layers: [{reshape: [-1, 12]}]", (None, 36, 12), {}),
    "permute": (IMAGE + "layers: [{permute: [3, 1, 2]}]", (None, 6, 8, 9), {}),
    "take": (TEXT + "layers: [{take: {index: -1, axis: 1}}]", (None, 6), {}),
    "glu": (TEXT + "layers: [glu]", (None, 5, 3), {}),
    "reduce_sum": (TEXT + "layers: [reduce_sum]", (), {}),
    "batch_normalization": (
        IMAGE + "layers: [{batch_normalization: {axis: 1, scale: false}}]",
        (None, 8, 9, 6),
        {"beta": (8,), "moving_mean": (8,), "moving_variance": (8,)},
    ),
    "layer_normalization": (
        TEXT + "layers: [{layer_normalization: {axis: [1, 2]}}]",
        (None, 5, 6),
        {"gamma": (5, 6), "beta": (5, 6)},
    ),
    "position_embedding": (TEXT + "layers: [{position_embedding: 7}]", (None, 5, 6), {"embeddings": (7, 6)}),
    "lstm": (
        TEXT + "layers: [{lstm: {units: 3, return_sequences: true}}]",
        (None, 5, 3),
        {"lstm_cell/kernel": (6, 12), "lstm_cell/recurrent_kernel": (3, 12), "lstm_cell/bias": (12,)},
    ),
    "attention": (
        TEXT + "layers: [{multi_head_attention: {num_heads: 2, key_dim: 3, value_dim: 5, output_shape: 7}}]",
        (None, 5, 7),
        {
            "query/kernel": (6, 2, 3),
            "query/bias": (2, 3),
            "key/kernel": (6, 2, 3),
            "key/bias": (2, 3),
            "value/kernel": (6, 2, 5),
            "value/bias": (2, 5),
            "attention_output/kernel": (2, 5, 7),
            "attention_output/bias": (7,),
        },
    ),
    "cross-attention": (
        "inputs: {text: [5, 6], image: [9, 4]}\n"
        "layers: [{multi_head_attention: {num_heads: 2, key_dim: 3, from: text, value: image, use_bias: false}}]",
        (None, 5, 6),
        {
            "query/kernel": (6, 2, 3),
            "key/kernel": (4, 2, 3),
            "value/kernel": (4, 2, 3),
            "attention_output/kernel": (2, 3, 6),
        },
    ),
}


@pytest.mark.parametrize(("document", "output", "parameters"), CASES.values(), ids=CASES)
def test_output_and_parameters(document: str, output: object, parameters: dict[str, tuple[int, ...]]) -> None:
    made = model(document)
    (block,) = made.walk()
    assert block.output == output
    assert {path.partition("/")[2]: parameter.shape for path, parameter in made.parameters.items()} == parameters
    assert list(made.parameters) == [f"{block.path}/{name}" for name in parameters]


# A 64-channel layer with a 3x3 kernel, and the fans that one output and one input truly have.
FANS = {
    "dense": ("input: [64]\nlayers: [{dense: 16}]", (64, 16)),
    "conv": ("input: [8, 8, 64]\nlayers: [{conv2d: {filters: 16, kernel_size: 3}}]", (576, 144)),
    "grouped": ("input: [8, 8, 64]\nlayers: [{conv2d: {filters: 64, kernel_size: 3, groups: 4}}]", (144, 144)),
    "depthwise": ("input: [8, 8, 64]\nlayers: [{depthwise_conv2d: 3}]", (9, 9)),
    "attention": ("input: [8, 64]\nlayers: [{multi_head_attention: {num_heads: 8, key_dim: 8}}]", (64, 64)),
    "lstm": ("input: [8, 64]\nlayers: [{lstm: 16}]", (64, 64)),
    "embedding": ("input: [8]\nlayers: [{embedding: [100, 64]}]", None),
}


@pytest.mark.parametrize(("document", "fans"), FANS.values(), ids=FANS)
def test_fans_follow_from_the_roles_of_axes(document: str, fans: tuple[int, int] | None) -> None:
    assert next(iter(model(document).parameters.values())).fans == fans


def test_biases_and_norms_have_no_fans() -> None:
    made = model("input: [8]\nlayers: [{dense: 3}, batch_normalization, layer_normalization]")
    others = [parameter for parameter in made.parameters.values() if parameter.kind != "weight"]
    assert len(others) == 7
    assert all(parameter.fans is None for parameter in others)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_says_what_it_does_in_one_sentence(name: str) -> None:
    about = (LAYERS[name].__doc__ or "").strip()
    assert about.partition("\n")[0].endswith((".", ","))
    assert len(about.partition("\n")[0]) < 120


def test_there_are_layers() -> None:
    assert len(LAYERS) > 30
