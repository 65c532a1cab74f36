"""The networks of tests/exact_flax_networks.py in flax.nnx: their modules in the order in which a program makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from flax import nnx
from jax import random
from jax.nn import initializers as init

Parts: TypeAlias = Mapping[str, Any]
"""The modules of a network, by the path of the layer, and of a part of it."""
Make: TypeAlias = Callable[..., Any]
"""A function that makes a module, in the dtype of the network and with its random keys."""


def mlp(make: Make) -> Parts:
    return {"dense": make(nnx.Linear, 4, 8), "dense_1": make(nnx.Linear, 8, 1)}


def named_mlp(make: Make) -> Parts:
    return {"fc1": make(nnx.Linear, 4, 8), "fc2": make(nnx.Linear, 8, 1, use_bias=False)}


def regularized_mlp(make: Make) -> Parts:
    return {
        "dense": make(nnx.Linear, 4, 8),
        "dropout": _dropout(make),
        "dense_1": make(nnx.Linear, 8, 8),
        "layer_normalization": make(nnx.LayerNorm, 8, use_bias=False),
        "dropout_1": _dropout(make),
        "head": make(nnx.Linear, 8, 3),
    }


def head_first(make: Make) -> Parts:
    return {
        "head": make(nnx.Linear, 8, 3),
        "dropout_1": _dropout(make),
        "dense": make(nnx.Linear, 4, 8),
        "dropout": _dropout(make),
        "dense_1": make(nnx.Linear, 8, 8),
        "layer_normalization": make(nnx.LayerNorm, 8, use_bias=False),
    }


def _dropout(make: Make) -> Any:
    return nnx.Dropout(0.5, rngs=make.keywords["rngs"])  # it has no dtype


def lenet(make: Make) -> Parts:
    return {
        "conv2d": make(nnx.Conv, 3, 6, (5, 5)),
        "conv2d_1": make(nnx.Conv, 6, 16, (5, 5), padding="VALID"),
        "dense": make(nnx.Linear, 16, 20),
        "dense_1": make(nnx.Linear, 20, 10),
    }


def resnet(make: Make) -> Parts:
    parts = {"conv2d": make(nnx.Conv, 3, 8, (3, 3))}
    for unit in ("unit0/add", "unit1/add"):
        parts |= {
            f"{unit}/conv2d": make(nnx.Conv, 8, 8, (3, 3), use_bias=False),
            f"{unit}/batch_normalization": make(nnx.BatchNorm, 8),
            f"{unit}/conv2d_1": make(nnx.Conv, 8, 8, (3, 3), use_bias=False),
            f"{unit}/batch_normalization_1": make(nnx.BatchNorm, 8),
            f"{unit}/shortcut/conv2d": make(nnx.Conv, 8, 8, (1, 1), use_bias=False),
            f"{unit}/shortcut/batch_normalization": make(nnx.BatchNorm, 8),
        }
    return parts | {"dense": make(nnx.Linear, 8, 10)}


def mobilenet(make: Make) -> Parts:
    return {
        "conv2d": make(nnx.Conv, 3, 12, (1, 1), use_bias=False),
        "batch_normalization": make(nnx.BatchNorm, 12),
        "depthwise_conv2d": make(nnx.Conv, 12, 24, (3, 3), feature_group_count=12, use_bias=False),
        "separable_conv2d/depthwise": make(nnx.Conv, 24, 24, (3, 3), feature_group_count=24, use_bias=False),
        "separable_conv2d/pointwise": make(nnx.Conv, 24, 5, (1, 1)),
        "conv2d_1": make(nnx.Conv, 5, 10, (3, 3), feature_group_count=5),
    }


def decoder(make: Make) -> Parts:
    return {
        "down": make(nnx.Conv, 3, 4, (3, 3)),
        "conv2d_transpose": make(nnx.ConvTranspose, 4, 6, (2, 2), (2, 2)),
        "group_normalization": make(nnx.GroupNorm, 6, 2),
        "conv2d": make(nnx.Conv, 6, 2, (1, 1)),
    }


def volume(make: Make) -> Parts:
    return {
        "conv3d": make(nnx.Conv, 2, 3, (1, 2, 3)),
        "conv3d_transpose": make(nnx.ConvTranspose, 3, 2, (2, 3, 1), use_bias=False),
        "dense": make(nnx.Linear, 7 * 7 * 4 * 2, 3),
    }


def signal(make: Make) -> Parts:
    return {
        "conv1d": make(nnx.Conv, 10, 8, (3,)),
        "depthwise_conv1d": make(nnx.Conv, 8, 8, (2,), feature_group_count=8),
        "conv1d_transpose": make(nnx.ConvTranspose, 8, 3, (3,)),
    }


def encoder(make: Make) -> Parts:
    return {
        "residual/multi_head_attention": make(nnx.MultiHeadAttention, 2, 8),
        "layer_normalization": make(nnx.LayerNorm, 8),
        "residual_1/dense": make(nnx.Linear, 8, 16),
        "residual_1/dense_1": make(nnx.Linear, 16, 8),
        "rms_normalization": make(nnx.RMSNorm, 8),
    }


def cross_attention(make: Make) -> Parts:
    features = {"qkv_features": 6, "in_kv_features": 12}
    return {
        "cross": make(nnx.MultiHeadAttention, 2, 8, dropout_rate=0.1, **features),
        "multi_head_attention": make(nnx.MultiHeadAttention, 4, 8, use_bias=False),
        "dense": make(nnx.Linear, 8, 3),
    }


def nested(make: Make) -> Parts:
    def net(inputs: int) -> list[Any]:
        return [make(nnx.Linear, inputs, 6), make(nnx.Linear, 6, 3)]

    first = [*net(4), make(nnx.Linear, 3, 5), make(nnx.Linear, 5, 4), *net(4), *net(3), make(nnx.Linear, 3, 5)]
    names = ["nest_mlp/net/dense", "nest_mlp/net/dense_1", "nest_mlp/dense", "dense", "net/dense", "net/dense_1"]
    return dict(zip([*names, "last/net/dense", "last/net/dense_1", "last/dense"], first, strict=True))


def words(make: Make) -> Parts:
    return {
        "embedding": make(nnx.Embed, 33, 7),
        "lstm/cell": make(nnx.LSTMCell, 7, 5, recurrent_kernel_init=init.glorot_uniform()),
        "last/cell": make(nnx.LSTMCell, 5, 3, recurrent_kernel_init=init.lecun_normal()),
        "dense": make(nnx.Linear, 3, 1),
    }


def recurrent(make: Make) -> Parts:
    gru, lstm = partial(make, nnx.GRUCell), partial(make, nnx.LSTMCell)
    return {
        "bidirectional/forward_rnn/cell": gru(10, 4, recurrent_kernel_init=init.lecun_normal()),
        "bidirectional/backward_rnn/cell": gru(10, 4, recurrent_kernel_init=init.lecun_normal()),
        "both/forward_rnn/cell": lstm(8, 3, recurrent_kernel_init=init.he_normal()),
        "both/backward_rnn/cell": lstm(8, 3, recurrent_kernel_init=init.he_normal()),
        "simple_rnn/cell": make(nnx.SimpleCell, 6, 6, recurrent_kernel_init=init.normal(0.1)),
        "last/cell": gru(6, 2, recurrent_kernel_init=init.glorot_normal()),
    }


def shared(make: Make) -> Parts:
    return {"fc": make(nnx.Linear, 4, 4), "dense": make(nnx.Linear, 4, 4), "dense_1": make(nnx.Linear, 4, 2)}


def schemes(make: Make) -> Parts:
    conv, linear = partial(make, nnx.Conv), partial(make, nnx.Linear)
    uniform = partial(random.uniform, minval=-0.3, maxval=0.45)
    return {
        "conv2d": conv(3, 8, (3, 3), kernel_init=init.variance_scaling(2.0, "fan_out", "normal")),
        "conv2d_1": conv(8, 4, (3, 3), kernel_init=init.he_normal(), bias_init=init.constant(0.5)),
        "conv2d_2": conv(4, 4, (1, 1), kernel_init=uniform),
        "layer_normalization": make(nnx.LayerNorm, 4, scale_init=init.normal(0.02), bias_init=init.ones),
        "dense": linear(256, 6, kernel_init=init.glorot_normal(), bias_init=init.normal(0.01)),
        "dense_1": linear(6, 6, kernel_init=init.truncated_normal(0.02)),
        "dense_2": linear(6, 5, kernel_init=init.glorot_uniform()),
        "dense_3": linear(5, 5, kernel_init=init.he_uniform()),
        "dense_4": linear(5, 9, kernel_init=init.variance_scaling(0.7, "fan_geo_avg", "uniform")),
        "dense_5": linear(9, 9, kernel_init=init.lecun_uniform()),
    }


def parts_of(name: str, dtype: str, seed: int) -> Parts:
    """Return the modules of a network. name: of the network: ``lenet in float16`` is lenet."""
    name = name.partition(" in ")[0].rpartition(", ")[2].replace(" ", "_")
    function: Callable[[Make], Parts] = globals()[name]
    return function(partial(_make, dtype, rngs=nnx.Rngs(seed)))


def _make(dtype: str, module: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return module(*args, param_dtype=dtype, **kwargs)
