"""What torch.nn calls each layer's parameters, and how they lie there: a function for each kind of layer.

A rule gives the arrays of torch's module, each made of those of the layer. Where torch.nn has no such module, as for
grouped queries, each projection is one of nn.Linear's. https://docs.pytorch.org/docs/stable/nn.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple, TypeAlias

from paramctl.convert.channel_order import EITHER, IMAGE, PLAIN, UNKNOWN, Order
from paramctl.core.views import Arrangement, view
from paramctl.model.layers import Layer
from paramctl.model.layers.attention import AttentionLayer, MultiHeadAttention
from paramctl.model.layers.convolution import (
    Convolution,
    DepthwiseConvolution,
    SeparableConvolution,
    TransposedConvolution,
)
from paramctl.model.layers.core import ClassToken, Dense, Embedding, PositionEmbedding
from paramctl.model.layers.normalization import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    RMSNormalization,
)
from paramctl.model.layers.rectifying import PReLU
from paramctl.model.layers.recurrent import GRU, Recurrent
from paramctl.model.layers.wrapping import Bidirectional, TimeDistributed

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""The shapes of a layer's parameters, by their paths within it."""


class TorchTensor(NamedTuple):
    """An array of torch's module. dtype: if it is always the same. dropped: made here, and of no use on the way back.

    partner: the parameter to which its values are added on the way back.
    """

    name: str
    made: Arrangement
    dtype: str | None = None
    dropped: bool = False
    partner: str | None = None


class NoCounterpart(ValueError):
    """What torch.nn has not, in words."""


Rule: TypeAlias = Callable[[Layer, Shapes, Order], Iterator[TorchTensor]]
RULES: dict[type[Layer], Rule] = {}
OF_FLAT = (Dense, BatchNormalization, LayerNormalization, RMSNormalization, PReLU)
"""What may take an image laid flat: its rule asks for the order."""


def rule(*kinds: type[Layer]) -> Callable[[Rule], Rule]:
    """The rule of layers of these classes, and of those that inherit from them."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


def tensors(layer: Layer, shapes: Shapes, order: Order = PLAIN) -> list[TorchTensor]:
    """The arrays of the torch module that a layer is. Raises NoCounterpart."""
    if not layer.rank and (order == UNKNOWN or (order.flat is not None and not isinstance(layer, OF_FLAT))):
        raise NoCounterpart("in which order torch has the features that it takes is not known")
    for kind in type(layer).__mro__:
        if kind in RULES:
            return list(RULES[kind](layer, shapes, order))
    raise NoCounterpart(f"torch.nn has no layer {layer.type}")


def same(name: str, path: str, shape: tuple[int, ...]) -> TorchTensor:
    return TorchTensor(name, Arrangement(shape, (view(path, shape),)))


def turned(
    name: str, path: str, shape: tuple[int, ...], order: Sequence[int], **as_shape: tuple[int, ...]
) -> TorchTensor:
    """An array under a shape with its axes in another order; ``under``: the shape that it has then."""
    seen = view(path, shape, order)
    return TorchTensor(name, Arrangement(as_shape.get("under", seen.result_shape), (seen,)))


def features(name: str, path: str, shape: tuple[int, ...], order: Order) -> TorchTensor:
    """Values for each feature: channels come first in torch, also where an image is laid flat."""
    flat = order.flat
    if flat is not None and shape == (prod(flat),):
        return turned(name, path, flat, _channels_first(flat), under=shape)
    if len(shape) > 1 and order in (IMAGE, EITHER):
        if order == EITHER or len(shape) != 3:
            raise NoCounterpart("where torch has the channels of what it takes is not known")
        return turned(name, path, shape, _channels_first(shape))
    return same(name, path, shape)


def _channels_first(flat: tuple[int, ...]) -> tuple[int, ...]:
    return (len(flat) - 1, *range(len(flat) - 1))


def linear(kernel: str, bias: str, shapes: Shapes, order: Order = PLAIN, prefix: str = "") -> Iterator[TorchTensor]:
    """nn.Linear: weight (out, in); kernel's axes are its inputs, then its outputs, as many as the bias has."""
    shape = shapes[kernel]
    outputs = len(shapes[bias]) if bias in shapes else 1
    inside, out = prod(shape[: len(shape) - outputs]), prod(shape[len(shape) - outputs :])
    flat = order.flat
    if flat is not None:
        seen = view(kernel, (*flat, out), (len(flat), *_channels_first(flat)))
        yield TorchTensor(f"{prefix}weight", Arrangement((out, inside), (seen,)))
    else:
        yield turned(f"{prefix}weight", kernel, (inside, out), (1, 0))
    if bias in shapes:
        yield TorchTensor(f"{prefix}bias", Arrangement((out,), (view(bias, (out,)),)))


@rule(Dense)
def _dense(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    yield from linear("kernel", "bias", shapes, order)


@rule(Embedding, PositionEmbedding)
def _embedding(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    yield same("weight", "embeddings", shapes["embeddings"])


@rule(ClassToken)
def _class_token(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    yield same("embeddings", "embeddings", shapes["embeddings"])


def _bias(shapes: Shapes) -> Iterator[TorchTensor]:
    if "bias" in shapes:
        yield same("bias", "bias", shapes["bias"])


def _convolution_weight(name: str, path: str, shapes: Shapes) -> TorchTensor:
    """(k..., in / groups, out) as (out, in / groups, k...)."""
    shape, rank = shapes[path], len(shapes[path]) - 2
    return turned(name, path, shape, (rank + 1, rank, *range(rank)))


def _depthwise_weight(name: str, path: str, shapes: Shapes) -> TorchTensor:
    """(k..., in, multiplier) as (in * multiplier, 1, k...)."""
    *window, channels, multiplier = shapes[path]
    count, rank = channels * multiplier, len(window)
    return turned(name, path, (*window, count), (rank, *range(rank)), under=(count, 1, *window))


@rule(Convolution)
def _convolution(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    yield _convolution_weight("weight", "kernel", shapes)
    yield from _bias(shapes)


@rule(DepthwiseConvolution)
def _depthwise(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    yield _depthwise_weight("weight", "kernel", shapes)
    yield from _bias(shapes)


@rule(SeparableConvolution)
def _separable(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    """Two of torch's convolutions, depthwise and pointwise, of which the second has the bias."""
    yield _depthwise_weight("depthwise.weight", "depthwise_kernel", shapes)
    yield _convolution_weight("pointwise.weight", "pointwise_kernel", shapes)
    if "bias" in shapes:
        yield same("pointwise.bias", "bias", shapes["bias"])


@rule(TransposedConvolution)
def _transposed(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    """(k..., out, in) as (in, out, k...)."""
    yield _convolution_weight("weight", "kernel", shapes)
    yield from _bias(shapes)


@rule(BatchNormalization)
def _batch_normalization(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    yield from _affine(shapes, shapes["moving_mean"], order)
    yield features("running_mean", "moving_mean", shapes["moving_mean"], order)
    yield features("running_var", "moving_variance", shapes["moving_variance"], order)
    yield TorchTensor("num_batches_tracked", Arrangement(()), "int64", dropped=True)


@rule(LayerNormalization, GroupNormalization)
def _normalization(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    if shapes:
        yield from _affine(shapes, next(iter(shapes.values())), order)


def _affine(shapes: Shapes, shape: tuple[int, ...], order: Order) -> Iterator[TorchTensor]:
    """weight and bias, both of which torch has, or neither: one that the layer has not is ones, or zeros."""
    for name, path, fill in (("weight", "gamma", 1.0), ("bias", "beta", 0.0)):
        made = features(name, path, shape, order)
        if path in shapes:
            yield made
        elif {"gamma", "beta"} & shapes.keys():
            yield TorchTensor(name, Arrangement(made.made.shape, fill=fill), dropped=True)


@rule(RMSNormalization)
def _rms_normalization(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    yield features("weight", "scale", shapes["scale"], order)


@rule(PReLU)
def _prelu(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    shape = shapes["alpha"]
    if any(size != 1 for size in shape[:-1]):
        raise NoCounterpart("torch.nn's PReLU has one slope for a channel: shared_axes must name all other axes")
    if len(shape) == 1:
        yield features("weight", "alpha", shape, order)
    else:
        yield TorchTensor("weight", Arrangement(shape[-1:], (view("alpha", shape[-1:]),)))


@rule(Recurrent)
def _recurrent(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    """Gates on the first axis; LSTM's in one order, i, f, c or g, o. The bias is bias_ih's, and bias_hh is zero."""
    assert isinstance(layer, Recurrent)
    yield from _cell(layer, shapes, f"{layer.type}_cell/", "_l0")


def _cell(layer: Recurrent, shapes: Shapes, prefix: str, suffix: str) -> Iterator[TorchTensor]:
    order = (1, 0, 2) if isinstance(layer, GRU) else tuple(range(layer.gates))  # Keras' z, r, h are torch's r, z, n
    for name, path in (("weight_ih", "kernel"), ("weight_hh", "recurrent_kernel")):
        yield TorchTensor(f"{name}{suffix}", _gates(f"{prefix}{path}", shapes[f"{prefix}{path}"], order))
    bias = f"{prefix}bias"
    if bias not in shapes:
        return
    size = layer.gates * layer.units
    if isinstance(layer, GRU):
        if shapes[bias] != (2, size):
            raise NoCounterpart("torch.nn's GRU has two biases: reset_after must be true")
        for row, name in enumerate(("bias_ih", "bias_hh")):
            places = [range(3 * row + gate, 3 * row + gate + 1) for gate in order]
            parts = tuple(view(bias, (6, layer.units), axis0=place) for place in places)
            yield TorchTensor(f"{name}{suffix}", Arrangement((size,), parts))
    else:
        yield same(f"bias_ih{suffix}", bias, (size,))
        yield TorchTensor(f"bias_hh{suffix}", Arrangement((size,)), partner=bias)


def _gates(path: str, shape: tuple[int, ...], order: Sequence[int]) -> Arrangement:
    """(in, gates * units) as (gates * units, in), the gates in another order."""
    inside, size = shape
    if list(order) == sorted(order):
        return Arrangement((size, inside), (view(path, shape, (1, 0)),))
    seen = (inside, len(order), size // len(order))
    return Arrangement((size, inside), tuple(view(path, seen, (1, 2, 0), axis1=range(k, k + 1)) for k in order))


@rule(Bidirectional)
def _bidirectional(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    assert isinstance(layer, Bidirectional)
    inner = layer.layer.layer
    assert isinstance(inner, Recurrent)
    for direction, suffix in (("forward", "_l0"), ("backward", "_l0_reverse")):
        name = layer.layer.name.removeprefix(f"{direction}_")
        yield from _cell(inner, shapes, f"{direction}_{name}/{inner.type}_cell/", suffix)


@rule(TimeDistributed)
def _time_distributed(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    """The layer that it holds, under that one's name."""
    assert isinstance(layer, TimeDistributed)
    name = layer.layer.name
    for each in tensors(layer.layer.layer, {path.removeprefix(f"{name}/"): shape for path, shape in shapes.items()}):
        views = tuple(seen._replace(path=f"{name}/{seen.path}") for seen in each.made.views)
        made = Arrangement(each.made.shape, views, each.made.axis, each.made.summed, each.made.fill)
        partner = f"{name}/{each.partner}" if each.partner else None
        yield TorchTensor(f"{name}.{each.name}", made, each.dtype, each.dropped, partner)


@rule(AttentionLayer)
def _projections(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    """Each projection as nn.Linear has it."""
    for path in shapes:
        part, _, name = path.partition("/")
        if name == "kernel" and part == "attention_output":
            yield from _output(shapes, f"{part}.")
        elif name == "kernel":
            inputs, heads, size = shapes[path]
            yield turned(f"{part}.weight", path, (inputs, heads * size), (1, 0))
            if f"{part}/bias" in shapes:
                yield TorchTensor(
                    f"{part}.bias", Arrangement((heads * size,), (view(f"{part}/bias", (heads * size,)),))
                )


def _output(shapes: Shapes, prefix: str) -> Iterator[TorchTensor]:
    """The projection of what all heads give: (heads, value_dim, out...) as (out, heads * value_dim)."""
    heads, size, *out = shapes["attention_output/kernel"]
    yield turned(f"{prefix}weight", "attention_output/kernel", (heads * size, prod(out)), (1, 0))
    if "attention_output/bias" in shapes:
        count = prod(out)
        yield TorchTensor(f"{prefix}bias", Arrangement((count,), (view("attention_output/bias", (count,)),)))


@rule(MultiHeadAttention)
def _multi_head_attention(layer: Layer, shapes: Shapes, order: Order) -> Iterator[TorchTensor]:
    """nn.MultiheadAttention, whose heads have as many features together as its input: q, k and v in one array."""
    inputs = {part: shapes[f"{part}/kernel"] for part in ("query", "key", "value")}
    sizes = {shape[1] * shape[2] for shape in inputs.values()}
    features_, out = inputs["query"][0], shapes["attention_output/kernel"][2:]
    if sizes != {features_} or out != (features_,) or "gate/kernel" in shapes:
        yield from _projections(layer, shapes, order)
        return
    seen = {part: view(f"{part}/kernel", (shape[0], features_), (1, 0)) for part, shape in inputs.items()}
    if {shape[0] for shape in inputs.values()} == {features_}:
        yield TorchTensor("in_proj_weight", Arrangement((3 * features_, features_), tuple(seen.values())))
    else:
        for part, each in seen.items():
            yield TorchTensor(f"{part[0]}_proj_weight", Arrangement(each.result_shape, (each,)))
    if "query/bias" in shapes:
        biases = tuple(view(f"{part}/bias", (features_,)) for part in seen)
        yield TorchTensor("in_proj_bias", Arrangement((3 * features_,), biases))
    yield from _output(shapes, "out_proj.")
