"""Attention."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from paramctl.core.parameter import Axis, Parameter, bias, in_axis, out_axis, weight
from paramctl.declare.located import Located
from paramctl.declare.option_types import Axes, Count, Counts, Flag, Positive, Scheme, UnitInterval
from paramctl.model.layers.base import Layer, Reference, ShapeError, Sizes, axes_of, default_scheme, known_size


class Heads(NamedTuple):
    """How many heads queries have, and keys and values; and the sizes of a key and of a value."""

    queries: int
    keys: int
    key_dim: int
    value_dim: int


class AttentionLayer(Layer, abstract=True):
    """Queries from its input; keys and values from other outputs, or from its input where left out.

    The options that the subclasses have in common, each in its place in Keras' order, are named
    here for type checkers. rope_theta turns queries and keys by their position (Su et al., 2021), which Keras has not.
    """

    if TYPE_CHECKING:
        use_bias: bool
        use_gate: bool
        kernel_initializer: Located
        bias_initializer: Located

    call_options: ClassVar[tuple[str, ...]] = ("use_causal_mask", "value", "key")

    def parameters(self, x: Sizes, value: Sizes | None = None, key: Sizes | None = None) -> Iterator[Parameter]:
        value = x if value is None else value
        key = value if key is None else key
        heads = self.heads()
        features = in_axis(known_size(x, -1))
        yield from self.projection("query", [features], [out_axis(heads.queries), out_axis(heads.key_dim)])
        keys = [out_axis(heads.keys), out_axis(heads.key_dim)]
        yield from self.projection("key", [in_axis(known_size(key, -1))], keys)
        if self.use_gate:
            yield from self.projection("gate", [features], [out_axis(heads.queries), out_axis(heads.value_dim)])
        values = [out_axis(heads.keys), out_axis(heads.value_dim)]
        yield from self.projection("value", [in_axis(known_size(value, -1))], values)
        joined = [in_axis(heads.queries), in_axis(heads.value_dim)]
        yield from self.projection("attention_output", joined, [out_axis(size) for size in self.features(x)])

    def output(self, x: Sizes, value: Sizes | None = None, key: Sizes | None = None) -> Sizes:
        value = x if value is None else value
        key = value if key is None else key
        if len(key) != len(value) or any(a != b for a, b in zip(key[1:-1], value[1:-1], strict=True) if a and b):
            raise ShapeError("its value and its key must have the same axes but for the last")
        return (*x[:-1], *self.features(x))

    def projection(self, name: str, inputs: list[Axis], outputs: list[Axis]) -> Iterator[Parameter]:
        yield weight(f"{name}/kernel", self.kernel_initializer, *inputs, *outputs)
        if self.use_bias:
            yield bias(f"{name}/bias", self.bias_initializer, *outputs)

    def features(self, x: Sizes) -> tuple[int, ...]:
        """The last axes of its output: as many as its input's."""
        return (known_size(x, -1),)

    def keras_attributes(self, folders: Sequence[str]) -> list[str]:
        return [f"{'output' if name == 'attention_output' else name}_dense" for name in folders]

    def heads(self) -> Heads:
        raise AssertionError(f"{self.type} declares no heads")


class MultiHeadAttention(AttentionLayer):
    """Attention with several heads. Vaswani et al. (2017)."""

    input_axes = "batch, ..., positions, features"
    num_heads: Count
    key_dim: Count
    value_dim: Count | None = None
    dropout: UnitInterval = 0.0
    use_bias: Flag = True
    output_shape: Counts | None = None
    attention_axes: Axes | None = None
    sliding_window: Count | None = None
    kernel_initializer: Scheme = default_scheme("glorot_uniform")
    bias_initializer: Scheme = default_scheme("zeros")
    use_gate: Flag = False
    use_causal_mask: Flag = False
    rope_theta: Positive | None = None
    value: Reference | None = None
    key: Reference | None = None

    def output(self, x: Sizes, value: Sizes | None = None, key: Sizes | None = None) -> Sizes:
        attended = axes_of(self.attention_axes or range(1, len(x) - 1), x)
        masked = self.use_causal_mask or self.sliding_window is not None
        if masked and len(x) > 3 and attended != [1]:
            raise ShapeError("a mask over one of several axes of positions needs attention_axes: 1")
        return super().output(x, value, key)

    def features(self, x: Sizes) -> tuple[int, ...]:
        return self.output_shape or super().features(x)

    def heads(self) -> Heads:
        return Heads(self.num_heads, self.num_heads, self.key_dim, self.value_dim or self.key_dim)


class GroupedQueryAttention(AttentionLayer):
    """Attention in which several heads of queries share one of keys and values. Ainslie et al. (2023)."""

    keras_class = "GroupQueryAttention"
    input_axes = "batch, positions, features"
    head_dim: Count
    num_query_heads: Count
    num_key_value_heads: Count
    dropout: UnitInterval = 0.0
    use_bias: Flag = True
    sliding_window: Count | None = None
    kernel_initializer: Scheme = default_scheme("glorot_uniform")
    bias_initializer: Scheme = default_scheme("zeros")
    use_gate: Flag = False
    use_causal_mask: Flag = False
    rope_theta: Positive | None = None
    value: Reference | None = None
    key: Reference | None = None

    def output(self, x: Sizes, value: Sizes | None = None, key: Sizes | None = None) -> Sizes:
        if self.num_query_heads % self.num_key_value_heads:
            raise ShapeError(
                f"its {self.num_query_heads} heads of queries must be a multiple of its "
                f"{self.num_key_value_heads} of keys and values"
            )
        if value is not None and value[-1] != x[-1]:
            raise ShapeError("its value must have as many features as its input")
        return super().output(x, value, key)

    def keras_attributes(self, folders: Sequence[str]) -> list[str]:
        return [f"_{name}" for name in super().keras_attributes(folders)]

    def heads(self) -> Heads:
        return Heads(self.num_query_heads, self.num_key_value_heads, self.head_dim, self.head_dim)
