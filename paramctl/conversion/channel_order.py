"""The order in torch of the input features of each layer of a model.

Each layer gives the order of its output from the orders of its inputs; see model/layers/order.py. This module only
walks the tree of blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from paramctl.model import Block, Model
from paramctl.model.layers import Sizes
from paramctl.model.layers.order import CHANNELS_LAST, EITHER, PLAIN, UNKNOWN, Order, after_unknown, combined


def input_orders(model: Model) -> dict[str, Order]:
    """Return the order of the input features of each layer, by the layer's path.

    An input with four axes is a feature map with channels last; all others are plain. A layer that is applied several
    times has UNKNOWN or EITHER if its inputs differ.
    """
    walk = _Walk()
    for index, declared in enumerate(model.inputs):
        number = -1 - index  # as in Block.input_ids
        is_image = declared.shape is not None and len(declared.shape) == 4
        walk.orders[number] = CHANNELS_LAST if is_image else PLAIN
        walk.shapes[number] = declared.shape
    walk.visit(model.blocks, "", "")
    return walk.inputs


class _Walk:
    """The orders and shapes of the outputs so far, by number; and the orders of the layers' inputs, by path."""

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.shapes: dict[int, Sizes | None] = {}
        self.inputs: dict[str, Order] = {}

    def visit(self, blocks: Sequence[Block], path: str, home: str) -> None:
        """Follow the outputs of blocks.

        path: of the block that holds them. home: the path of its parameters, which differs if it is applied again.
        """
        for block in blocks:
            block_home = block.reuse_of or f"{home}{block.path.removeprefix(path)}"
            self.visit(block.blocks, block.path, block_home)  # first: a block's order follows from its inner outputs
            if block.layer is not None and not block.inner_ids:
                self._add_input(block_home, block.layer.input_order(self._orders(block.input_ids)))
            self.shapes[block.output_id] = block.output
            self.orders[block.output_id] = self._output(block)

    def _orders(self, numbers: Sequence[int]) -> list[Order]:
        return [self.orders.get(number, UNKNOWN) for number in numbers] or [PLAIN]

    def _add_input(self, path: str, order: Order) -> None:
        """Record the order of a layer's input, or of one of its inputs if it is applied several times."""
        first = self.inputs.setdefault(path, order)
        # torch code can permute a feature map before a shared layer; the features of a vector it would have to shuffle.
        if first != order:
            are_vectors = {"flat", "unknown"} & {first.kind, order.kind}
            self.inputs[path] = UNKNOWN if are_vectors else EITHER

    def _output(self, block: Block) -> Order:
        numbers = block.inner_ids or block.input_ids
        orders = self._orders(numbers)
        shapes = [self.shapes.get(number) for number in numbers] or [None]
        if block.layer is not None:
            return block.layer.channel_order(orders, shapes, block.output)
        if block.inner_ids:  # a custom block, or a branch
            return combined(orders)
        return after_unknown(combined(orders), shapes[0], block.output)
