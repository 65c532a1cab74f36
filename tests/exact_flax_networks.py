"""Networks whose initial values in Flax are recorded: tests/interop/exact_flax.py has the same ones in Flax."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

import paramctl as pc
from paramctl.source.base import Source
from tests.conftest import ROOT, model

SEEDS = (0, 1, 42, 2**31 + 3, 2**32 + 5)
RECORDED = ROOT / "tests/fixtures/exact/flax.json"


class Network(NamedTuple):
    """A document, the order of construction in nnx, and the dtype of its parameters."""

    document: str
    order: tuple[str, ...] = ()
    dtype: str = "float32"


IMAGE = "input: [12, 12, 3]\n"
TEXT = "input: [6, 10]\n"

MLP = "input: [4]\nlayers: [flatten, {dense: {units: 8, activation: relu}}, {dense: 1}]\n"

NAMED = """
input: [4]
layers: [{dense: {name: fc1, units: 8, activation: relu}}, {dense: {name: fc2, units: 1, use_bias: false}}]
"""

REGULARIZED = """
input: [4]
layers:
  - dense: {units: 8, activation: relu}
  - dropout: 0.5
  - dense: {units: 8, activation: relu}
  - layer_normalization: {center: false}
  - dropout: 0.5
  - dense: {name: head, units: 3}
"""

LENET = f"""
{IMAGE}
layers:
  - conv2d: {{filters: 6, kernel_size: 5, activation: sigmoid, padding: same}}
  - average_pooling2d: {{pool_size: 2, strides: 2}}
  - conv2d: {{filters: 16, kernel_size: 5, activation: sigmoid}}
  - average_pooling2d: {{pool_size: 2, strides: 2}}
  - flatten
  - dense: {{units: 20, activation: sigmoid}}
  - dense: 10
"""

RESNET = f"""
{IMAGE}
blocks:
  unit:
    options: {{filters: 8}}
    layers:
      - residual:
          name: add
          layers:
            - conv2d: {{filters: "${{filters}}", kernel_size: 3, padding: same, use_bias: false}}
            - batch_normalization
            - relu
            - conv2d: {{filters: "${{filters}}", kernel_size: 3, padding: same, use_bias: false}}
            - batch_normalization
          shortcut:
            - conv2d: {{filters: "${{filters}}", kernel_size: 1, use_bias: false}}
            - batch_normalization
      - relu
layers:
  - conv2d: {{filters: 8, kernel_size: 3, padding: same}}
  - unit: {{name: "unit${{i}}", repeat: 2}}
  - global_average_pooling2d
  - dense: 10
"""

MOBILENET = f"""
{IMAGE}
layers:
  - conv2d: {{filters: 12, kernel_size: 1, use_bias: false}}
  - batch_normalization
  - depthwise_conv2d: {{kernel_size: 3, depth_multiplier: 2, use_bias: false}}
  - separable_conv2d: {{filters: 5, kernel_size: 3}}
  - conv2d: {{filters: 10, kernel_size: 3, groups: 5}}
"""

DECODER = f"""
{IMAGE}
layers:
  - conv2d: {{filters: 4, kernel_size: 3, padding: same, name: down}}
  - conv2d_transpose: {{filters: 6, kernel_size: 2, strides: 2}}
  - group_normalization: {{groups: 2}}
  - conv2d: {{filters: 2, kernel_size: 1}}
"""

VOLUME = """
input: [6, 6, 6, 2]
layers:
  - conv3d: {filters: 3, kernel_size: [1, 2, 3]}
  - conv3d_transpose: {filters: 2, kernel_size: [2, 3, 1], use_bias: false}
  - flatten
  - dense: 3
"""

SIGNAL = f"""
{TEXT}
layers:
  - conv1d: {{filters: 8, kernel_size: 3}}
  - depthwise_conv1d: {{kernel_size: 2}}
  - conv1d_transpose: {{filters: 3, kernel_size: 3, strides: 1}}
"""

ENCODER = """
input: [6, 8]
layers:
  - residual:
      layers:
        - multi_head_attention: {num_heads: 2, key_dim: 4}
  - layer_normalization
  - residual:
      layers:
        - dense: {units: 16, activation: relu}
        - dense: 8
  - rms_normalization
"""

CROSS = """
inputs: {x: [6, 8], memory: [6, 12]}
layers:
  - multi_head_attention: {name: cross, num_heads: 2, key_dim: 3, value: memory, from: x, dropout: 0.1}
  - multi_head_attention: {num_heads: 4, key_dim: 2, use_bias: false}
  - dense: 3
"""

NESTED = """
input: [4]
blocks:
  net: {layers: [{dense: {units: 6, activation: relu}}, {dense: {units: 3, activation: relu}}]}
  nest_mlp: {layers: [net, {dense: 5}]}
layers: [nest_mlp, {dense: 4}, net, {nest_mlp: {name: last}}]
"""

WORDS = """
inputs: {words: {shape: [6], dtype: int32}}
layers:
  - embedding: {input_dim: 33, output_dim: 7}
  - lstm: {units: 5, return_sequences: true, recurrent_initializer: glorot_uniform}
  - lstm: {name: last, units: 3, recurrent_initializer: lecun_normal}
  - dense: {units: 1, activation: sigmoid}
"""

RECURRENT = f"""
{TEXT}
layers:
  - bidirectional:
      layer: {{gru: {{units: 4, return_sequences: true, recurrent_initializer: lecun_normal}}}}
  - bidirectional:
      name: both
      layer: {{lstm: {{units: 3, return_sequences: true, recurrent_initializer: he_normal}}}}
  - simple_rnn: {{units: 6, return_sequences: true, recurrent_initializer: {{random_normal: {{stddev: 0.1}}}}}}
  - gru: {{name: last, units: 2, recurrent_initializer: glorot_normal}}
"""

SHARED = """
input: [4]
layers: [{dense: {name: fc, units: 4, activation: relu}}, {reuse: fc}, {dense: 4}, {dense: 2}]
ties: [{keep: fc/kernel, tie: dense/kernel}]
"""

SCHEMES = f"""
{IMAGE}
layers:
  - conv2d: {{filters: 8, kernel_size: 3, kernel_initializer: {{variance_scaling: [2, fan_out, untruncated_normal]}}}}
  - conv2d: {{filters: 4, kernel_size: 3, kernel_initializer: he_normal, bias_initializer: {{constant: 0.5}}}}
  - conv2d: {{filters: 4, kernel_size: 1, kernel_initializer: {{random_uniform: [-0.3, 0.45]}}}}
  - layer_normalization: {{gamma_initializer: {{random_normal: {{stddev: 0.02}}}}, beta_initializer: ones}}
  - flatten
  - dense: {{units: 6, kernel_initializer: glorot_normal, bias_initializer: {{random_normal: {{stddev: 0.01}}}}}}
  - dense: {{units: 6, kernel_initializer: {{truncated_normal: {{stddev: 0.02}}}}}}
  - dense: {{units: 5, kernel_initializer: glorot_uniform}}
  - dense: {{units: 5, kernel_initializer: he_uniform}}
  - dense: {{units: 9, kernel_initializer: {{variance_scaling: [0.7, fan_geo_avg, uniform]}}}}
  - dense: {{units: 9, kernel_initializer: lecun_uniform}}
"""

NETWORKS = {
    "mlp": Network(MLP),
    "mlp in bfloat16": Network(MLP, dtype="bfloat16"),
    "named mlp": Network(NAMED),
    "regularized mlp": Network(REGULARIZED),
    "regularized mlp, head first": Network(REGULARIZED, order=("head", "dropout_1", "**")),
    "lenet": Network(LENET),
    "lenet in float16": Network(LENET, dtype="float16"),
    "resnet": Network(RESNET),
    "mobilenet": Network(MOBILENET),
    "decoder": Network(DECODER),
    "volume": Network(VOLUME),
    "signal": Network(SIGNAL),
    "encoder": Network(ENCODER),
    "encoder in bfloat16": Network(ENCODER, dtype="bfloat16"),
    "cross attention": Network(CROSS),
    "nested": Network(NESTED),
    "words": Network(WORDS),
    "words in float16": Network(WORDS, dtype="float16"),
    "recurrent": Network(RECURRENT),
    "shared": Network(SHARED),
    "schemes": Network(SCHEMES),
    "schemes in bfloat16": Network(SCHEMES, dtype="bfloat16"),
    "schemes in float16": Network(SCHEMES, dtype="float16"),
}
FRAMEWORKS = ("flax:linen", "flax:nnx")


def initialized(name: str, seed: int, exactly: str) -> pc.Weights:
    """Return the values of a network as paramctl gives them."""
    network = NETWORKS[name]
    order = network.order if exactly == "flax:nnx" else ()
    return pc.initialize(model(network.document), exactly=exactly, order=order, dtype=network.dtype, seed=seed)


def tensors_of(source: Source) -> dict[str, bytes]:
    """Return the bytes of Flax' tensors by name, without those that Flax lacks."""
    names = source.model.parameters.items()
    return {name: source.read(name, 0, each.size).tobytes() for name, each in names if "/absent/" not in name}


def hash_of(tensors: dict[str, bytes]) -> str:
    """Return the hash of tensors, sorted by name: of each name and of its bytes."""
    digest = sha256()
    for name, values in sorted(tensors.items()):
        digest.update(name.encode() + values)
    return digest.hexdigest()
