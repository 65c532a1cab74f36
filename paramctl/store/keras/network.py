"""The Keras model of a model document: a Functional, with a nested model for each block.

This module alone decides which Keras model a document is: ``.keras`` has its configuration, and every file of weights
has its names. A block whose layers form a chain is a Sequential, any other a Functional. A chain that calls a layer
twice is a Functional too, because Keras lists such a layer twice in the configuration of a Sequential, and builds two
layers of it. A layer with branches is a Functional that ends in the merging layer. In a document a block may take any
output by name, and its inner outputs may be used outside; in Keras these become further inputs and outputs of the
nested model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from paramctl.model import Block, Model
from paramctl.store.keras.layer_order import functional_layers
from paramctl.store.keras.objects import FUNCTIONAL, INPUT, SEQUENTIAL, Call, KerasObject, Network, NotInKeras


def keras_network(model: Model, flat: bool = False) -> KerasObject:
    """Return the Keras model of a model document. Raises NotInKeras.

    flat: whether the layers of branches are in the model around them, as Keras code writes residual connections.
    """
    return _NetworkBuilder(model, flat).whole()


@dataclass(slots=True)
class _Crossing:
    """The outputs that cross the boundary of a block, other than its own input and output; dicts keep their order.

    entering: outputs from outside that a layer within it takes. leaving: outputs from within that are used outside.
    """

    entering: dict[int, None] = field(default_factory=dict)
    leaving: dict[int, None] = field(default_factory=dict)


class _NetworkBuilder:
    """A builder of the objects of one model."""

    def __init__(self, model: Model, flat: bool) -> None:
        self.model, self.flat = model, flat
        self.sources: dict[int, int] = {}  # by the output of a branch that is flattened, the output that it returns
        self.objects: dict[str, KerasObject] = {}  # by the path of the block
        self.crossings: dict[int, _Crossing] = {}  # by the id of the block's output
        self._find_crossings()

    def _find_crossings(self) -> None:
        """Find the outputs that cross the boundaries of blocks.

        An output that is computed in the block a/b and used in a/c leaves b and enters c.
        """
        homes: dict[int, tuple[int, ...]] = {}  # the blocks around the source of an output, the outermost first
        uses: list[tuple[int, tuple[int, ...]]] = [(output, ()) for output in self.model.output_ids]
        stack: list[tuple[Block, tuple[int, ...]]] = [(block, ()) for block in reversed(self.model.blocks)]
        while stack:
            block, around = stack.pop()
            homes[block.output_id] = around
            uses += [(output, around) for output in block.input_ids]
            if block.inner_ids:
                inside = (*around, block.output_id)
                self.crossings[block.output_id] = _Crossing()
                uses += [(output, inside) for output in block.inner_ids]
                stack += [(inner, inside) for inner in reversed(block.blocks)]
        for output, around in uses:
            home = homes.get(output, ())
            shared = sum(a == b for a, b in zip(home, around, strict=False))
            for block_id in around[shared:]:
                self.crossings[block_id].entering[output] = None
            for block_id in home[shared:]:
                self.crossings[block_id].leaving[output] = None

    def whole(self) -> KerasObject:
        """Return the model itself."""
        names = (declared.name for declared in self.model.inputs)
        inputs = [Call(KerasObject(INPUT, name), (), (-1 - place,)) for place, name in enumerate(names)]
        calls = [*inputs, *self.calls(self.model.blocks)]
        network = self.connect(calls, len(inputs), self.model.output_ids)
        return KerasObject(FUNCTIONAL, self.model.name, network=network)

    def calls(self, blocks: Iterable[Block]) -> Iterator[Call]:
        """Yield each block as a call; if flat, a block with branches as the calls of the layers in it."""
        for block in blocks:
            merge = block.layer.merge_layer() if block.layer is not None else None
            if not self.flat or not (merge or block.type == "branch"):
                yield self.call(block)
                continue
            if block.reuse_of is not None:
                raise NotInKeras(f"{block.path} reuses a block with branches")
            yield from self.calls(block.blocks)
            if merge is None:
                self.sources[block.output_id] = block.inner_ids[0]
            else:
                yield Call(KerasObject(type(merge).__name__, _name(block)), block.inner_ids, (block.output_id,))

    def call(self, block: Block) -> Call:
        """Return a block as a call of its object, which is new unless the block reuses another."""
        if not block.inner_ids:
            return Call(self.layer(block), block.input_ids, (block.output_id,))
        crossing = self.crossings[block.output_id]
        input_ids = tuple(dict.fromkeys([*block.input_ids, *crossing.entering]))
        if block.reuse_of is None:
            nested = self.objects[block.path] = KerasObject(FUNCTIONAL, _name(block), block)
            nested.network = self.inside(block, input_ids, [*crossing.leaving])
            nested.class_name = SEQUENTIAL if nested.network.sequential else FUNCTIONAL
            return Call(nested, input_ids, (block.output_id, *crossing.leaving))
        nested = self.reused(block)
        if crossing.leaving:
            raise NotInKeras(f"{block.path} reuses a block, and an output inside it is used outside it")
        if nested.network and len(nested.network.input_ids) != len(input_ids):
            raise NotInKeras(f"{block.path} reuses {block.reuse_of} with another number of inputs")
        return Call(nested, input_ids, (block.output_id,))

    def layer(self, block: Block) -> KerasObject:
        """Return the object of a layer."""
        if block.reuse_of is not None:
            return self.reused(block)
        layer = self.objects[block.path] = KerasObject(type(block.layer).__name__, _name(block), block)
        return layer

    def reused(self, block: Block) -> KerasObject:
        """Return the object that a block reuses."""
        assert block.reuse_of is not None
        if block.reuse_of not in self.objects:
            raise NotInKeras(f"{block.path} reuses {block.reuse_of} within a block that is itself reused")
        return self.objects[block.reuse_of]

    def inside(self, block: Block, inputs: Sequence[int], leaving: Sequence[int]) -> Network:
        """Return the network of a block.

        inputs: the outputs that it takes from outside. leaving: those within it that are used outside.
        """
        graph = _functional_block(block, inputs)
        if graph is not None:
            calls = [Call(KerasObject(INPUT, _name(graph.input)), (), (graph.input.output_id,))]
            calls += self.calls(graph.blocks)
            return self.connect(calls, 1, (graph.output, *leaving), sequential=False)
        names = _NewNames(inner.path for inner in block.blocks)
        calls = [Call(KerasObject(INPUT, names.new("input_layer")), (), (output,)) for output in inputs]
        calls += self.calls(block.blocks)
        outputs = block.inner_ids
        if block.layer is not None:  # a layer with branches
            merge = block.layer.merge_layer()
            assert merge is not None
            merge_block = replace(block, layer=merge, blocks=(), parameters=())
            merging = KerasObject(type(merge).__name__, names.new(merge.type), merge_block)
            calls.append(Call(merging, outputs, (block.output_id,)))
            outputs = (block.output_id,)
        elif outputs[0] in inputs:  # an empty block returns its input, but a Keras model needs a layer between them
            calls.append(Call(KerasObject("Identity", names.new("identity")), outputs, (block.output_id,)))
            outputs = (block.output_id,)
        return self.connect(calls, len(inputs), (*outputs, *leaving))

    def source(self, output: int) -> int:
        """Return the output that is returned as this one."""
        while output in self.sources:
            output = self.sources[output]
        return output

    def connect(self, calls: list[Call], inputs: int, outputs: tuple[int, ...], sequential: bool = True) -> Network:
        """Return the network of these calls, the first of which are its inputs, with its layers in Keras' order.

        sequential: whether a chain is a Sequential.
        """
        if self.sources:
            calls = [call._replace(input_ids=tuple(map(self.source, call.input_ids))) for call in calls]
            outputs = tuple(map(self.source, outputs))
        input_ids = tuple(output for call in calls[:inputs] for output in call.output_ids)
        network = Network(sequential and _is_chain(calls, inputs, outputs), calls, input_ids, outputs)
        objects = [call.object for call in calls[inputs:]]
        network.layers = objects if network.sequential else functional_layers(network)
        listed = {*network.layers}
        for layer in objects:
            # Keras drops a layer that no output depends on, and with it the parameters.
            if layer not in listed and _has_parameters(layer):
                raise NotInKeras(f"no output depends on {layer.block.path if layer.block else layer.name}")
        return network


class _FunctionalBlock(NamedTuple):
    """A block as from_config writes a nested Functional: its InputLayer as an identity layer, which comes first.

    input: the identity layer.
    blocks: the layers of the Functional. output: the id of its output.
    """

    input: Block
    blocks: Sequence[Block]
    output: int


def _functional_block(block: Block, inputs: Sequence[int]) -> _FunctionalBlock | None:
    """Return a block with an identity layer for its InputLayer; None if it has none, or the block has more inputs.

    from_config ends such a block with a further identity layer if its last layer does not give its output.
    """
    first, *others = block.blocks or (block,)
    takes_input = [inner for inner in block.blocks if {*inner.input_ids} & {*inputs}]
    if block.layer is not None or first.type != "identity" or len(inputs) != 1 or takes_input != [first]:
        return None
    output = block.inner_ids[0]
    last = others[-1] if others else first
    source = {inner.output_id: _name(inner) for inner in block.blocks}.get(*last.input_ids[:1])
    if last.type == "identity" and _name(last) == f"{source}-output":
        others, output = others[:-1], last.input_ids[0]
    return _FunctionalBlock(first, others, output) if others and output != first.output_id else None


class _NewNames:
    """New names for the layers of a nested model that a document does not name."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.taken = {path.rpartition("/")[2] for path in paths}

    def new(self, name: str) -> str:
        """Return the name, with a number if a layer of the document or an earlier new one has it."""
        number = 0
        while (candidate := f"{name}_{number}" if number else name) in self.taken:
            number += 1
        self.taken.add(candidate)
        return candidate


def _name(block: Block) -> str:
    return block.path.rpartition("/")[2]


def _has_parameters(layer: KerasObject) -> bool:
    return layer.block is not None and any(block.parameters for block in layer.block.walk())


def _is_chain(calls: Sequence[Call], inputs: int, outputs: tuple[int, ...]) -> bool:
    """Return whether each call takes exactly the output of the one before it, so that a Sequential has the same layers.

    inputs: the number of calls that are InputLayers.
    """
    if inputs != 1 or len(calls) < 2 or outputs != calls[-1].output_ids:
        return False
    if len({call.object for call in calls}) < len(calls):
        return False
    # A Sequential calls each layer with one argument. Attention in Keras needs two, query and value.
    if any(call.object.layer is not None and call.object.layer.call_options for call in calls):
        return False
    return all(len(one.output_ids) == 1 and other.input_ids == one.output_ids for one, other in pairwise(calls))
