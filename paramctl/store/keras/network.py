"""The Keras model that a document is: a chain is a Sequential, anything else a Functional, a block a nested one.

A layer with branches is a Functional that ends in the merging layer. What a block takes from outside beside its
input is a further input of it, and an output within it that is used outside a further output. The layers of a
Functional stand in Keras' order, by their depth below the outputs, which decides their names in a file.
https://github.com/keras-team/keras/blob/master/keras/src/ops/function.py (map_graph)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from paramctl.model import Block, Model
from paramctl.model.layers import Layer

SEQUENTIAL, FUNCTIONAL, INPUT = "Sequential", "Functional", "InputLayer"


class NotInKeras(ValueError):
    """What a document says that no model of Keras does, in words."""


@dataclass(eq=False, slots=True)
class Object:
    """A layer or a model, however often it is called. kind: its class. network: what a model holds."""

    kind: str
    name: str
    block: Block | None = None
    network: Network | None = None
    dtype: str = "float32"
    """Of an input."""


class Call(NamedTuple):
    """One application of a layer: the numbers of the outputs that it takes, and of those that it gives."""

    object: Object
    takes: tuple[int, ...]
    gives: tuple[int, ...]


@dataclass(slots=True)
class Network:
    """What a model holds: its calls, inputs first, and its layers as Keras lists them.

    A Sequential lists a layer as often as it is called, and not its input; a Functional lists each layer once.
    """

    sequential: bool
    calls: list[Call]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    layers: list[Object] = field(default_factory=list)


def network(model: Model, as_graph: bool = False) -> Object:
    """The Keras model of a model document; as_graph: a chain that calls a layer twice is a Functional too.

    Keras writes no configuration of such a Sequential that it can read again. Raises NotInKeras.
    """
    return _Maker(model).top(as_graph)


class _Maker:
    """Makes the objects of one model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.objects: dict[str, Object] = {}  # by the path of the block
        self.extra: dict[int, tuple[list[int], list[int]]] = {}  # by what a block gives, what more it takes and gives
        self._cross()

    def _cross(self) -> None:
        """Find what crosses the walls of blocks."""
        homes: dict[int, tuple[int, ...]] = {}  # the blocks around what gives an output, from the outside in
        uses: list[tuple[int, tuple[int, ...]]] = [(number, ()) for number in self.model.output_ids]
        stack: list[tuple[Block, tuple[int, ...]]] = [(block, ()) for block in reversed(self.model.blocks)]
        while stack:
            block, around = stack.pop()
            homes[block.output_id] = around
            uses += [(number, around) for number in block.input_ids]
            if block.inner_ids:
                inside = (*around, block.output_id)
                self.extra[block.output_id] = ([], [])
                uses += [(number, inside) for number in block.inner_ids]
                stack += [(inner, inside) for inner in reversed(block.blocks)]
        for number, around in uses:
            home = homes.get(number, ())
            shared = sum(a == b for a, b in zip(home, around, strict=False))
            for wall in around[shared:]:
                _once(self.extra[wall][0], number)
            for wall in home[shared:]:
                _once(self.extra[wall][1], number)

    def top(self, as_graph: bool) -> Object:
        inputs = []
        for place, given in enumerate(self.model.inputs):
            inputs.append(Call(Object(INPUT, given.name, dtype=given.dtype), (), (-1 - place,)))
        calls = [*inputs, *map(self.call, self.model.blocks)]
        return Object(
            FUNCTIONAL, self.model.name, None, self.wired(calls, len(inputs), self.model.output_ids, as_graph)
        )

    def call(self, block: Block) -> Call:
        """One entry of a list of blocks as a call of its object, which is made if this is the first."""
        if not block.inner_ids:
            made = self.first(block) if block.reuse_of is None else self.again(block)
            return Call(made, block.input_ids, (block.output_id,))
        more, exposed = self.extra[block.output_id]
        taken = tuple(dict.fromkeys([*block.input_ids, *more]))
        if block.reuse_of is None:
            made = self.objects[block.path] = Object(FUNCTIONAL, _name(block), block)
            made.network = self.inside(block, taken, exposed)
            made.kind = SEQUENTIAL if made.network.sequential else FUNCTIONAL
            return Call(made, taken, (block.output_id, *exposed))
        made = self.again(block)
        if exposed or (made.network and len(made.network.inputs) != len(taken)):
            raise NotInKeras(f"{block.path} is applied again, and an output within it used outside it, or the reverse")
        return Call(made, taken, (block.output_id,))

    def first(self, block: Block) -> Object:
        made = self.objects[block.path] = Object(type(block.layer).__name__, _name(block), block)
        return made

    def again(self, block: Block) -> Object:
        assert block.reuse_of is not None
        if block.reuse_of not in self.objects:
            raise NotInKeras(f"{block.path} is {block.reuse_of} again, within a block that is itself applied again")
        return self.objects[block.reuse_of]

    def inside(self, block: Block, given: Sequence[int], exposed: Sequence[int]) -> Network:
        """The network that a block is, of what it takes and of what in it is used outside."""
        names = _Names(inner.path for inner in block.blocks)
        calls = [Call(Object(INPUT, names.new("input_layer")), (), (number,)) for number in given]
        calls += map(self.call, block.blocks)
        ends = block.inner_ids
        if block.layer is not None:  # what merges the branches
            merge = block.layer.merge_layer()
            assert merge is not None
            merged = Object(type(merge).__name__, names.new(merge.type), _merging(block, merge))
            calls.append(Call(merged, ends, (block.output_id,)))
            ends = (block.output_id,)
        elif ends[0] in given:  # nothing is left in the block
            calls.append(Call(Object("Identity", names.new("identity")), ends, (block.output_id,)))
            ends = (block.output_id,)
        return self.wired(calls, len(given), (*ends, *exposed), False)

    def wired(self, calls: list[Call], inputs: int, outputs: tuple[int, ...], as_graph: bool) -> Network:
        given = tuple(number for call in calls[:inputs] for number in call.gives)
        made = Network(_is_chain(calls, inputs, outputs), calls, given, outputs)
        objects = [call.object for call in calls[inputs:]]
        if as_graph and len(set(map(id, objects))) < len(objects):
            made.sequential = False
        made.layers = objects if made.sequential else _in_order(made)
        missing = {id(each): each for each in objects}.keys() - {id(each) for each in made.layers}
        for each in objects:
            if id(each) in missing and _has_parameters(each):
                raise NotInKeras(f"no output needs {each.block.path if each.block else each.name}")
        return made


class _Names:
    """Names for what a document does not name, other than those of a block's layers."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.taken = {path.rpartition("/")[2] for path in paths}

    def new(self, name: str) -> str:
        number = 0
        while (made := f"{name}_{number}" if number else name) in self.taken:
            number += 1
        self.taken.add(made)
        return made


def _merging(block: Block, merge: Layer) -> Block:
    """The merging layer of a block as a block of its own, for its options."""
    return replace(block, layer=merge, blocks=(), parameters=())


def _name(block: Block) -> str:
    return block.path.rpartition("/")[2]


def _once(numbers: list[int], number: int) -> None:
    if number not in numbers:
        numbers.append(number)


def _has_parameters(of: Object) -> bool:
    return of.block is not None and any(inner.parameters for inner in of.block.walk())


def _is_chain(calls: Sequence[Call], inputs: int, outputs: tuple[int, ...]) -> bool:
    """Whether each call takes what the one before it gives, and nothing else; Keras has attention take two things."""
    if inputs != 1 or len(calls) < 2 or outputs != calls[-1].gives:
        return False
    layers = (call.object.block.layer for call in calls if call.object.block is not None)
    if any(layer is not None and layer.call_options for layer in layers):
        return False
    return all(len(one.gives) == 1 and other.takes == one.gives for one, other in pairwise(calls))


def _in_order(of: Network) -> list[Object]:
    """The layers of a Functional as Keras orders them: the deepest first, and of one depth as they are first met."""
    source = {number: call for call in of.calls for number in call.gives}
    calls, met = _walk(of.outputs, source)
    depths: dict[int, int] = {}
    of_object: dict[int, int] = {}
    objects: dict[int, Object] = {}
    for call in reversed(calls):
        key = id(call.object)
        depth = max(depths.get(id(call), 0), of_object.get(key, 0))
        of_object[key] = depths[id(call)] = depth
        objects[key] = call.object
        for number in call.takes:
            before = id(source[number])
            depths[before] = max(depth + 1, depths.get(before, 0))
    for number in of.inputs:  # those that nothing takes
        unused = source[number].object
        if id(unused) not in objects:
            objects[id(unused)], of_object[id(unused)], met[id(unused)] = unused, 0, -1
    return sorted(objects.values(), key=lambda each: (-of_object[id(each)], met[id(each)]))


def _walk(outputs: Iterable[int], source: dict[int, Call]) -> tuple[list[Call], dict[int, int]]:
    """The calls that outputs need, each after those it takes from, and the order in which objects are first met."""
    done: set[int] = set()
    calls: list[Call] = []
    met: dict[int, int] = {}
    for output in outputs:
        stack: list[tuple[Call, Iterator[int]]] = []
        ahead: Call | None = source[output]
        while ahead is not None or stack:
            if ahead is not None and id(ahead) not in done:
                done.add(id(ahead))
                met.setdefault(id(ahead.object), len(met))
                stack.append((ahead, iter(ahead.takes)))
            ahead = None
            if stack:
                call, rest = stack[-1]
                number = next(rest, None)
                if number is None:
                    calls.append(call)
                    stack.pop()
                else:
                    ahead = source[number]
    return calls, met
