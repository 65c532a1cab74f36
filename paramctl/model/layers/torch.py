"""The tensors of a layer's torch.nn module, as rearrangements of the layer's parameters.

Each layer gives its own by `Layer.torch`; the helpers here are shared by several layers.
https://docs.pytorch.org/docs/stable/nn.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple, TypeAlias

from paramctl.core.views import Arrangement, view
from paramctl.model.layers.order import (
    ANY_AXES,
    CHANNELS_FIRST,
    EITHER,
    PLAIN,
    Order,
    TorchInput,
    for_features_last,
)
from paramctl.model.layers.shapes import Sizes, axes_of
from paramctl.model.layers.torch_options import option_text

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
    return TorchTensor(name, Arrangement(shape, (view(path, shape or (1,)),)))  # views are joined along an axis


def transposed(
    name: str, path: str, shape: tuple[int, ...], axes: Sequence[int], result: tuple[int, ...] | None = None
) -> TorchTensor:
    """Return a tensor with a parameter reshaped, its axes permuted, then reshaped again.

    shape: of the first reshape. axes: the permutation. result: of the second reshape; None for none.
    """
    part = view(path, shape, axes)
    return TorchTensor(name, Arrangement(part.result_shape if result is None else result, (part,)))


def features(name: str, path: str, axes: Sequence[int], x: TorchInput, sizes: tuple[int, ...]) -> TorchTensor:
    """Return a tensor with a value for each feature along some axes of the input, in torch's order of these axes.

    axes: as Keras counts them, ascending. sizes: of the axes.
    """
    flat = x.order.flat
    if flat is not None and sizes == (prod(flat),):  # (h * w * c,) to (c * h * w,)
        return transposed(name, path, flat, channels_first(flat), result=sizes)
    if len(axes) < 2:
        return same(name, path, sizes)
    places = [x.axis(axis) or 0 for axis in axes]
    return transposed(name, path, sizes, sorted(range(len(axes)), key=places.__getitem__))


def channels_first(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the permutation that moves the last axis of a shape to the front."""
    return (len(shape) - 1, *range(len(shape) - 1))


def affine(shapes: Shapes, axes: Sequence[int], x: TorchInput, sizes: tuple[int, ...]) -> Iterator[TorchTensor]:
    """Yield a normalization's weight and bias, from gamma and beta.

    torch has both or neither, so a missing gamma becomes ones, and a missing beta zeros.
    """
    for name, path, fill in (("weight", "gamma", 1.0), ("bias", "beta", 0.0)):
        tensor = features(name, path, axes, x, sizes)
        if path in shapes:
            yield tensor
        elif {"gamma", "beta"} & shapes.keys():
            yield TorchTensor(name, Arrangement(tensor.arrangement.shape, fill=fill), synthetic=True)


def moved_axes(axes: Sequence[int], x: TorchInput) -> Iterator[str]:
    """Yield the axes in torch of axes in Keras, unless they are the same or unknown."""
    places = [x.axis(axis) for axis in axes]
    if x.shape is not None and None not in places and places != [axis % len(x.shape) for axis in axes]:
        yield f"axis {option_text(_alone(axes))} is {option_text(_alone(places))} in torch"


def _alone(axes: Sequence[int | None]) -> Any:
    """Return the axis of a list of one, or the list."""
    return axes[0] if len(axes) == 1 else [*axes]


def check_channel_axis(module: str, axis: int, x: TorchInput) -> None:
    """Raise NoCounterpart unless an axis of the input is the one that a torch module has as its channels, axis 1.

    The features of (steps, features) may be, because torch code can move them there.
    """
    if x.shape is None and axis == -1:
        return
    if x.shape is None:
        raise NoCounterpart(f"torch.nn.{module} does not support axis {axis} of an input of unknown shape")
    rank = len(x.shape)
    is_movable = (x.order == PLAIN and axis % rank == rank - 1) or (
        x.order in (EITHER, ANY_AXES) and axis % rank in (1, rank - 1)
    )
    if x.has_axes and not is_movable and x.axis(axis) != 1:
        raise NoCounterpart(f"torch.nn.{module} does not support axis {axis}, which is not the channel axis in torch")


def normalized_axes(module: str, axes: Sequence[int], x: TorchInput) -> list[int]:
    """Return the axes that a layer normalizes, ascending, as Keras counts them.

    Raises NoCounterpart unless they are the last axes in torch. The last axis in Keras may be, because torch code can
    move it there.
    """
    if x.shape is None:
        if tuple(axes) != (-1,):
            raise NoCounterpart(f"torch.nn.{module} does not support axis {option_text(list(axes))} of unknown axes")
        return [-1]
    rank, ascending = len(x.shape), sorted(axes_of(axes, x.shape))
    places = [x.axis(axis) for axis in ascending]
    if ascending == [rank - 1]:
        return ascending
    if {*places} != {*range(rank - len(places), rank)}:
        rule = (
            "which are not known to be the last axes in torch" if None in places else "which are not the last in torch"
        )
        raise NoCounterpart(f"torch.nn.{module} does not support axis {option_text(list(axes))}, {rule}")
    return ascending


def required_by_normalized(axes: Sequence[int], shape: Sizes) -> Order | None:
    """Return the order of the input in which torch's last axes are these axes of Keras; None if any does, or none."""
    ascending, rank = axes_of(sorted(axes), shape), len(shape)
    if len(ascending) == 1:
        return for_features_last(shape) if ascending == [rank - 1] else None
    are_last = ascending == list(range(rank - len(ascending), rank))
    return CHANNELS_FIRST if are_last and len(ascending) < rank - 1 else None


def convolution_weight(name: str, path: str, shapes: Shapes) -> TorchTensor:
    """Return a convolution's weight (out, in / groups, window...), from a kernel (window..., in / groups, out)."""
    shape, rank = shapes[path], len(shapes[path]) - 2
    return transposed(name, path, shape, (rank + 1, rank, *range(rank)))


def depthwise_weight(name: str, path: str, shapes: Shapes) -> TorchTensor:
    """Return a weight (in * multiplier, 1, window...), from a depthwise kernel (window..., in, multiplier)."""
    *window, channels, multiplier = shapes[path]
    filters, rank = channels * multiplier, len(window)
    return transposed(name, path, (*window, filters), (rank, *range(rank)), result=(filters, 1, *window))


def projected(shapes: Shapes, name: str, prefix: str) -> Iterator[TorchTensor]:
    """Yield a projection of attention as nn.Linear's weight (out, in) and bias (out,).

    Kernels are (in, heads, size), and (heads, size, out...) for attention_output.
    """
    kernel = shapes[f"{name}/kernel"]
    inputs = 2 if name == "attention_output" else 1
    in_size, out_size = prod(kernel[:inputs]), prod(kernel[inputs:])
    yield transposed(f"{prefix}weight", f"{name}/kernel", (in_size, out_size), (1, 0))
    if f"{name}/bias" in shapes:
        yield same(f"{prefix}bias", f"{name}/bias", (out_size,))


def optional_bias(shapes: Shapes, name: str = "bias") -> Iterator[TorchTensor]:
    """Yield the bias unchanged, if the layer has one."""
    if "bias" in shapes:
        yield same(name, "bias", shapes["bias"])
