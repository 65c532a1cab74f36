"""In which order torch's modules take the features that Keras' layers take: images have channels first there.

What each output is, followed from the inputs on: values in the same order in both (PLAIN), an image whose channels are
last in Keras and first in torch (IMAGE), or first in both (FIRST); an image whose place of channels torch's code may
choose, as after nn.Linear (EITHER); an image laid flat; or what cannot be told (UNKNOWN), for which no weights that
depend on it are turned. An input with four axes is an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from paramctl.model import Block, Model
from paramctl.model.layers import Layer, Sizes
from paramctl.model.layers.attention import AttentionLayer
from paramctl.model.layers.branching import Parallel, Residual
from paramctl.model.layers.core import Dense, Embedding
from paramctl.model.layers.merging import Concatenate, Elementwise
from paramctl.model.layers.normalization import BatchNormalization
from paramctl.model.layers.pooling import GlobalPooling
from paramctl.model.layers.recurrent import Recurrent
from paramctl.model.layers.wrapping import Bidirectional, TimeDistributed


class Order(NamedTuple):
    """What an output is. sizes: (height, width, channels) of an image that is laid flat."""

    kind: str
    sizes: tuple[int, ...] = ()

    @property
    def flat(self) -> tuple[int, ...] | None:
        """The sizes, if it is an image laid flat."""
        return self.sizes if self.kind == "flat" else None


PLAIN, IMAGE, FIRST, EITHER, UNKNOWN = map(Order, ("plain", "image", "first", "either", "unknown"))


class Orders:
    """``taken``: by the path of each layer with parameters, what it takes; UNKNOWN if that differs between its uses."""

    def __init__(self, model: Model) -> None:
        self.of: dict[int, Order] = {}
        self.shapes: dict[int, Sizes | None] = {}
        self.taken: dict[str, Order] = {}
        for place, given in enumerate(model.inputs):
            self.shapes[-1 - place] = given.shape
            self.of[-1 - place] = IMAGE if given.shape is not None and len(given.shape) == 4 else PLAIN
        self._blocks(model.blocks, "", "")

    def _blocks(self, blocks: Sequence[Block], path: str, stands_at: str) -> None:
        """Follow what blocks give. What lies at ``path`` is applied again, and stands elsewhere."""
        for block in blocks:
            home = block.reuse_of or f"{stands_at}{block.path.removeprefix(path)}"
            self._blocks(block.blocks, block.path, home)
            takes = [self.of.get(number, UNKNOWN) for number in block.input_ids] or [PLAIN]
            if block.layer is not None and not block.inner_ids:
                self._take(home, _together(takes) if isinstance(block.layer, AttentionLayer) else takes[0])
            self.shapes[block.output_id] = block.output
            self.of[block.output_id] = self._given(block, takes)

    def _take(self, path: str, order: Order) -> None:
        before = self.taken.setdefault(path, order)
        if before != order:
            vectors = {"flat", "unknown"} & {before.kind, order.kind}
            self.taken[path] = UNKNOWN if vectors else EITHER

    def _given(self, block: Block, takes: Sequence[Order]) -> Order:
        layer, numbers = block.layer, block.inner_ids or block.input_ids
        if block.inner_ids:
            takes = [self.of.get(number, UNKNOWN) for number in block.inner_ids]
            layer = layer.merge if isinstance(layer, Parallel) else layer
        shapes = [self.shapes.get(number) for number in numbers] or [None]
        if isinstance(layer, (Elementwise, Residual)):
            return _elementwise(takes, shapes)
        if isinstance(layer, Concatenate) or block.inner_ids:
            return _together(takes)
        if layer is None:
            return _of_unknown(_together(takes), shapes[0], block.output)
        return _after(layer, takes[0], shapes[0], block.output)


def _together(orders: Sequence[Order]) -> Order:
    """Of several outputs beside each other: what they all are; images laid flat one after the other are none."""
    first, *others = dict.fromkeys(orders)
    return UNKNOWN if others or (first.flat is not None and len(orders) > 1) else first


def _elementwise(orders: Sequence[Order], shapes: Sequence[Sizes | None]) -> Order:
    """Of what is put together value by value, but for single values, which stand everywhere."""
    kinds = {order for order, shape in zip(orders, shapes, strict=True) if shape is None or _count(shape) != 1}
    if len(kinds) < 2:
        return kinds.pop() if kinds else PLAIN
    deep = all(shape is not None and len(shape) > 2 for shape in shapes)
    return EITHER if deep and kinds <= {PLAIN, IMAGE, EITHER} else UNKNOWN


def _count(shape: Sizes) -> int | None:
    """How many values one example has; None if that is not known."""
    sizes = [size for size in shape[1:] if size is not None]
    return prod(sizes) if len(sizes) == len(shape) - 1 else None


def _of_unknown(x: Order, shape: Sizes | None, out: Sizes | None) -> Order:
    """After a layer of a class that is not known: values in place if the shape stays, an image if it looks like one."""
    if out is not None and out == shape:
        return x
    if x in (IMAGE, EITHER) and (out is None or len(out) == 4):
        return x
    laid = shape is None or out is None or _count(shape) == _count(out)
    return PLAIN if x == PLAIN or (x != UNKNOWN and x.flat is None and not laid) else UNKNOWN


def _after(layer: Layer, x: Order, shape: Sizes | None, out: Sizes | None) -> Order:
    """After a layer with one input of this shape, whose output has that one."""
    if layer.type == "flatten":
        return _laid(x, shape, vars(layer)["data_format"] == "channels_first")
    if layer.type == "reshape":
        return _reshaped(x, shape, out)
    if layer.type == "permute":
        return _permuted(x, tuple(vars(layer)["dims"]))
    if layer.type == "take":
        return PLAIN if x.flat is None and x != UNKNOWN and out is not None and len(out) == 2 else UNKNOWN
    if isinstance(layer, (Embedding, Recurrent, Bidirectional, AttentionLayer)):
        return PLAIN
    if isinstance(layer, TimeDistributed):
        inner = layer.layer.layer
        return PLAIN if x == PLAIN and not inner.rank and inner.type not in ("flatten", "reshape") else UNKNOWN
    if isinstance(layer, Dense):
        return PLAIN if x.flat is not None else EITHER if x == IMAGE else x
    if layer.rank and not layer.type.startswith("spatial_dropout"):
        if isinstance(layer, GlobalPooling) and out is not None and len(out) == 2:
            return PLAIN
        return FIRST if vars(layer).get("data_format") == "channels_first" else IMAGE
    if isinstance(layer, BatchNormalization) and x == IMAGE and shape is not None:
        return x if vars(layer)["axis"] in (-1, len(shape) - 1) else UNKNOWN
    stays = out == shape or layer.type in ("class_token", "reduce_sum")
    return x if x == PLAIN or stays else UNKNOWN


def _laid(x: Order, shape: Sizes | None, to_last: bool) -> Order:
    """What is laid flat; to_last: Keras moves channels from the first place to the last before."""
    if x.flat is not None or x == UNKNOWN or (shape is not None and len(shape) == 2):
        return x
    if shape is None or _count(shape) is None:
        return x if x == PLAIN and not to_last else UNKNOWN
    first, *others = [size or 0 for size in shape[1:]]
    last = [first, *others][-1]
    if to_last:
        return Order("flat", (*others, first)) if x == FIRST else UNKNOWN
    if x in (PLAIN, FIRST) or last in (1, _count(shape)):  # one channel, or one place: there is but one order
        return PLAIN
    return Order("flat", (first, *others)) if x == IMAGE else UNKNOWN


def _reshaped(x: Order, shape: Sizes | None, out: Sizes | None) -> Order:
    """What has another shape: a vector made an image is one in Keras' order."""
    if out is None or shape is None:
        return UNKNOWN if x != PLAIN else x
    if out == shape:
        return x
    if len(out) == 2 and x.flat is None:
        return _laid(x, shape, False)
    if x == PLAIN:
        return IMAGE if len(out) == 4 else PLAIN
    if x.flat is not None:
        return IMAGE if tuple(out[1:]) == x.sizes else UNKNOWN
    if x in (IMAGE, EITHER) and out[-1] == shape[-1] and len(out) < 5:
        return EITHER
    return UNKNOWN


def _permuted(x: Order, dims: tuple[int, ...]) -> Order:
    """What has its axes in another order, counted from 1: an image may have its channels moved to the other end."""
    rank = len(dims)
    if x == IMAGE and dims == (rank, *range(1, rank)):
        return FIRST
    if x == FIRST and dims == (*range(2, rank + 1), 1):
        return IMAGE
    return x if x == PLAIN or dims == tuple(range(1, rank + 1)) else UNKNOWN
