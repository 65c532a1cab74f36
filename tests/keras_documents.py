"""Model documents whose initial values in Keras are known, by name; tests/interop/keras_programs.py has their programs."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import numpy as np

BACKENDS = ("torch", "jax", "tensorflow")
HALF_DTYPES = ("float16", "bfloat16")
IN_HALF = ("normals", "constants")
"""The documents that are also drawn in half precision, under the first seed."""
SEEDS = (0, 1, 7, 12345, 4294967295)

DOCUMENTS = {
    "dense": "input: [20]\nlayers: [{dense: 256}, relu, {dense: 10}]",
    "dense_large": "input: [700]\nlayers: [{dense: 400}, {dense: {units: 3, kernel_initializer: he_normal}}]",
    "normals": """
input: [17]
layers:
  - dense: {units: 33, kernel_initializer: random_normal, bias_initializer: {random_normal: {mean: 0.5, stddev: 0.1}}}
  - dense: {units: 3, kernel_initializer: {truncated_normal: {stddev: 0.02}}, bias_initializer: truncated_normal}
  - dense: {units: 1, kernel_initializer: {random_normal: {stddev: 1.0}}, bias_initializer: random_normal}
""",
    "scalings": """
input: [12]
layers:
  - dense: {units: 9, kernel_initializer: glorot_normal}
  - dense: {units: 8, kernel_initializer: he_uniform}
  - dense: {units: 7, kernel_initializer: he_normal}
  - dense: {units: 6, kernel_initializer: lecun_uniform}
  - dense: {units: 5, kernel_initializer: lecun_normal}
  - dense: {units: 4, kernel_initializer: {variance_scaling: {scale: 0.3, mode: fan_out, distribution: uniform}}}
  - dense: {units: 3, kernel_initializer: {variance_scaling: {mode: fan_avg, distribution: untruncated_normal}}}
  - dense: {units: 2, kernel_initializer: variance_scaling}
""",
    "constants": """
input: [4]
layers:
  - dense: {units: 4, kernel_initializer: {identity: {gain: -0.1}}, bias_initializer: {constant: 0.1}}
  - dense: {units: 5, kernel_initializer: {random_uniform: {minval: -1, maxval: 2.5}}, bias_initializer: ones}
  - dense: {units: 3, kernel_initializer: identity, use_bias: false, bias_initializer: random_uniform}
  - dense: 2
""",
    "lenet": """
input: [28, 28, 1]
layers:
  - conv2d: {filters: 6, kernel_size: 5, padding: same, activation: sigmoid}
  - average_pooling2d: 2
  - conv2d: {filters: 16, kernel_size: 5, activation: sigmoid}
  - average_pooling2d: 2
  - flatten
  - dense: {units: 120, activation: sigmoid}
  - dense: {units: 84, activation: sigmoid}
  - dense: 10
""",
    "convolutions": """
input: [16, 16, 4]
layers:
  - conv2d: {filters: 8, kernel_size: 3, groups: 2}
  - depthwise_conv2d: {kernel_size: 3, depth_multiplier: 2, bias_initializer: random_uniform}
  - spatial_dropout2d: 0.2
  - separable_conv2d: {filters: 6, kernel_size: 3, pointwise_initializer: he_normal}
  - conv2d_transpose: {filters: 5, kernel_size: 3, strides: 2}
  - p_re_lu: {alpha_initializer: random_uniform}
  - batch_normalization
  - global_average_pooling2d
  - dense: 3
""",
    "convolutions1d": """
input: [20, 6]
layers:
  - conv1d: {filters: 8, kernel_size: 3, padding: causal}
  - spatial_dropout1d: 0.1
  - depthwise_conv1d: 3
  - separable_conv1d: {filters: 7, kernel_size: 2, depthwise_initializer: random_normal}
  - conv1d_transpose: {filters: 4, kernel_size: 2}
  - layer_normalization
  - flatten
  - dense: 2
""",
    "convolutions3d": """
input: [6, 6, 6, 2]
layers:
  - conv3d: {filters: 4, kernel_size: 2}
  - spatial_dropout3d: 0.5
  - conv3d_transpose: {filters: 3, kernel_size: 2}
  - group_normalization: {groups: 3, gamma_initializer: random_normal}
  - flatten
  - dense: 2
""",
    "regularized": """
input: [30]
layers:
  - dropout: 0.5
  - dense: 20
  - dropout: 0.0
  - gaussian_noise: 0.1
  - dense: 20
  - gaussian_dropout: 0.1
  - alpha_dropout: 0.1
  - rms_normalization
  - dense: 5
  - unit_normalization
""",
    "statistics": """
input: [6]
layers:
  - normalization
  - batch_normalization:
      beta_initializer: random_uniform
      gamma_initializer: {random_normal: {mean: 1}}
      moving_mean_initializer: random_normal
      moving_variance_initializer: {random_uniform: {minval: 0.5, maxval: 1.5}}
  - layer_normalization: {beta_initializer: truncated_normal, gamma_initializer: ones}
  - dense: 4
""",
    "recurrent": """
input: [7, 5]
layers:
  - lstm: {units: 6, return_sequences: true, recurrent_initializer: glorot_uniform}
  - gru: {units: 5, return_sequences: true, recurrent_initializer: he_normal, dropout: 0.1}
  - simple_rnn: {units: 4, recurrent_initializer: random_normal, kernel_initializer: lecun_normal}
  - dense: 2
""",
    "recurrent_biases": """
input: [7, 5]
layers:
  - lstm:
      units: 6
      return_sequences: true
      recurrent_initializer: glorot_normal
      bias_initializer: {random_normal: {stddev: 0.3}}
  - lstm:
      units: 3
      return_sequences: true
      recurrent_initializer: glorot_uniform
      bias_initializer: random_uniform
      unit_forget_bias: false
  - gru: {units: 4, recurrent_initializer: random_uniform, bias_initializer: random_normal, reset_after: false}
  - dense: 2
""",
    "orthogonal": """
input: [7, 5]
layers:
  - lstm: {units: 6, return_sequences: true}
  - gru: 4
  - dense: {units: 3, kernel_initializer: {orthogonal: {gain: 1.5}}}
  - dense: 2
""",
    "bidirectional": """
input: [7]
layers:
  - embedding: {input_dim: 50, output_dim: 8}
  - bidirectional: {lstm: {units: 6, return_sequences: true, recurrent_initializer: glorot_uniform}}
  - bidirectional: {layer: {gru: {units: 3, recurrent_initializer: he_uniform}}, merge_mode: sum}
  - dense: 2
""",
    "time_distributed": """
input: [5, 8, 8, 3]
layers:
  - time_distributed: {conv2d: {filters: 4, kernel_size: 3, bias_initializer: random_normal}}
  - time_distributed: {dropout: 0.3}
  - time_distributed: flatten
  - time_distributed: {dense: 6}
  - time_distributed: {layer_normalization: {gamma_initializer: random_uniform}}
  - global_average_pooling1d
  - dense: 2
""",
    "attention": """
input: [9, 16]
layers:
  - multi_head_attention: {num_heads: 4, key_dim: 4}
  - dense: 8
  - multi_head_attention:
      num_heads: 2
      key_dim: 3
      value_dim: 5
      dropout: 0.1
      use_gate: true
      output_shape: 6
      kernel_initializer: he_normal
      bias_initializer: random_normal
  - multi_head_attention: {num_heads: 2, key_dim: 2, use_bias: false, bias_initializer: random_uniform}
  - dense: 3
""",
    "grouped_attention": """
input: [9, 16]
layers:
  - grouped_query_attention: {head_dim: 4, num_query_heads: 4, num_key_value_heads: 2, dropout: 0.2}
  - grouped_query_attention:
      head_dim: 2
      num_query_heads: 6
      num_key_value_heads: 3
      kernel_initializer: {random_normal: {stddev: 0.02}}
      use_gate: true
  - dense: 3
""",
    "transformer": """
input: [10]
layers:
  - embedding: {input_dim: 30, output_dim: 12}
  - residual: [{multi_head_attention: {num_heads: 3, key_dim: 4, dropout: 0.1}}, {dropout: 0.1}]
  - layer_normalization
  - residual: [{dense: {units: 24, activation: gelu}}, {dense: 12}, {dropout: 0.1}]
  - layer_normalization
  - global_average_pooling1d
  - dense: 2
""",
    "shared": """
input: [8]
layers:
  - dense: {units: 8, name: shared, activation: relu}
  - reuse: shared
  - dropout: 0.2
  - dense: 1
""",
    "nested": """
input: [20]
blocks:
  net:
    layers: [{dense: 64}, relu, {dense: 32}]
  tail:
    layers: [{dropout: 0.5}, {dense: {units: 3, kernel_initializer: glorot_normal}}]
layers: [net, {dense: 16}, tail]
""",
    "branches": """
input: [6]
layers:
  - parallel: {merge: concatenate, branches: {a: [{dense: 4}], b: [{dense: 3}, {dropout: 0.1}, {dense: 5}]}}
  - dense: 2
""",
}


def fingerprint(arrays: Iterable[np.ndarray[Any, Any]]) -> str:
    """A hash of the bytes of arrays."""
    digest = sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:24]
