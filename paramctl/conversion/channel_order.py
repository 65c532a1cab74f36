"""The order in torch of the input features of each layer of a model.

Each layer gives the order of its output from the orders of its inputs, and the order that its torch module requires of
its input; see model/layers/order.py. An input of the model has the order that the layers which read it require:
channels last if a convolution with channels last reads it, even if another layer flattens it. This module only walks
the tree of blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from paramctl.model import Block, Model
from paramctl.model.layers import Sizes
from paramctl.model.layers.order import (
    ANY_AXES,
    CHANNELS_FIRST,
    CHANNELS_LAST,
    EITHER,
    OPEN,
    PLAIN,
    SAME_AXES,
    UNKNOWN,
    Order,
    TorchInput,
    after_unknown,
    combined,
)


def layer_inputs(model: Model) -> dict[str, TorchInput]:
    """Return the first input of each layer as torch has it, by the layer's path.

    A layer that is applied several times has the order UNKNOWN or EITHER if its inputs differ.
    """
    return _Walk(model, _decided(model), EITHER).inputs


class _Reading(NamedTuple):
    """A block that reads outputs. numbers, orders, shapes: of the outputs. output: of the block, by number."""

    block: Block
    numbers: Sequence[int]
    orders: Sequence[Order]
    shapes: Sequence[Sizes | None]
    output: int

    @property
    def required(self) -> Order | None:
        """The order that the block's torch module requires of its first input; None if it takes any."""
        layer, shape = self.block.layer, self.shapes[0]
        return layer.required_order(shape) if layer is not None and shape is not None and len(shape) > 2 else None


class _Walk:
    """The order of every output of a model, and the input of every layer.

    decided: the order of open outputs, by number; others: the order of all other open outputs.
    """

    def __init__(self, model: Model, decided: Mapping[int, Order], others: Order) -> None:
        self.decided, self.others = decided, others
        self.orders: dict[int, Order] = {}
        self.shapes: dict[int, Sizes | None] = {}
        self.last_shapes: dict[int, Sizes | None] = {}
        """The shape of each output, or if it is unknown, the last known one before it."""
        self.open: set[int] = set()
        self.inputs: dict[str, TorchInput] = {}
        self.readings: list[_Reading] = []
        for index, declared in enumerate(model.inputs):
            is_vector = declared.shape is not None and len(declared.shape) <= 2
            self._add_output(-1 - index, PLAIN if is_vector else OPEN, declared.shape)  # numbers as in Block.input_ids
        self._visit(model.blocks, "", "")

    def _visit(self, blocks: Sequence[Block], path: str, home: str) -> None:
        """Follow the outputs of blocks.

        path: of the block that holds them. home: the path of its parameters, which differs if it is applied again.
        """
        for block in blocks:
            block_home = block.reuse_of or f"{home}{block.path.removeprefix(path)}"
            self._visit(block.blocks, block.path, block_home)  # first: a block's order follows from its inner outputs
            numbers = block.inner_ids or block.input_ids
            orders = [self.orders.get(number, UNKNOWN) for number in numbers] or [PLAIN]
            shapes = [self.shapes.get(number) for number in numbers] or [None]
            if block.layer is not None and not block.inner_ids:
                self._add_input(block_home, TorchInput(block.layer.input_order(orders), shapes[0]))
            self.readings.append(_Reading(block, numbers, orders, shapes, block.output_id))
            last_shape = self.last_shapes.get(numbers[0]) if numbers else None
            order = _output_order(block, orders, shapes, last_shape)
            self._add_output(block.output_id, order, block.output, last_shape)

    def _add_output(self, number: int, order: Order, shape: Sizes | None, last_shape: Sizes | None = None) -> None:
        if order == OPEN:
            self.open.add(number)
            order = self.decided.get(number, self.others)
        self.orders[number], self.shapes[number] = order, shape
        self.last_shapes[number] = last_shape if shape is None else shape

    def _add_input(self, path: str, x: TorchInput) -> None:
        """Record a layer's input, or one of its inputs if it is applied several times."""
        first = self.inputs.setdefault(path, x)
        if first == x:
            return
        order = first.order
        # torch code can permute a feature map before a shared layer; the features of a vector it would have to shuffle.
        if first.order != x.order:
            order = UNKNOWN if {"flat", "unknown"} & {first.order.kind, x.order.kind} else EITHER
        ranks = {None if shape is None else len(shape) for shape in (first.shape, x.shape)}
        self.inputs[path] = TorchInput(order, first.shape if len(ranks) == 1 else None)


def _output_order(
    block: Block, orders: Sequence[Order], shapes: Sequence[Sizes | None], last_shape: Sizes | None
) -> Order:
    if block.layer is not None:
        return block.layer.channel_order(orders, shapes, block.output)
    if block.inner_ids:  # a custom block, or a branch
        return combined(orders, has_axes=block.output is not None and len(block.output) > 2)
    return after_unknown(combined(orders), last_shape, block.output)


def _decided(model: Model) -> dict[int, Order]:
    """Return the order of each open output that the layers which read it determine, by number."""
    decided: dict[int, Order] = {}
    while True:  # an output that is decided may be merged with one that is not
        moved, plain = _Walk(model, decided, CHANNELS_LAST), _Walk(model, decided, PLAIN)
        more = _required_orders(moved, plain).items()
        found = {number: order for number, order in more if order is not None and number not in decided}
        decided |= found
        if not found or moved.open <= decided.keys():
            return decided


def _required_orders(moved: _Walk, plain: _Walk) -> dict[int, Order | None]:
    """Return the order that the layers which read an open output require of it, by number; None if they do not agree.

    They may read it through layers that keep its axes, such as an activation. So the model is followed twice, with all
    undecided outputs in either order. An output that changes with them, from CHANNELS_LAST to PLAIN, has the axes of
    one of them, and whatever reads it reads that one.
    """
    groups = _Groups()
    required: dict[int, set[Order]] = {}
    follows = {number for number, order in moved.orders.items() if (order, plain.orders[number]) == FOLLOWS}
    for reading in moved.readings:
        following = [number for number in reading.numbers if number in follows]
        if not following:
            continue
        for number in (*following, *([reading.output] if reading.output in follows else [])):
            groups.join(following[0], number)
        others = {moved.orders[number] for number in reading.numbers if moved.orders[number] == plain.orders[number]}
        required.setdefault(following[0], set()).update(others & WITH_AXES)  # merged with others, so in their order
        if reading.required is not None:
            required[following[0]].add(reading.required)
    by_group: dict[int, set[Order]] = {}
    for number, orders in required.items():
        by_group.setdefault(groups.first(number), set()).update(orders)
    return {number: _agreed(by_group.get(groups.first(number), set())) for number in moved.open}


FOLLOWS = (CHANNELS_LAST, PLAIN)
"""The orders, when the open outputs have the first and the second, of an output that has the axes of one of them."""


def _agreed(orders: set[Order]) -> Order | None:
    """Return the order of an open output that the layers which read it require; None if they do not agree on one."""
    if orders and orders <= {*SAME_AXES}:
        return CHANNELS_FIRST if CHANNELS_FIRST in orders else PLAIN
    return CHANNELS_LAST if orders == {CHANNELS_LAST} else None


WITH_AXES = {*SAME_AXES, CHANNELS_LAST, EITHER, ANY_AXES}
"""The orders of outputs with axes."""


class _Groups:
    """Disjoint sets of numbers."""

    def __init__(self) -> None:
        self.parents: dict[int, int] = {}

    def first(self, number: int) -> int:
        """Return the number that represents the set of a number."""
        while number in self.parents:
            number = self.parents[number]
        return number

    def join(self, a: int, b: int) -> None:
        a, b = self.first(a), self.first(b)
        if a != b:
            self.parents[b] = a
