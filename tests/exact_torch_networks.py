"""Networks whose initial values in torch are recorded: tests/interop/exact_torch.py has the same ones in torch."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import paramctl as pc
from paramctl.core.indexing import select_all
from paramctl.source.base import Source
from paramctl.store.contents import gather
from tests.conftest import model

RECORDED = Path(__file__).parent / "fixtures" / "exact" / "torch.json"
"""The hashes of the values that torch 2.13 gives: by framework, network and seed."""

SEEDS = (0, 1, 42, 2**31 + 3, 2**32 + 5)


class Network(NamedTuple):
    """A document, the order of its program, and the dtype of its parameters."""

    document: str
    order: tuple[str, ...] = ()
    dtype: str = "float32"


IMAGE = "input: [12, 12, 3]\n"
TEXT = "input: [6, 10]\n"
WORDS = "inputs: {words: {shape: [6], dtype: int32}}\n"

MLP = "input: [4]\nlayers: [flatten, {dense: {units: 8, activation: relu}}, {dense: 1}]\n"

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
  - conv2d: {{filters: 10, kernel_size: 3, groups: 5, dilation_rate: 2}}
"""

UNET = f"""
{IMAGE}
layers:
  - conv2d: {{filters: 4, kernel_size: 3, padding: same, name: down}}
  - max_pooling2d
  - conv2d: {{filters: 8, kernel_size: 3, padding: same}}
  - conv2d_transpose: {{filters: 4, kernel_size: 2, strides: 2}}
  - concatenate: {{from: [down, conv2d_transpose]}}
  - group_normalization: {{groups: 2}}
  - p_re_lu: {{shared_axes: [1, 2]}}
  - conv2d: {{filters: 2, kernel_size: 1}}
"""

VOLUME = """
input: [6, 6, 6, 2]
layers:
  - conv3d: {filters: 3, kernel_size: [1, 2, 3]}
  - conv3d_transpose: {filters: 2, kernel_size: 2, use_bias: false}
  - flatten
  - dense: 3
"""

SIGNAL = f"""
{TEXT}
layers:
  - conv1d: {{filters: 8, kernel_size: 3, padding: causal}}
  - separable_conv1d: {{filters: 6, kernel_size: 2, use_bias: false}}
  - depthwise_conv1d: {{kernel_size: 2}}
  - conv1d_transpose: {{filters: 3, kernel_size: 3, strides: 2}}
"""

CLASSIFIER = f"""
{WORDS}
layers:
  - embedding: {{input_dim: 30, output_dim: 7, mask_zero: true}}
  - lstm: {{units: 5, return_sequences: true}}
  - lstm: {{units: 3, use_bias: false}}
  - dense: {{units: 1, activation: sigmoid}}
"""

RECURRENT = f"""
{TEXT}
layers:
  - bidirectional: {{layer: {{gru: {{units: 4, return_sequences: true}}}}}}
  - bidirectional: {{layer: {{lstm: {{units: 3, return_sequences: true}}}}}}
  - simple_rnn: {{units: 6, return_sequences: true}}
  - time_distributed: {{layer: {{dense: 2}}}}
"""

STATISTICS = f"""
{TEXT}
layers:
  - normalization
  - gru: {{units: 5, return_sequences: true}}
  - gru: {{units: 4, use_bias: false}}
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
        - dense: {units: 16, activation: gelu}
        - dense: 8
  - layer_normalization
"""

DECODER = """
inputs: {x: [6, 8], memory: [5, 12]}
layers:
  - multi_head_attention: {name: cross, num_heads: 2, key_dim: 4, value: memory, from: x}
  - multi_head_attention: {name: own, num_heads: 4, key_dim: 2, use_bias: false}
  - multi_head_attention: {name: gated, num_heads: 2, key_dim: 3, use_gate: true}
  - dense: 3
"""

GPT = """
inputs: {tokens: {shape: [6], dtype: int32}}
layers:
  - embedding: {name: wte, input_dim: 40, output_dim: 8}
  - position_embedding: {name: wpe, sequence_length: 6}
  - residual:
      name: attend
      layers: [layer_normalization, {multi_head_attention: {num_heads: 2, key_dim: 4, use_causal_mask: true}}]
  - layer_normalization
  - dense: {name: head, units: 40, use_bias: false}
ties: [{keep: wte/embeddings, tie: head/kernel, transpose: true}]
"""

LLAMA = """
inputs: {tokens: {shape: [6], dtype: int32}}
layers:
  - embedding: {name: tokens, input_dim: 20, output_dim: 8}
  - rms_normalization
  - grouped_query_attention: {head_dim: 4, num_query_heads: 2, num_key_value_heads: 1, use_bias: false, rope_theta: 1e4}
  - dense: {name: up, units: 12, use_bias: false}
  - dense: {name: down, units: 8, use_bias: false}
"""

T5 = """
input: [6, 8]
layers:
  - multi_head_attention: {num_heads: 2, key_dim: 4, use_bias: false, relative_position: {buckets: 8, max_distance: 20}}
  - rms_normalization
"""

VIT = f"""
{IMAGE}
layers:
  - conv2d: {{filters: 8, kernel_size: 4, strides: 4, name: patches}}
  - reshape: [9, 8]
  - class_token
  - position_embedding: {{sequence_length: 10}}
  - multi_head_attention: {{num_heads: 4, key_dim: 2}}
  - scale
  - take: {{index: 0, axis: 1}}
  - dense: 10
"""

FORMULA = """
input: [4]
layers:
  - dense: 20
  - expression:
      name: fixed
      formula: relu(x @ R + 1)
      params: {R: {shape: [20, 20], trainable: false, initializer: {random_uniform: [0, 1]}}}
  - dense: 3
"""

SCHEMES = f"""
{IMAGE}
layers:
  - conv2d: {{filters: 8, kernel_size: 3, kernel_initializer: {{kaiming_normal: {{mode: fan_out, nonlinearity: relu}}}}}}
  - conv2d: {{filters: 4, kernel_size: 3, kernel_initializer: dirac, bias_initializer: {{constant: 0.5}}}}
  - conv2d: {{filters: 4, kernel_size: 1, kernel_initializer: he_uniform}}
  - flatten
  - dense: {{units: 6, kernel_initializer: xavier_normal, bias_initializer: {{random_normal: {{stddev: 0.01}}}}}}
  - dense: {{units: 6, kernel_initializer: {{truncated_normal: {{stddev: 0.02}}}}}}
  - dense: {{units: 5, kernel_initializer: {{trunc_normal: {{std: 0.5, a: -1, b: 0.75}}}}}}
  - dense: {{units: 5, kernel_initializer: identity}}
  - dense: {{units: 9, kernel_initializer: lecun_uniform}}
initializers: {{"**/bias": zeros}}
"""

RARE = """
inputs: {words: {shape: [6], dtype: int32}}
layers:
  - embedding: {input_dim: 9, output_dim: 10, embeddings_initializer: {padded: {initializer: {uniform: [-1, 1]}}}}
  - dense: {units: 40, kernel_initializer: {sparse: {sparsity: 0.3}}}
  - dense: {units: 7, kernel_initializer: {glorot_uniform: relu}, bias_initializer: ones}
  - dense: {units: 4, kernel_initializer: {mixture: [[0.4, zeros], [0.3, {uniform: [2, 5]}], [0.3, {uniform: [-5, -2]}]]}}
  - dense: 3
"""

NETWORKS = {
    "mlp": Network(MLP),
    "mlp in float64": Network(MLP, dtype="float64"),
    "mlp in bfloat16": Network(MLP, dtype="bfloat16"),
    "lazy mlp": Network(MLP, order=("rand(2, 4)",)),
    "lazy mlp in float64": Network(MLP, order=("rand(2, 4)",), dtype="float64"),
    "lenet": Network(LENET),
    "lenet in float16": Network(LENET, dtype="float16"),
    "resnet": Network(RESNET),
    "mobilenet": Network(MOBILENET),
    "unet": Network(UNET),
    "unet, decoder first": Network(UNET, order=("conv2d_transpose", "conv2d*", "randn(20)", "down")),
    "unet, decoder first, in bfloat16": Network(UNET, ("conv2d_transpose", "conv2d*", "randn(20)", "down"), "bfloat16"),
    "volume": Network(VOLUME),
    "signal": Network(SIGNAL),
    "classifier": Network(CLASSIFIER),
    "classifier in float64": Network(CLASSIFIER, dtype="float64"),
    "classifier, matrices again": Network(CLASSIFIER, order=("**", "lstm*/**=xavier_uniform")),
    "recurrent": Network(RECURRENT),
    "statistics": Network(STATISTICS),
    "encoder": Network(ENCODER),
    "encoder in bfloat16": Network(ENCODER, dtype="bfloat16"),
    "encoder layer": Network(ENCODER, order=("residual", "residual_1")),
    "decoder": Network(DECODER),
    "gpt": Network(GPT),
    "gpt initialized again": Network(GPT, order=("**", "**/kernel=normal:stddev=0.02", "wte=normal:stddev=0.02")),
    "llama": Network(LLAMA),
    "t5": Network(T5),
    "vit": Network(VIT),
    "formula": Network(FORMULA, order=("fixed",)),
    "schemes": Network(SCHEMES),
    "rare schemes": Network(RARE),
}


def initialized(name: str, seed: int, exactly: str = "torch") -> pc.Weights:
    """Return the values of a network as paramctl gives them."""
    network = NETWORKS[name]
    structure = model(network.document)
    return pc.initialize(structure, exactly=exactly, order=network.order, dtype=network.dtype, seed=seed)


def hash_of(source: Source) -> str:
    """Return the hash of arrays, sorted by name: of each name and of its bytes."""
    digest = sha256()
    for parameter in sorted(source.model.owners(), key=lambda parameter: parameter.path):
        digest.update(parameter.path.encode())
        for piece in gather(source, parameter.path, select_all(parameter.shape)):
            digest.update(piece.tobytes())
    return digest.hexdigest()
