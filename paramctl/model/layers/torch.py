"""The tensors of a layer's torch.nn module, as rearrangements of the layer's parameters.

Each layer gives its own by `Layer.torch`; the helpers here are shared by several layers.
https://docs.pytorch.org/docs/stable/nn.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple, TypeAlias

from paramctl.core.views import Arrangement, view
from paramctl.model.layers.order import CHANNELS_LAST, EITHER, Order

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""The shapes of a layer's parameters, by path relative to the layer."""


class TorchTensor(NamedTuple):
    """A tensor of a torch module.

    name: relative to the module, with dots.
    arrangement: its values as a rearrangement of parameters, by path relative to the layer.
    dtype: its dtype, if that does not depend on the parameters.
    synthetic: generated, because torch requires a tensor that the Keras layer lacks; skipped on the way to Keras.
    adds_to: the parameter to which its values are added on the way to Keras.
    """

    name: str
    arrangement: Arrangement
    dtype: str | None = None
    synthetic: bool = False
    adds_to: str | None = None

    def under(self, path: str) -> TorchTensor:
        """Return this tensor of a layer as one of the module or model that holds the layer. path: of the layer."""
        views = tuple(part._replace(path=f"{path}/{part.path}") for part in self.arrangement.views)
        return self._replace(
            name=f"{path.replace('/', '.')}.{self.name}",
            arrangement=replace(self.arrangement, views=views),
            adds_to=f"{path}/{self.adds_to}" if self.adds_to else None,
        )


class NoCounterpart(ValueError):
    """A layer that torch.nn cannot represent; the message says why."""


def same(name: str, path: str, shape: tuple[int, ...]) -> TorchTensor:
    """Return a tensor with the values of a parameter in their order, under this shape."""
    return TorchTensor(name, Arrangement(shape, (view(path, shape),)))


def transposed(
    name: str, path: str, shape: tuple[int, ...], axes: Sequence[int], result: tuple[int, ...] | None = None
) -> TorchTensor:
    """Return a tensor with a parameter reshaped, its axes permuted, then reshaped again.

    shape: of the first reshape. axes: the permutation. result: of the second reshape; None for none.
    """
    part = view(path, shape, axes)
    return TorchTensor(name, Arrangement(part.result_shape if result is None else result, (part,)))


def features(name: str, path: str, shape: tuple[int, ...], order: Order) -> TorchTensor:
    """Return a tensor with one value for each input feature. Raises NoCounterpart if their order in torch is unknown.

    shape: of the parameter. order: of the layer's input.
    """
    flat = order.flat
    if flat is not None and shape == (prod(flat),):  # (h * w * c,) to (c * h * w,)
        return transposed(name, path, flat, channels_first(flat), result=shape)
    if len(shape) > 1 and order in (CHANNELS_LAST, EITHER):
        # (h, w, c) becomes (c, h, w). A shape with other axes does not say which of them are channels.
        if order == EITHER or len(shape) != 3:
            raise NoCounterpart("the position of its input's channel axis in torch is unknown")
        return transposed(name, path, shape, channels_first(shape))
    return same(name, path, shape)


def channels_first(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the permutation that moves the last axis of a shape to the front."""
    return (len(shape) - 1, *range(len(shape) - 1))


def affine(shapes: Shapes, shape: tuple[int, ...], order: Order) -> Iterator[TorchTensor]:
    """Yield a normalization's weight and bias, from gamma and beta.

    torch has both or neither, so a missing gamma becomes ones, and a missing beta zeros.
    """
    for name, path, fill in (("weight", "gamma", 1.0), ("bias", "beta", 0.0)):
        tensor = features(name, path, shape, order)
        if path in shapes:
            yield tensor
        elif {"gamma", "beta"} & shapes.keys():
            yield TorchTensor(name, Arrangement(tensor.arrangement.shape, fill=fill), synthetic=True)


def convolution_weight(name: str, path: str, shapes: Shapes) -> TorchTensor:
    """Return a convolution's weight (out, in / groups, window...), from a kernel (window..., in / groups, out)."""
    shape, rank = shapes[path], len(shapes[path]) - 2
    return transposed(name, path, shape, (rank + 1, rank, *range(rank)))


def depthwise_weight(name: str, path: str, shapes: Shapes) -> TorchTensor:
    """Return a weight (in * multiplier, 1, window...), from a depthwise kernel (window..., in, multiplier)."""
    *window, channels, multiplier = shapes[path]
    filters, rank = channels * multiplier, len(window)
    return transposed(name, path, (*window, filters), (rank, *range(rank)), result=(filters, 1, *window))


def optional_bias(shapes: Shapes, name: str = "bias") -> Iterator[TorchTensor]:
    """Yield the bias unchanged, if the layer has one."""
    if "bias" in shapes:
        yield same(name, "bias", shapes["bias"])
