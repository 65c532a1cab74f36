"""The sample networks in Keras, as D2L's chapter and Keras' documentation write them.

They know nothing of paramctl: a count that both have is found in two ways.
"""

from typing import Any

import keras
from keras import Model, Sequential, layers


def mlp() -> Model:
    return Sequential([keras.Input((4,)), layers.Flatten(), layers.Dense(4, activation="relu"), layers.Dense(1)])


def _block1(name: str) -> Model:
    return Sequential([layers.Flatten(), layers.Dense(4, activation="relu")], name=name)


def _block2() -> Model:
    return Sequential([_block1(f"block-{i}") for i in range(4)], name="block2")


def rgnet() -> Model:
    return Sequential([keras.Input((4,)), _block2(), layers.Dense(1)])


def tied_mlp() -> Model:
    shared = layers.Dense(4, activation="relu", name="shared")
    return Sequential([keras.Input((4,)), layers.Flatten(), shared, shared, layers.Dense(1)])


def nest_mlp() -> Model:
    net = Sequential([layers.Dense(64, activation="relu"), layers.Dense(32, activation="relu")], name="net")
    return Sequential([keras.Input((20,)), net, layers.Dense(16, activation="relu")], name="nest_mlp")


def fancy_mlp() -> Model:
    """Without its loop and its sum, for which Keras has no layer."""
    shared = layers.Dense(20, activation="relu", name="shared")
    uniform = keras.initializers.RandomUniform(0, 1)
    constant = layers.Dense(20, use_bias=False, trainable=False, kernel_initializer=uniform, name="constant")
    chain = [shared, constant, layers.Rescaling(1, offset=1), layers.Activation("relu"), shared]
    return Sequential([keras.Input((20,)), *chain], name="fancy_mlp")


def chimera() -> Model:
    return Sequential([keras.Input((20,)), nest_mlp(), layers.Dense(20), fancy_mlp()])


def lenet() -> Model:
    return Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(filters=6, kernel_size=5, activation="sigmoid", padding="same"),
            layers.AvgPool2D(pool_size=2, strides=2),
            layers.Conv2D(filters=16, kernel_size=5, activation="sigmoid"),
            layers.AvgPool2D(pool_size=2, strides=2),
            layers.Flatten(),
            layers.Dense(120, activation="sigmoid"),
            layers.Dense(84, activation="sigmoid"),
            layers.Dense(10),
        ]
    )


def lstm_classifier() -> Model:
    words = keras.Input((None,), dtype="int32")
    return Sequential([words, layers.Embedding(20000, 128), layers.LSTM(128), layers.Dense(1, activation="sigmoid")])


def resnet50() -> Model:
    return keras.applications.ResNet50(weights=None)


class PositionEmbedding(layers.Layer):
    """Adds a learned vector to each position: Keras documents it as a layer to write oneself."""

    def __init__(self, sequence_length: int, **options: Any) -> None:
        super().__init__(**options)
        self.sequence_length = sequence_length

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.embeddings = self.add_weight(name="embeddings", shape=(self.sequence_length, shape[-1]))

    def call(self, x: Any) -> Any:
        return x + self.embeddings


def gpt2(depth: int) -> Model:
    """Its output layer has a table of its own: Keras has no transposed tie."""
    x = inputs = keras.Input((1024,), dtype="int32")
    x = layers.Embedding(50257, 768)(x)
    x = PositionEmbedding(1024)(x)
    x = layers.Dropout(0.1)(x)
    for _ in range(depth):
        normal = layers.LayerNormalization(epsilon=1e-5)(x)
        attended = layers.MultiHeadAttention(12, 64, dropout=0.1)(normal, normal, use_causal_mask=True)
        x = layers.Add()([x, layers.Dropout(0.1)(attended)])
        normal = layers.LayerNormalization(epsilon=1e-5)(x)
        hidden = layers.Dense(3072, activation="gelu")(normal)
        x = layers.Add()([x, layers.Dropout(0.1)(layers.Dense(768)(hidden))])
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    return Model(inputs, layers.Dense(50257, use_bias=False)(x))
