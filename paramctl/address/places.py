"""Places: a model as a tree in which an address is followed, segment by segment.

The model ``{residual: [{dense: 4}, {dense: 4}]}`` has the places

    residual                 layers: residual/dense, residual/dense_1
    residual/dense           parameters: residual/dense/kernel, residual/dense/bias
    residual/dense/kernel    a parameter
    ...

so ``residual/dense/kernel``, ``residual/0/0``, ``0/dense/kernel``, and ``layers[0].weights[0]`` lead to one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from paramctl.address.grammar import LayerIndex, Segment, WeightIndex, index_of
from paramctl.address.path_index import PathIndex
from paramctl.address.patterns import ANY_NAMES, compile_names
from paramctl.address.tree import NamedBlock, NamedTree


@dataclass(eq=False, slots=True)
class Place:
    """A block, a parameter, or a name between the two, such as ``forward`` in ``lstm/forward/kernel``.

    children: the places inside it, by name.
    layers: the blocks inside it, in order. A block that is applied again appears again.
    parameters: the parameters that it holds itself, in order.
    """

    path: str
    is_parameter: bool = False
    children: dict[str, Place] = field(default_factory=dict)
    layers: list[Place] = field(default_factory=list)
    parameters: list[Place] = field(default_factory=list)

    @property
    def indexed(self) -> list[Place]:
        """The places that an index selects from: the layers, or, in a block without layers, the parameters."""
        return self.layers or self.parameters

    def descendants(self) -> Iterator[Place]:
        """Yield this place and all places inside it, each once."""
        stack, seen = [self], set()
        while stack:
            place = stack.pop()
            if place not in seen:
                seen.add(place)
                yield place
                stack.extend(reversed([*place.children.values(), *place.layers, *place.parameters]))


class Places:
    """The places of a model, and indexes of their paths. Each is built when an address first needs it."""

    def __init__(self, model: NamedTree) -> None:
        self.model = model
        self._weights: dict[str, list[Place]] = {}

    @cached_property
    def parameters(self) -> PathIndex:
        return PathIndex(self.model.parameters, self.model.separator)

    @cached_property
    def blocks(self) -> PathIndex:
        return PathIndex((block.path for block in self.model.walk()), self.model.separator)

    @cached_property
    def stored_names(self) -> dict[str, list[str]]:
        """The paths of the parameters that a file stores under a name."""
        paths: dict[str, list[str]] = {}
        for path, alias in self.model.aliases.items():
            paths.setdefault(alias, []).append(path)
        return paths

    @cached_property
    def root(self) -> Place:
        root = Place("")
        first_uses: dict[str | None, Place] = {}
        for block in self.model.blocks:
            self._add_block(root, block, first_uses)
            if self.model.optimizer and _is_state(block):
                root.layers.pop()  # layers[-1] stays the last layer of the model
        return root

    def _add_block(self, parent: Place, block: NamedBlock, first_uses: dict[str | None, Place]) -> None:
        """Add a block and everything in it to its parent."""
        if block.reuse_of in first_uses:
            parent.layers.append(first_uses[block.reuse_of])  # layers[2] may be the same layer as layers[1]
            return
        place = first_uses.setdefault(block.path, Place(block.path, block.path in self.model.parameters))
        name = block.path[len(parent.path) + 1 :] if parent.path else block.path
        parent.children.setdefault(name, place)
        parent.layers.append(place)
        for inner in block.blocks:
            self._add_block(place, inner, first_uses)
        for parameter in block.parameters:
            if parameter.path != block.path:  # a file may have an array at its root: a block and its parameter in one
                place.parameters.append(self._add_parameter(place, parameter.path))

    def _add_parameter(self, block: Place, path: str) -> Place:
        """Add a parameter, and the names between its block and itself."""
        separator = self.model.separator
        *between, last = path[len(block.path) + 1 :].split(separator)
        parent = block
        for name in between:
            parent = parent.children.setdefault(name, Place(f"{parent.path}{separator}{name}"))
        return parent.children.setdefault(last, Place(path, True))

    def follow(self, segments: Sequence[Segment]) -> list[Place]:
        """Return the places that segments lead to from the root."""
        # ``**/**`` means the same as ``**``; without this, the search would try every way to divide a path.
        segments = [
            segment
            for position, segment in enumerate(segments)
            if segment != ANY_NAMES or position == 0 or segments[position - 1] != ANY_NAMES
        ]
        reached: list[Place] = []
        stack, seen = [(self.root, 0)], set()
        while stack:
            place, depth = step = stack.pop()
            if step in seen:
                continue
            seen.add(step)
            if depth == len(segments):
                reached.append(place)
            elif segments[depth] == ANY_NAMES:  # match no name, or one name and then ``**`` again
                stack += [(place, depth + 1), *((child, depth) for child in place.children.values())]
            else:
                stack += [(child, depth + 1) for child in self._step(place, segments[depth])]
        return reached

    def _step(self, place: Place, segment: Segment) -> list[Place]:
        """Return the places that one segment leads to."""
        if isinstance(segment, WeightIndex):
            return _item(self.weights(place), segment.position)
        if isinstance(segment, LayerIndex):
            return _item(place.layers, segment.position)
        if segment.text in place.children:  # a name takes precedence over an index
            return [place.children[segment.text]]
        index = index_of(segment)
        if index is not None:
            return _item(place.indexed, index)
        matches = compile_names([segment], "/")
        return [child for name, child in place.children.items() if matches(name)]

    def weights(self, place: Place) -> list[Place]:
        """Return every parameter in a place once, in the model's order."""
        if place.path not in self._weights:
            inside = {descendant.path: descendant for descendant in place.descendants() if descendant.is_parameter}
            ordered = self.parameters.ordered(inside)
            # weights[-1] stays the last parameter of the model, unless the place has nothing but an optimizer's arrays
            own = [path for path in ordered if self.model.parameters[path].is_parameter]
            self._weights[place.path] = [inside[path] for path in own or ordered]
        return self._weights[place.path]

    def range_hint(self, segments: Sequence[Segment]) -> str:
        """Return a hint about the first index that is out of range, or an empty string: ``dense has 2 parameters.``"""
        for position, segment in enumerate(segments):
            index = index_of(segment)
            for place in self.follow(segments[:position]) if index is not None else ():
                if isinstance(segment, WeightIndex):
                    noun, count = "weights", len(self.weights(place))
                else:
                    noun, count = "layers" if place.layers else "parameters", len(place.indexed)
                if not -count <= (index or 0) < count:
                    return f"{place.path or self.model.name} has {count:,} {noun}."
        return ""


def _is_state(block: NamedBlock) -> bool:
    """Return whether a block has the arrays of an optimizer, and so nothing else."""
    while not block.parameters and block.blocks:
        block = block.blocks[0]
    return bool(block.parameters) and not block.parameters[0].is_parameter


def _item(places: list[Place], index: int) -> list[Place]:
    return [places[index]] if -len(places) <= index < len(places) else []
