"""Attention."""

from collections.abc import Iterator

from paramctl.kinds import Axes, Count, Counts, Flag, Rate, Scheme
from paramctl.model.layers.base import Layer, Reference, ShapeError, Sizes, axis_of, default, known
from paramctl.parameter import Axis, Parameter, bias, into, out, weight


class MultiHeadAttention(Layer):
    """Attention from its input to value and key, which are its input too if left out; key is value if left out.

    Vaswani et al. (2017).
    """

    input_axes = "batch, ..., positions, features"
    num_heads: Count
    key_dim: Count
    value_dim: Count | None = None
    dropout: Rate = 0.0
    use_bias: Flag = True
    output_shape: Counts | None = None
    attention_axes: Axes | None = None
    kernel_initializer: Scheme = default("glorot_uniform")
    bias_initializer: Scheme = default("zeros")
    use_causal_mask: Flag = False
    value: Reference | None = None
    key: Reference | None = None

    def parameters(self, x: Sizes, value: Sizes | None = None, key: Sizes | None = None) -> Iterator[Parameter]:
        value = x if value is None else value
        key = value if key is None else key
        heads, features = out(self.num_heads), self._features(x)
        keys, values = out(self.key_dim), out(self.value_dim or self.key_dim)
        yield from self._projection("query", [into(known(x, -1))], [heads, keys])
        yield from self._projection("key", [into(known(key, -1))], [heads, keys])
        yield from self._projection("value", [into(known(value, -1))], [heads, values])
        summed = [into(self.num_heads), into(values.size)]
        yield from self._projection("attention_output", summed, [out(size) for size in features])

    def output(self, x: Sizes, value: Sizes | None = None, key: Sizes | None = None) -> Sizes:
        value = x if value is None else value
        key = value if key is None else key
        if len(key) != len(value) or any(a != b for a, b in zip(key[1:-1], value[1:-1], strict=True) if a and b):
            raise ShapeError("its value and its key must have the same axes but for the last")
        attended = [axis_of(axis, x) for axis in self.attention_axes or range(1, len(x) - 1)]
        if len(set(attended)) < len(attended):
            raise ShapeError("its attention_axes name one twice")
        if self.use_causal_mask and len(x) > 3 and len(attended) > 1:
            raise ShapeError("a causal mask needs a single axis of positions")
        return (*x[:-1], *self._features(x))

    def _features(self, x: Sizes) -> tuple[int, ...]:
        return self.output_shape or (known(x, -1),)

    def _projection(self, name: str, inputs: list[Axis], outputs: list[Axis]) -> Iterator[Parameter]:
        yield weight(f"{name}/kernel", self.kernel_initializer, *inputs, *outputs)
        if self.use_bias:
            yield bias(f"{name}/bias", self.bias_initializer, *outputs)
