"""Costs of a model for one example: the multiply-accumulates of its layers, and the values of their outputs.

A layer that is applied several times counts each time. None is an unknown number.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from paramctl.model import Block, Input, Model
from paramctl.model.layers import Layer, Sizes
from paramctl.model.layers.shapes import product, total

SEQUENCE, IMAGE = 2048, 224
"""Sizes of an axis, for examples."""


class Cost(NamedTuple):
    """The multiply-accumulates of layers, and the number of values of their outputs."""

    macs: int | None
    activations: int | None


UNKNOWN = Cost(None, None)


def sum_costs(costs: Iterable[Cost]) -> Cost:
    """Return the sum of costs. It is unknown if one of them is."""
    pairs = list(costs)
    return Cost(total(*(cost.macs for cost in pairs)), total(*(cost.activations for cost in pairs)))


def output_shapes(model: Model) -> Mapping[int, Sizes | None]:
    """Return the shape of each output of a model and of its inputs, by number as in Block."""
    inputs = {-1 - place: declared.shape for place, declared in enumerate(model.inputs)}
    return inputs | {block.output_id: block.output for block in _unfold(model.blocks)}


def values_in(shape: Sizes | None) -> int | None:
    """Return the number of values of an array for one example, or None if a size is unknown."""
    return None if shape is None else product(*shape[1:])


def why_unknown(model: Model) -> str:
    """Return why costs of a model are unknown, and what to do."""
    if not model.output_ids:
        return "the layers are unknown; summarize the model's document instead"
    unsized = [declared for declared in model.inputs if declared.shape is None or None in declared.shape[1:]]
    if unsized:
        examples = [_example(each, each.shape[1:], len(model.inputs) > 1) for each in unsized if each.shape]
        such = f", such as {' '.join(examples)}" if examples else ""
        is_file = model.document is None or not model.document.source  # --input-shape is for documents
        use = "summarize the model's document with" if is_file else "use"
        return f"{', '.join(map(_unsized_text, unsized))}; {use} --input-shape{such}"
    return "a layer has an input of unknown shape, or combines examples"


def _unsized_text(declared: Input) -> str:
    """Return which sizes of an input are unknown. The axes count from 1, since the batch is axis 0."""
    if declared.shape is None:
        return f"the input {declared.name!r} has an unknown shape"
    axes = [str(axis) for axis, size in enumerate(declared.shape) if axis and size is None]
    if len(axes) == 1:
        return f"axis {axes[0]} of the input {declared.name!r} has an unknown size"
    return f"the axes {', '.join(axes[:-1])} and {axes[-1]} of the input {declared.name!r} have unknown sizes"


def _example(declared: Input, sizes: Sizes, is_named: bool) -> str:
    """Return an option with the sizes of an input, and usual ones of a sequence or of an image for those unknown.

    is_named: the model has several inputs.
    """
    usual = SEQUENCE if sizes.count(None) == 1 else IMAGE
    text = ",".join(str(usual if size is None else size) for size in sizes)
    return f"--input-shape {shlex.quote(f'{declared.name}={text}' if is_named else text)}"


class Costs:
    """The costs of a model's blocks.

    includes: returns whether a block counts at all. merges: returns whether the merge of a block's branches counts.
    """

    def __init__(self, model: Model, includes: Callable[[Block], bool], merges: Callable[[Block], bool]) -> None:
        self.has_layers = bool(model.output_ids)
        self.includes, self.merges = includes, merges
        self._shapes = output_shapes(model)
        self._costs: dict[int, Cost] = {}

    def all(self, blocks: Sequence[Block], whole: bool = False) -> Cost:
        """Return the sum of the costs of the blocks that count. whole: count all of them."""
        if not self.has_layers:
            return UNKNOWN
        return sum_costs(self.of(block, whole) for block in blocks if whole or self.includes(block))

    def of(self, block: Block, whole: bool = False) -> Cost:
        """Return the cost of a block: that of its layer, or the sum of those inside. whole: count all of these."""
        if not self.has_layers:
            return UNKNOWN
        number = block.output_id
        if number not in self._costs:  # a block is within each block around it
            # nothing selects a part of a block that is applied again
            if block.inner_ids:
                self._costs[number] = sum_costs(self._parts(block, whole or block.reuse_of is not None))
            else:
                self._costs[number] = self._of_layer(block.layer, block.input_ids, block.output)
        return self._costs[number]

    def _parts(self, block: Block, whole: bool) -> Iterator[Cost]:
        yield self.all(block.blocks, whole)
        merge = block.layer.merge_layer() if block.layer is not None else None
        if merge is not None and (whole or self.merges(block)):
            yield self._of_layer(merge, block.inner_ids, block.output)

    def _of_layer(self, layer: Layer | None, inputs: Sequence[int], output: Sizes | None) -> Cost:
        shapes = [self._shapes[number] for number in inputs]
        known = [shape for shape in shapes if shape is not None]
        if layer is None or output is None or len(known) < len(shapes):
            return UNKNOWN
        names = layer.used_references() if layer.references else []
        count = len(known) - len(names)
        references = dict(zip(names, known[count:], strict=True))
        return Cost(layer.macs(*known[:count], **references), values_in(output))


def _unfold(blocks: Sequence[Block]) -> Iterator[Block]:
    """Yield blocks and those inside, also inside a block that is applied again."""
    for block in blocks:
        yield block
        yield from _unfold(block.blocks)
