"""The order of a layer's input and output features in torch, compared with Keras.

Keras has the channels of a feature map last by default, torch has them first. Flattening therefore gives the same
features in another order, and the weights of the next layer must be permuted. Each layer returns the order of its
output from `Layer.channel_order`, and the order that its torch module requires of its input from
`Layer.required_order`; the helpers here are shared by several layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from paramctl.model.layers.shapes import Sizes


class Order(NamedTuple):
    """The order of an output's features. sizes: (height, width, channels) if it is a flattened feature map."""

    kind: str
    sizes: tuple[int, ...] = ()

    @property
    def flat(self) -> tuple[int, ...] | None:
        """The sizes of the feature map that was flattened; None for any other output."""
        return self.sizes if self.kind == "flat" else None


PLAIN = Order("plain")
"""The same order in Keras and in torch."""
CHANNELS_LAST = Order("channels_last")
"""A feature map with channels last in Keras and first in torch."""
CHANNELS_FIRST = Order("channels_first")
"""A feature map with channels first in both."""
EITHER = Order("either")
"""A feature map whose torch code may have channels first or last, as after nn.Linear."""
ANY_AXES = Order("any_axes")
"""A feature map whose axes torch code may have in any places, as after a permutation that it need not follow."""
OPEN = Order("open")
"""Axes in Keras' order, as of an input, for which the layers that read them decide where torch has the channels."""
UNKNOWN = Order("unknown")
"""No order can be derived, so weights that depend on it cannot be converted."""


SAME_AXES = (PLAIN, CHANNELS_FIRST)
"""The orders of an output that has the same axes in Keras and in torch."""


class TorchInput(NamedTuple):
    """A layer's input as torch has it. shape: in Keras, batch axis first; None if unknown, or if several differ."""

    order: Order = PLAIN
    shape: Sizes | None = None

    @property
    def has_axes(self) -> bool:
        """True unless the input is known to be a vector for each example."""
        return self.shape is None or len(self.shape) > 2

    def axis(self, axis: int) -> int | None:
        """Return the axis in torch of an axis in Keras, batch axis 0; None if unknown."""
        if self.shape is None:
            # -1 needs no rank where torch has the channels in axis 1
            return 1 if axis == -1 and self.order == CHANNELS_LAST else None
        rank = len(self.shape)
        axis %= rank
        if axis == 0 or rank == 2 or self.order in SAME_AXES:
            return axis
        if self.order != CHANNELS_LAST:
            return None
        return 1 if axis == rank - 1 else axis + 1


def flattened(sizes: Sequence[int]) -> Order:
    """Return the order of a flattened feature map. sizes: in Keras' order, channels last."""
    return Order("flat", tuple(sizes))


def combined(orders: Sequence[Order], has_axes: bool = False) -> Order:
    """Return the order of concatenated outputs: the one that all share, or UNKNOWN, or EITHER for feature maps.

    Two flattened feature maps in sequence are not one flattened feature map. has_axes: True for feature maps.
    """
    kinds = dict.fromkeys(orders)
    first = next(iter(kinds))
    if len(kinds) == 1 and (first.flat is None or len(orders) == 1):
        return first
    if kinds.keys() <= {*SAME_AXES}:
        return CHANNELS_FIRST
    if not has_axes or not kinds.keys() <= {*SAME_AXES, CHANNELS_LAST, EITHER, ANY_AXES}:
        return UNKNOWN
    return ANY_AXES if ANY_AXES in kinds else EITHER


def elementwise(orders: Sequence[Order], shapes: Sequence[Sizes | None]) -> Order:
    """Return the order of outputs combined elementwise.

    A single value broadcasts, so its order does not matter; nor does that of a vector with a value for each channel.
    """
    inputs = [*zip(orders, shapes, strict=True)]
    has_axes = any(shape is not None and len(shape) > 2 for _, shape in inputs)
    kinds = {
        order
        for order, shape in inputs
        if shape is None or (value_count(shape) != 1 and not (has_axes and len(shape) == 2 and order == PLAIN))
    }
    if not kinds:
        return PLAIN
    # two equal flattened feature maps are in one order, because elements are paired
    return combined([*kinds], has_axes and None not in shapes)


def around_axis(order: Order, axis: int, shape: Sizes | None) -> Order:
    """Return the order after a torch module that has the channels in axis 1, such as nn.BatchNorm2d.

    axis: of the channels in Keras. shape: of the input.
    """
    if shape is None or len(shape) == 2:
        return order if order in (CHANNELS_LAST, EITHER, ANY_AXES) or shape is not None else UNKNOWN
    axis %= len(shape)
    if order in (EITHER, UNKNOWN) or TorchInput(order, shape).axis(axis) == 1:
        return order
    # torch code moves the features of (steps, features) to axis 1, and may leave them there
    return EITHER if order == PLAIN and axis == len(shape) - 1 else ANY_AXES


def required_around_axis(axis: int, shape: Sizes) -> Order | None:
    """Return the order of the input that puts an axis of Keras at torch's axis 1; None if any does, or none."""
    if len(shape) == 2:
        return None
    return {len(shape) - 1: CHANNELS_LAST, 1: CHANNELS_FIRST}.get(axis % len(shape))


def after_normalized(order: Order, axes: Sequence[int], shape: Sizes | None) -> Order:
    """Return the order after a torch module that normalizes the last axes. axes: those of Keras."""
    is_moved = order == CHANNELS_LAST and (shape is None or len(axes) == 1)
    return EITHER if is_moved else order  # torch code moves the channels last, and may leave them there


def for_features_last(shape: Sizes) -> Order | None:
    """Return the order that a torch module with features in the last axis requires of (batch, steps, features).

    For more axes, torch code that has the channels first moves them before such a module.
    """
    return PLAIN if len(shape) == 3 else None


def after_features_last(order: Order, output: Sizes | None) -> Order:
    """Return the order after a torch module that gives (batch, steps, features), or more axes with features last.

    For more axes, torch code that has the channels first moves them before such a module, and may move them back.
    """
    is_sequence = output is not None and len(output) == 3
    if order != UNKNOWN and (is_sequence or order in SAME_AXES):
        return PLAIN
    return EITHER if order == CHANNELS_LAST else order


def after_flatten(order: Order, shape: Sizes | None, channels_first: bool = False) -> Order:
    """Return the order after an input of this order and shape is flattened.

    channels_first: Keras first moves axis 1 to the end, as Flatten does with data_format channels_first.
    """
    if order.flat is not None or order == UNKNOWN or (shape is not None and len(shape) == 2):
        return order
    if shape is None or value_count(shape) is None:
        return PLAIN if order in SAME_AXES and not channels_first else UNKNOWN
    first, *others = sizes = [size or 0 for size in shape[1:]]
    if max(sizes) == value_count(shape):  # only one axis has positions, so their order is that of the values
        return PLAIN
    if channels_first:
        return flattened((*others, first)) if order in SAME_AXES else UNKNOWN
    # With one channel both orders are the same: (28, 28, 1).
    if order in SAME_AXES or (sizes[-1] == 1 and order != ANY_AXES):
        return PLAIN
    return flattened((first, *others)) if order == CHANNELS_LAST else UNKNOWN


def after_unknown(order: Order, shape: Sizes | None, output: Sizes | None) -> Order:
    """Return the order after a layer of an unknown class, as far as the shapes of its input and output tell."""
    if order == PLAIN or output == shape:  # an activation, or noise
        return order
    if order == UNKNOWN or order.flat is not None or shape is None:
        return UNKNOWN
    if output is None:
        return order
    if len(output) == 2:  # one value for each channel, as of global pooling; other vectors may be flattened maps
        channels = {CHANNELS_FIRST: shape[1], CHANNELS_LAST: shape[-1]}.get(order)
        is_pooled = output[1] is not None and output[1] == channels and value_count(shape) != channels
        return PLAIN if is_pooled else UNKNOWN
    # resizing, or augmentation
    axis = {CHANNELS_FIRST: 1, CHANNELS_LAST: -1}.get(order)
    is_kept = axis is not None and len(output) == len(shape) and output[axis] == shape[axis]
    return order if is_kept or order == ANY_AXES else EITHER


def value_count(shape: Sizes) -> int | None:
    """Return the number of values of one example; None if a size is unknown."""
    sizes = [size for size in shape[1:] if size is not None]
    return prod(sizes) if len(sizes) == len(shape) - 1 else None
