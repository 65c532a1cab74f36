"""Keras programs of the documents in tests/keras_documents.py, as one writes them by hand.

``python -m tests.interop.keras_programs FOLDER`` builds each of them under each seed, on the backend that KERAS_BACKEND
names, and writes the initial values of each into FOLDER/PROGRAM.npz, as ``SEED NUMBER``.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import Input, Sequential
from keras import initializers as init
from keras import layers as L  # noqa: N812

from tests.keras_documents import HALF_DTYPES, IN_HALF, SEEDS

Program: TypeAlias = Callable[[], keras.Model | list[keras.Layer]]

PROGRAMS: dict[str, Program] = {}
"""The programs by name. Each returns a model, or its layers if Keras lists them in another order than the document."""


def program(build: Program) -> Program:
    PROGRAMS[build.__name__] = build
    return build


@program
def dense() -> keras.Model:
    return Sequential([Input((20,)), L.Dense(256), L.ReLU(), L.Dense(10)])


@program
def dense_large() -> keras.Model:
    return Sequential([Input((700,)), L.Dense(400), L.Dense(3, kernel_initializer="he_normal")])


@program
def normals() -> keras.Model:
    return Sequential(
        [
            Input((17,)),
            L.Dense(33, kernel_initializer="random_normal", bias_initializer=init.RandomNormal(0.5, 0.1)),
            L.Dense(3, kernel_initializer=init.TruncatedNormal(stddev=0.02), bias_initializer="truncated_normal"),
            L.Dense(1, kernel_initializer=init.RandomNormal(stddev=1.0), bias_initializer="random_normal"),
        ]
    )


@program
def scalings() -> keras.Model:
    return Sequential(
        [
            Input((12,)),
            L.Dense(9, kernel_initializer="glorot_normal"),
            L.Dense(8, kernel_initializer="he_uniform"),
            L.Dense(7, kernel_initializer="he_normal"),
            L.Dense(6, kernel_initializer="lecun_uniform"),
            L.Dense(5, kernel_initializer="lecun_normal"),
            L.Dense(4, kernel_initializer=init.VarianceScaling(0.3, "fan_out", "uniform")),
            L.Dense(3, kernel_initializer=init.VarianceScaling(mode="fan_avg", distribution="untruncated_normal")),
            L.Dense(2, kernel_initializer="variance_scaling"),
        ]
    )


@program
def constants() -> keras.Model:
    inputs = Input((4,))
    x = L.Dense(4, kernel_initializer=init.Identity(-0.1), bias_initializer=init.Constant(0.1))(inputs)
    x = L.Dense(5, kernel_initializer=init.RandomUniform(-1, 2.5), bias_initializer="ones")(x)
    x = L.Dense(3, kernel_initializer="identity", use_bias=False, bias_initializer="random_uniform")(x)
    return keras.Model(inputs, L.Dense(2)(x))


@program
def lenet() -> keras.Model:
    return Sequential(
        [
            Input((28, 28, 1)),
            L.Conv2D(6, 5, padding="same", activation="sigmoid"),
            L.AveragePooling2D(2),
            L.Conv2D(16, 5, activation="sigmoid"),
            L.AveragePooling2D(2),
            L.Flatten(),
            L.Dense(120, activation="sigmoid"),
            L.Dense(84, activation="sigmoid"),
            L.Dense(10),
        ]
    )


@program
def convolutions() -> keras.Model:
    return Sequential(
        [
            Input((16, 16, 4)),
            L.Conv2D(8, 3, groups=2),
            L.DepthwiseConv2D(3, depth_multiplier=2, bias_initializer="random_uniform"),
            L.SpatialDropout2D(0.2),
            L.SeparableConv2D(6, 3, pointwise_initializer="he_normal"),
            L.Conv2DTranspose(5, 3, strides=2),
            L.PReLU(alpha_initializer="random_uniform"),
            L.BatchNormalization(),
            L.GlobalAveragePooling2D(),
            L.Dense(3),
        ]
    )


@program
def convolutions1d() -> keras.Model:
    return Sequential(
        [
            Input((20, 6)),
            L.Conv1D(8, 3, padding="causal"),
            L.SpatialDropout1D(0.1),
            L.DepthwiseConv1D(3),
            L.SeparableConv1D(7, 2, depthwise_initializer="random_normal"),
            L.Conv1DTranspose(4, 2),
            L.LayerNormalization(),
            L.Flatten(),
            L.Dense(2),
        ]
    )


@program
def convolutions3d() -> keras.Model:
    return Sequential(
        [
            Input((6, 6, 6, 2)),
            L.Conv3D(4, 2),
            L.SpatialDropout3D(0.5),
            L.Conv3DTranspose(3, 2),
            L.GroupNormalization(3, gamma_initializer="random_normal"),
            L.Flatten(),
            L.Dense(2),
        ]
    )


@program
def regularized() -> keras.Model:
    x = inputs = Input((30,))
    x = L.Dropout(0.5)(x)
    x = L.Dense(20)(x)
    x = L.Dropout(0.0)(x)
    x = L.GaussianNoise(0.1)(x)
    x = L.Dense(20)(x)
    x = L.GaussianDropout(0.1)(x)
    x = L.AlphaDropout(0.1)(x)
    x = L.RMSNormalization()(x)
    x = L.Dense(5)(x)
    return keras.Model(inputs, L.UnitNormalization()(x))


@program
def statistics() -> keras.Model:
    return Sequential(
        [
            Input((6,)),
            L.Normalization(),
            L.BatchNormalization(
                beta_initializer="random_uniform",
                gamma_initializer=init.RandomNormal(mean=1),
                moving_mean_initializer="random_normal",
                moving_variance_initializer=init.RandomUniform(0.5, 1.5),
            ),
            L.LayerNormalization(beta_initializer="truncated_normal"),
            L.Dense(4),
        ]
    )


@program
def recurrent() -> keras.Model:
    return Sequential(
        [
            Input((7, 5)),
            L.LSTM(6, return_sequences=True, recurrent_initializer="glorot_uniform"),
            L.GRU(5, return_sequences=True, recurrent_initializer="he_normal", dropout=0.1),
            L.SimpleRNN(4, recurrent_initializer="random_normal", kernel_initializer="lecun_normal"),
            L.Dense(2),
        ]
    )


@program
def recurrent_biases() -> keras.Model:
    x = inputs = Input((7, 5))
    normal = init.RandomNormal(stddev=0.3)
    x = L.LSTM(6, return_sequences=True, recurrent_initializer="glorot_normal", bias_initializer=normal)(x)
    x = L.LSTM(
        3,
        return_sequences=True,
        recurrent_initializer="glorot_uniform",
        bias_initializer="random_uniform",
        unit_forget_bias=False,
    )(x)
    x = L.GRU(4, recurrent_initializer="random_uniform", bias_initializer="random_normal", reset_after=False)(x)
    return keras.Model(inputs, L.Dense(2)(x))


@program
def orthogonal() -> keras.Model:
    return Sequential(
        [
            Input((7, 5)),
            L.LSTM(6, return_sequences=True),
            L.GRU(4),
            L.Dense(3, kernel_initializer=init.Orthogonal(1.5)),
            L.Dense(2),
        ]
    )


@program
def bidirectional() -> keras.Model:
    return Sequential(
        [
            Input((7,)),
            L.Embedding(50, 8),
            L.Bidirectional(L.LSTM(6, return_sequences=True, recurrent_initializer="glorot_uniform")),
            L.Bidirectional(L.GRU(3, recurrent_initializer="he_uniform"), merge_mode="sum"),
            L.Dense(2),
        ]
    )


@program
def time_distributed() -> keras.Model:
    return Sequential(
        [
            Input((5, 8, 8, 3)),
            L.TimeDistributed(L.Conv2D(4, 3, bias_initializer="random_normal")),
            L.TimeDistributed(L.Dropout(0.3)),
            L.TimeDistributed(L.Flatten()),
            L.TimeDistributed(L.Dense(6)),
            L.TimeDistributed(L.LayerNormalization(gamma_initializer="random_uniform")),
            L.GlobalAveragePooling1D(),
            L.Dense(2),
        ]
    )


@program
def attention() -> keras.Model:
    x = inputs = Input((9, 16))
    x = L.MultiHeadAttention(4, 4)(x, x)
    x = L.Dense(8)(x)
    x = L.MultiHeadAttention(
        2,
        3,
        value_dim=5,
        dropout=0.1,
        use_gate=True,
        output_shape=6,
        kernel_initializer="he_normal",
        bias_initializer="random_normal",
    )(x, x)
    x = L.MultiHeadAttention(2, 2, use_bias=False, bias_initializer="random_uniform")(x, x)
    return keras.Model(inputs, L.Dense(3)(x))


@program
def grouped_attention() -> keras.Model:
    x = inputs = Input((9, 16))
    x = L.GroupQueryAttention(4, 4, 2, dropout=0.2)(x, x)
    x = L.GroupQueryAttention(2, 6, 3, kernel_initializer=init.RandomNormal(stddev=0.02), use_gate=True)(x, x)
    return keras.Model(inputs, L.Dense(3)(x))


@program
def transformer() -> keras.Model:
    inputs = Input((10,))
    x = L.Embedding(30, 12)(inputs)
    y = L.MultiHeadAttention(3, 4, dropout=0.1)(x, x)
    x = L.Add()([x, L.Dropout(0.1)(y)])
    x = L.LayerNormalization()(x)
    y = L.Dense(24, activation="gelu")(x)
    y = L.Dense(12)(y)
    x = L.Add()([x, L.Dropout(0.1)(y)])
    x = L.LayerNormalization()(x)
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(x)))


@program
def shared() -> keras.Model:
    inputs = Input((8,))
    layer = L.Dense(8, activation="relu")
    x = L.Dropout(0.2)(layer(layer(inputs)))
    return keras.Model(inputs, L.Dense(1)(x))


@program
def nested() -> keras.Model:
    net = Sequential([L.Dense(64), L.ReLU(), L.Dense(32)])
    middle = L.Dense(16)
    tail = Sequential([L.Dropout(0.5), L.Dense(3, kernel_initializer="glorot_normal")])
    return Sequential([Input((20,)), net, middle, tail])


@program
def branches() -> list[keras.Layer]:
    inputs = Input((6,))
    first = L.Dense(4)
    second = L.Dense(3)
    x = L.Dropout(0.1)(second(inputs))
    third = L.Dense(5)
    joined = L.Concatenate()([first(inputs), third(x)])
    last = L.Dense(2)
    last(joined)
    return [first, second, third, last]


def initial_values(build: Program, seed: int) -> list[np.ndarray[Any, Any]]:
    """The initial values of a program under a seed, in the order of the document."""
    keras.utils.set_random_seed(seed)
    built = build()
    layers = built if isinstance(built, list) else [built]
    return [keras.ops.convert_to_numpy(variable.value) for layer in layers for variable in layer.weights]


def half_values(build: Program, dtype: str) -> list[np.ndarray[Any, Any]]:
    """The initial values of a program under a policy of half precision, as float32."""
    keras.config.set_dtype_policy(dtype)
    keras.utils.set_random_seed(SEEDS[0])
    built = build()
    keras.config.set_dtype_policy("float32")
    assert not isinstance(built, list)
    return [keras.ops.convert_to_numpy(keras.ops.cast(variable.value, "float32")) for variable in built.weights]


def main(folder: Path) -> None:
    for name, build in PROGRAMS.items():
        arrays = {
            f"{seed} {number}": array for seed in SEEDS for number, array in enumerate(initial_values(build, seed))
        }
        if name in IN_HALF:
            for dtype in HALF_DTYPES:
                arrays |= {f"{dtype} {number}": array for number, array in enumerate(half_values(build, dtype))}
        np.savez(folder / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
