"""The sample networks in Keras, as D2L's chapter and Keras' documentation write them.

They know nothing of paramctl: a count that both have is found in two ways.
"""

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
