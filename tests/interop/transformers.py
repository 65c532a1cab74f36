"""The sample transformers in Keras, with layers that Keras documents as ones to write oneself.

They know nothing of paramctl. What a document writes without an entry, the sums of residuals and
the product of gates, is written without a layer here.
"""

from functools import partial
from typing import Any

import keras
from keras import Model, layers, ops

Shape = tuple[int | None, ...]


class PositionEmbedding(layers.Layer):
    """Adds a learned vector to each position."""

    def __init__(self, sequence_length: int, **options: Any) -> None:
        super().__init__(**options)
        self.sequence_length = sequence_length

    def build(self, shape: Shape) -> None:
        self.embeddings = self.add_weight(name="embeddings", shape=(self.sequence_length, shape[-1]))

    def compute_output_shape(self, shape: Shape) -> Shape:
        return shape

    def call(self, x: Any) -> Any:
        return x + self.embeddings[: ops.shape(x)[1]]


class ClassToken(layers.Layer):
    """Puts a learned vector in front of a sequence."""

    def build(self, shape: Shape) -> None:
        self.embeddings = self.add_weight(name="embeddings", shape=(1, shape[-1]))

    def call(self, x: Any) -> Any:
        token = ops.broadcast_to(self.embeddings, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1)


def gpt2(depth: int, vocabulary: int = 50257, context: int = 1024) -> Model:
    """Its output layer has a table of its own: Keras has no transposed tie."""
    inputs = keras.Input((context,), dtype="int32")
    x = layers.Embedding(vocabulary, 768)(inputs)
    x = PositionEmbedding(context)(x)
    x = layers.Dropout(0.1)(x)
    for _ in range(depth):
        normal = layers.LayerNormalization(epsilon=1e-5)(x)
        attended = layers.MultiHeadAttention(12, 64, dropout=0.1)(normal, normal, use_causal_mask=True)
        x = x + layers.Dropout(0.1)(attended)
        normal = layers.LayerNormalization(epsilon=1e-5)(x)
        hidden = layers.Dense(3072, activation=partial(keras.activations.gelu, approximate=True))(normal)
        x = x + layers.Dropout(0.1)(layers.Dense(768)(hidden))
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    return Model(inputs, layers.Dense(vocabulary, use_bias=False)(x))


def bert_base(depth: int, width: int, heads: int, vocabulary: int, context: int) -> Model:
    tokens, segments = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    x = PositionEmbedding(context)(layers.Embedding(vocabulary, width)(tokens))
    x = layers.Add()([x, layers.Embedding(2, width)(segments)])
    x = layers.Dropout(0.1)(layers.LayerNormalization(epsilon=1e-12)(x))
    for _ in range(depth):
        attended = layers.MultiHeadAttention(heads, width // heads, dropout=0.1)(x, x)
        x = layers.LayerNormalization(epsilon=1e-12)(x + layers.Dropout(0.1)(attended))
        hidden = layers.Dense(4 * width, activation="gelu")(x)
        x = layers.LayerNormalization(epsilon=1e-12)(x + layers.Dropout(0.1)(layers.Dense(width)(hidden)))
    return Model([tokens, segments], [x, layers.Dense(width, activation="tanh")(x[:, 0])])


def vit_b16(depth: int, width: int, heads: int) -> Model:
    inputs = keras.Input((224, 224, 3))
    x = layers.Reshape((-1, width))(layers.Conv2D(width, 16, strides=16)(inputs))
    x = PositionEmbedding(14 * 14 + 1)(ClassToken()(x))
    for _ in range(depth):
        normal = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.MultiHeadAttention(heads, width // heads)(normal, normal)
        normal = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(normal))
    return Model(inputs, layers.Dense(1000)(layers.LayerNormalization(epsilon=1e-6)(x)[:, 0]))


def llama3_8b(depth: int, width: int, heads: int, key_value_heads: int, hidden: int, vocabulary: int) -> Model:
    """Without its rotation of queries and keys, which Keras has not and which has no parameters."""
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(vocabulary, width)(inputs)
    for _ in range(depth):
        normal = layers.RMSNormalization(epsilon=1e-5)(x)
        attend = layers.GroupQueryAttention(width // heads, heads, key_value_heads, use_bias=False)
        x = x + attend(normal, normal, use_causal_mask=True)
        normal = layers.RMSNormalization(epsilon=1e-5)(x)
        gate = layers.Dense(hidden, use_bias=False, activation="silu")(normal)
        up = layers.Dense(hidden, use_bias=False)(normal)
        x = x + layers.Dense(width, use_bias=False)(gate * up)
    x = layers.RMSNormalization(epsilon=1e-5)(x)
    return Model(inputs, layers.Dense(vocabulary, use_bias=False)(x))
