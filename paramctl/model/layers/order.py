"""The order of a layer's input and output features in torch, compared with Keras.

Keras has the channels of a feature map last, torch has them first. Flattening therefore gives the same features in
another order, and the weights of the next layer must be permuted. Each layer returns the order of its output from
`Layer.channel_order`; the helpers here are shared by several layers.
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
UNKNOWN = Order("unknown")
"""No order can be derived, so weights that depend on it cannot be converted."""


def flattened(sizes: Sequence[int]) -> Order:
    """Return the order of a flattened feature map. sizes: in Keras' order, channels last."""
    return Order("flat", tuple(sizes))


def combined(orders: Sequence[Order]) -> Order:
    """Return the order of concatenated outputs: the one that all share, or UNKNOWN.

    Two flattened feature maps in sequence are not one flattened feature map.
    """
    first, *others = dict.fromkeys(orders)
    return UNKNOWN if others or (first.flat is not None and len(orders) > 1) else first


def elementwise(orders: Sequence[Order], shapes: Sequence[Sizes | None]) -> Order:
    """Return the order of outputs combined elementwise. A single value broadcasts, so its order does not matter."""
    kinds = {order for order, shape in zip(orders, shapes, strict=True) if shape is None or value_count(shape) != 1}
    if len(kinds) < 2:
        return kinds.pop() if kinds else PLAIN
    have_axes = all(shape is not None and len(shape) > 2 for shape in shapes)
    return EITHER if have_axes and kinds <= {PLAIN, CHANNELS_LAST, EITHER} else UNKNOWN


def after_flatten(order: Order, shape: Sizes | None, channels_first: bool = False) -> Order:
    """Return the order after an input of this order and shape is flattened.

    channels_first: Keras first moves axis 1 to the end, as Flatten does with data_format channels_first.
    """
    if order.flat is not None or order == UNKNOWN or (shape is not None and len(shape) == 2):
        return order
    if shape is None or value_count(shape) is None:
        return order if order == PLAIN and not channels_first else UNKNOWN
    first, *others = [size or 0 for size in shape[1:]]
    last = [first, *others][-1]
    if channels_first:
        return flattened((*others, first)) if order == CHANNELS_FIRST else UNKNOWN
    # With one channel, or one position, both orders are the same: (28, 28, 1) and (1, 1, 512).
    if order in (PLAIN, CHANNELS_FIRST) or last in (1, value_count(shape)):
        return PLAIN
    return flattened((first, *others)) if order == CHANNELS_LAST else UNKNOWN


def after_unknown(order: Order, shape: Sizes | None, output: Sizes | None) -> Order:
    """Return the order after a layer of an unknown class, guessed from the shapes of its input and output."""
    if output is not None and output == shape:  # an activation, or noise
        return order
    if order in (CHANNELS_LAST, EITHER) and (output is None or len(output) == 4):  # resizing, or augmentation
        return order
    may_flatten = shape is None or output is None or value_count(shape) == value_count(output)
    return PLAIN if order == PLAIN or (order != UNKNOWN and order.flat is None and not may_flatten) else UNKNOWN


def value_count(shape: Sizes) -> int | None:
    """Return the number of values of one example; None if a size is unknown."""
    sizes = [size for size in shape[1:] if size is not None]
    return prod(sizes) if len(sizes) == len(shape) - 1 else None
