"""Attention layers."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import paramctl.model.layers.flax as flax_modules
from paramctl.core.parameter import Axis, Parameter, bias, in_axis, out_axis, weight
from paramctl.core.views import Arrangement, view
from paramctl.declare.located import Located
from paramctl.declare.option_types import Axes, Count, Counts, Flag, Positive, Scheme, UnitInterval
from paramctl.model.layers.attending import attend, join_positions, project, rotate, split_positions
from paramctl.model.layers.attention_options import PROJECTIONS, Biases
from paramctl.model.layers.base import Layer, Reference, default_scheme
from paramctl.model.layers.call import Array, Call, NotComputed, check_mask
from paramctl.model.layers.order import Order, TorchInput, after_features_last, combined, for_features_last
from paramctl.model.layers.relative_position import TABLE, RelativePosition, RelativePositionOption
from paramctl.model.layers.shapes import ShapeError, Sizes, axes_of, known_size, product, total
from paramctl.model.layers.torch import Shapes, TorchTensor, projected, same
from paramctl.model.layers.torch_draws import InitCall, multihead_attention, projections
from paramctl.model.layers.torch_options import CARRIED, IN_CODE, argument, options, remark

_POSITIONS = ("rope_theta", "relative_position")
"""The options for the positions of queries and keys, which Keras lacks."""


class Heads(NamedTuple):
    """The numbers of query heads and of key and value heads, and the sizes of one key and of one value."""

    queries: int
    keys: int
    key_dim: int
    value_dim: int


class AttentionLayer(Layer, abstract=True):
    """Attention with queries from its input, and keys and values from other outputs, or from its input by default.

    Subclasses declare the common options themselves, each at its place in Keras' order; the annotations here are for
    type checkers. rope_theta rotates queries and keys by position (Su et al., 2021), in halves as Llama's code in
    transformers does; relative_position adds to scores by distance (Raffel et al., 2020). Keras has neither option.
    """

    if TYPE_CHECKING:
        dropout: float
        use_bias: bool | tuple[str, ...]
        sliding_window: int | None
        use_gate: bool
        use_causal_mask: bool
        rope_theta: float | None
        relative_position: RelativePosition | None
        kernel_initializer: Located
        bias_initializer: Located

    keeps_mask = True
    call_options: ClassVar[tuple[str, ...]] = ("use_causal_mask", "value", "key")

    def parameters(self, x: Sizes, value: Sizes | None = None, key: Sizes | None = None) -> Iterator[Parameter]:
        # keys default to the values, as in Keras, and values to the input
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
        if self.relative_position is not None:
            yield from self.relative_position.parameters(heads.queries)

    def macs(self, x: Sizes, value: Sizes | None = None, key: Sizes | None = None) -> int | None:
        value = x if value is None else value
        key = value if key is None else key
        if len(key) != len(x):
            return None  # Keras computes nothing of these either
        heads = self.heads()
        keys, values = heads.queries * heads.key_dim, heads.queries * heads.value_dim
        # Keras may attend along axis len(x) - 1, too, which then are the heads
        sizes = (*key[:-1], heads.queries)
        attended = [sizes[axis] for axis in self.attended(x)]
        return total(
            product(*x[1:], keys + values * self.use_gate),
            product(*key[1:], heads.keys * heads.key_dim),
            product(*value[1:], heads.keys * heads.value_dim),
            product(*x[1:-1], *attended, keys + values),  # scores, and sums of values weighted by them
            product(*x[1:-1], values, *self.features(x)),
        )

    def output(self, x: Sizes, value: Sizes | None = None, key: Sizes | None = None) -> Sizes:
        value = x if value is None else value
        key = value if key is None else key
        if not isinstance(self.use_bias, bool) and "gate" in self.use_bias and not self.use_gate:
            raise ShapeError("a bias of the gate requires use_gate: true")
        if self.relative_position is not None:
            self.relative_position.check()
        # A size of None may equal any, so only known sizes are compared.
        if len(key) != len(value) or any(a != b for a, b in zip(key[1:-1], value[1:-1], strict=True) if a and b):
            raise ShapeError("value and key must have the same shape except for the last axis")
        return (*x[:-1], *self.features(x))

    def compute(self, call: Call, x: Array, **references: Array) -> Array:
        xp, heads, axes = call.xp, self.heads(), self.attended(x.shape)
        for mask, array in zip(call.masks, (x, *references.values()), strict=False):
            check_mask(mask, array)
        value: Array = references.get("value", x)
        key: Array = references.get("key", value)
        self._check_positions(x.shape, value.shape, axes)
        query, key, value = (
            split_positions(xp, project(call, name, array), axes)
            for name, array in (("query", x), ("key", key), ("value", value))
        )
        if self.rope_theta is not None:
            query, key = (rotate(xp, array, self.rope_theta) for array in (query, key))
        mask = self._mask(call, query.shape, key.shape[-2], [*references])
        if mask is not None and axes != [1]:
            raise NotComputed("a mask over an input with several position axes requires attention_axes: 1")
        distances = self.relative_position
        addend = None if distances is None else distances.addend(call, query.shape[-2], key.shape[-2])
        mixed = attend(call, query, key, value, mask, self.dropout, addend)
        if mask is not None and not self._is_fused(x.shape):
            # a query that attends to no key gets zeros; Keras' fused kernel gives it the mean of all values
            mixed = mixed * xp.any(mask, axis=-1, keepdims=True).astype(mixed.dtype)
        mixed = join_positions(xp, mixed, axes, (*x.shape[:-1], heads.queries))
        if self.use_gate:
            mixed = mixed * xp.sigmoid(project(call, "gate", x))
        joined = xp.reshape(mixed, (*x.shape[:-1], heads.queries * heads.value_dim))
        return project(call, "attention_output", joined, 2)

    def attended(self, x: Sizes) -> list[int]:
        """Return the axes of the positions that are attended to."""
        return [1]

    def _is_fused(self, x: Sizes) -> bool:
        """Return whether Keras computes the attention with its fused kernel, which drops no weights."""
        return not self.dropout and len(x) == 3

    def _check_positions(self, x: Sizes, value: Sizes, axes: Sequence[int]) -> None:
        """Raise NotComputed for shapes that do not fit together."""
        others = [axis for axis in range(len(x) - 1) if axis not in axes]
        if len(value) != len(x) or any(value[axis] != x[axis] for axis in others):
            rule = "value must have the sizes of the input along the axes that are not attended to"
            raise NotComputed(f"{rule} (got {x} and {value})")
        if 0 in (*x[1:-1], *value[1:-1]):
            raise NotComputed(f"its inputs must have at least one position (got {x} and {value})")
        positional = [name for name in _POSITIONS if getattr(self, name) is not None]
        if positional and len(axes) > 1:
            raise NotComputed(f"{positional[0]} requires that one axis is attended to (got the axes {axes})")
        if self.relative_position is not None and axes[0] == len(x) - 1:
            raise NotComputed("relative_position requires an axis of positions (got the axis of the heads)")
        if self.rope_theta is not None and self.heads().key_dim % 2:
            raise NotComputed(f"rope_theta requires keys of an even size (got {self.heads().key_dim})")

    def _mask(self, call: Call, query: Sizes, keys: int, references: Sequence[str]) -> Array | None:
        """Return True where a query attends to a key, (batch, 1..., queries, keys); None if all attend to all.

        As in Keras, a masked position attends to none, and masks of value and key apply both.
        """
        xp, queries = call.xp, query[-2]
        masks = dict(zip(("query", *references), call.masks, strict=False))
        of_keys = [masks.get("value", masks.get("query")), masks.get("key")]
        placed = [(masks.get("query"), 2), *((mask, 1) for mask in of_keys)]
        parts = [xp.expand_dims(mask, axis) for mask, axis in placed if mask is not None]
        distance = xp.arange(queries)[:, None] - xp.arange(keys)
        if self.use_causal_mask:
            parts.append((distance >= 0)[None])
        if self.sliding_window is not None:
            parts.append((abs(distance) < self.sliding_window)[None])
        if not parts:
            return None
        mask = parts[0]
        for part in parts[1:]:
            mask = mask & part
        return xp.reshape(mask, (mask.shape[0], *(1,) * (len(query) - 3), *mask.shape[1:]))

    def projection(self, name: str, inputs: list[Axis], outputs: list[Axis]) -> Iterator[Parameter]:
        """Yield the kernel and the bias of a projection."""
        yield weight(f"{name}/kernel", self.kernel_initializer, *inputs, *outputs)
        if self.has_bias(name):
            yield bias(f"{name}/bias", self.bias_initializer, *outputs)

    def has_bias(self, name: str) -> bool:
        """Return whether a projection has a bias."""
        return self.use_bias if isinstance(self.use_bias, bool) else name in self.use_bias

    def biases_alike(self) -> bool:
        """Return whether all projections have a bias, or none."""
        return len({self.has_bias(name) for name in PROJECTIONS if name != "gate" or self.use_gate}) == 1

    def features(self, x: Sizes) -> tuple[int, ...]:
        """Return the sizes of the output's last axes: by default, as many features as the input has."""
        return (known_size(x, -1),)

    def heads(self) -> Heads:
        """Return the numbers and sizes of the heads."""
        raise AssertionError(f"{self.type} declares no heads")

    def input_order(self, orders: Sequence[Order]) -> Order:
        return combined(orders, has_axes=True)

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        return after_features_last(orders[0], output)

    def required_order(self, shape: Sizes) -> Order | None:
        return for_features_last(shape)

    def torch_notes(self, x: TorchInput) -> Iterable[str]:
        return ["the projections are torch.nn.Linear, and torch code computes the attention"]

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        """Yield an nn.Linear for each projection."""
        for path in shapes:
            name, _, part = path.partition("/")
            if part == "kernel":
                yield from projected(shapes, name, f"{name}.")
        if TABLE in shapes:
            yield same("relative_position.weight", TABLE, shapes[TABLE])  # of an nn.Embedding

    def torch_draws(self, tensors: Shapes) -> Iterator[InitCall]:
        return projections(tensors)

    def flax(self, shapes: Shapes) -> Iterator[flax_modules.FlaxModule]:
        yield flax_modules.attention("MultiHeadDotProductAttention", shapes, self.dropout)

    def keras_lacks(self) -> Iterator[str]:
        for name in _POSITIONS:
            if getattr(self, name) is not None:
                yield name
        if not self.biases_alike():
            yield "biases of single projections, so use_bias must be true or false"

    def keras_arguments(self) -> dict[str, Any]:
        arguments = super().keras_arguments() | {"use_bias": self.has_bias("query")}
        return {name: value for name, value in arguments.items() if name not in _POSITIONS}

    def keras_attributes(self, folders: Sequence[str]) -> list[str]:
        return [f"{'output' if name == 'attention_output' else name}_dense" for name in folders]


class MultiHeadAttention(AttentionLayer):
    """Multi-head attention: softmax(q @ k^T / sqrt(key_dim)) @ v for each head. Vaswani et al. (2017)."""

    torch_module = "MultiheadAttention"
    torch_options = options(
        num_heads=argument("num_heads"),
        key_dim=CARRIED,
        value_dim=CARRIED,
        dropout=argument("dropout", 0.0),
        use_bias=CARRIED,
        output_shape=CARRIED,
        attention_axes=CARRIED,
        sliding_window=remark("sliding_window {}: pass attn_mask in the call"),
        use_gate=CARRIED,
        use_causal_mask=remark("use_causal_mask: pass attn_mask and is_causal=True in the call", False),
        rope_theta=CARRIED,
        relative_position=CARRIED,
        value=IN_CODE,
        key=IN_CODE,
    )

    input_axes = "batch, ..., positions, features"
    num_heads: Count
    key_dim: Count
    value_dim: Count | None = None
    dropout: UnitInterval = 0.0
    use_bias: Biases = True
    output_shape: Counts | None = None
    attention_axes: Axes | None = None
    sliding_window: Count | None = None
    kernel_initializer: Scheme = default_scheme("glorot_uniform")
    bias_initializer: Scheme = default_scheme("zeros")
    use_gate: Flag = False
    use_causal_mask: Flag = False
    rope_theta: Positive | None = None
    relative_position: RelativePositionOption | None = None
    value: Reference | None = None
    key: Reference | None = None

    def output(self, x: Sizes, value: Sizes | None = None, key: Sizes | None = None) -> Sizes:
        attended = axes_of(self.attention_axes or range(1, len(x) - 1), x)
        is_masked = self.use_causal_mask or self.sliding_window is not None
        if is_masked and len(x) > 3 and attended != [1]:
            raise ShapeError("a mask over an input with several position axes requires attention_axes: 1")
        return super().output(x, value, key)

    def mixes_examples(self, output: Sizes | None, inputs: Sequence[Sizes | None] = ()) -> bool:
        """Return whether it may attend to axis 0, which is -3 or less from the end."""
        return any(axis == 0 or axis < -2 for axis in self.attention_axes or ())

    def attended(self, x: Sizes) -> list[int]:
        # Keras' fused kernel takes axis 1, whatever the option says
        return [1] if self._is_fused(x) else axes_of(self.attention_axes or range(1, len(x) - 1), x)

    def features(self, x: Sizes) -> tuple[int, ...]:
        return self.output_shape or super().features(x)

    def keras_attributes(self, folders: Sequence[str]) -> list[str]:
        # Keras saves the first of two names of a part, and only the gate has no public one
        return [name.replace("gate_dense", "_gate_dense") for name in super().keras_attributes(folders)]

    def heads(self) -> Heads:
        return Heads(self.num_heads, self.num_heads, self.key_dim, self.value_dim or self.key_dim)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        """Yield nn.MultiheadAttention, with q, k and v in one weight; as nn.Linear layers where it does not apply.

        nn.MultiheadAttention requires heads * size = input features = output features, and three axes. It has no gate
        and no positions.
        """
        kernels = {name: shapes[f"{name}/kernel"] for name in ("query", "key", "value")}
        features = kernels["query"][0]
        if not self._is_module(features, x):
            yield from super().torch(shapes, x)
            return
        parts = {name: view(f"{name}/kernel", (shape[0], features), (1, 0)) for name, shape in kernels.items()}
        if {inputs for inputs, _, _ in kernels.values()} == {features}:
            yield TorchTensor("in_proj_weight", Arrangement((3 * features, features), tuple(parts.values())))
        else:  # torch packs them only if keys and values have as many features as queries
            for name, part in parts.items():
                yield TorchTensor(f"{name[0]}_proj_weight", Arrangement(part.result_shape, (part,)))
        if "query/bias" in shapes:
            biases = tuple(view(f"{name}/bias", (features,)) for name in parts)
            yield TorchTensor("in_proj_bias", Arrangement((3 * features,), biases))
        yield from projected(shapes, "attention_output", "out_proj.")

    def torch_draws(self, tensors: Shapes) -> Iterator[InitCall]:
        return multihead_attention(tensors) if "out_proj.weight" in tensors else projections(tensors)

    def torch_arguments(self, x: TorchInput) -> dict[str, Any]:
        return super().torch_arguments(x) | {"batch_first": True}

    def torch_notes(self, x: TorchInput) -> Iterable[str]:
        is_module = x.shape is None or self._is_module(known_size(x.shape, -1), x)
        return Layer.torch_notes(self, x) if is_module else super().torch_notes(x)

    def _is_module(self, features: int, x: TorchInput) -> bool:
        """Return whether torch.nn.MultiheadAttention computes the same. features: of the input."""
        heads = self.heads()
        sizes = {heads.queries * heads.key_dim, heads.keys * heads.value_dim, *(self.output_shape or ())}
        axes = {1} if self.attention_axes is None else {axis % 3 for axis in self.attention_axes}
        has_three_axes = x.shape is None or len(x.shape) == 3
        is_plain = not self.use_gate and self.rope_theta is None and len(self.output_shape or (1,)) == 1
        # torch has one flag for the biases of all projections
        is_plain = is_plain and self.biases_alike() and self.relative_position is None
        return sizes == {features} and axes == {1} and has_three_axes and is_plain


class GroupedQueryAttention(AttentionLayer):
    """Attention in which groups of query heads share one key and value head. Ainslie et al. (2023)."""

    torch_options = options(
        head_dim=CARRIED,
        num_query_heads=CARRIED,
        num_key_value_heads=CARRIED,
        dropout=IN_CODE,
        use_bias=CARRIED,
        sliding_window=IN_CODE,
        use_gate=CARRIED,
        use_causal_mask=IN_CODE,
        rope_theta=IN_CODE,
        relative_position=CARRIED,
        value=IN_CODE,
        key=IN_CODE,
    )

    keras_class = "GroupQueryAttention"
    input_axes = "batch, positions, features"
    head_dim: Count
    num_query_heads: Count
    num_key_value_heads: Count
    dropout: UnitInterval = 0.0
    use_bias: Biases = True
    sliding_window: Count | None = None
    kernel_initializer: Scheme = default_scheme("glorot_uniform")
    bias_initializer: Scheme = default_scheme("zeros")
    use_gate: Flag = False
    use_causal_mask: Flag = False
    rope_theta: Positive | None = None
    relative_position: RelativePositionOption | None = None
    value: Reference | None = None
    key: Reference | None = None

    def output(self, x: Sizes, value: Sizes | None = None, key: Sizes | None = None) -> Sizes:
        if self.num_query_heads % self.num_key_value_heads:
            raise ShapeError(
                f"num_query_heads {self.num_query_heads} must be a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        if value is not None and value[-1] != x[-1]:
            raise ShapeError("value must have as many features as the input")
        return super().output(x, value, key)

    def keras_attributes(self, folders: Sequence[str]) -> list[str]:
        return [f"_{name}" for name in super().keras_attributes(folders)]

    def heads(self) -> Heads:
        return Heads(self.num_query_heads, self.num_key_value_heads, self.head_dim, self.head_dim)
