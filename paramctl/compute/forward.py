"""The forward pass: each step of a graph computes its output from those of earlier steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from paramctl.compute.graph import Graph, Step
from paramctl.errors import InputError
from paramctl.model import Tie
from paramctl.model.layers import ShapeError
from paramctl.model.layers.call import Array, Call, NotComputed

Observer = Callable[[Step, Array], Array]
"""Is given the output of each step, and returns the one that later steps take, usually the same."""

Shapes = tuple[tuple[int, ...], ...]
"""Of the inputs of a step."""


class Turn(NamedTuple):
    """A step in a pass. sources: the numbers of its inputs. is_used: True if a later step takes its output.

    last: the inputs that no later step takes. They are dropped, so memory holds only values in use.
    """

    step: Step
    sources: Sequence[int]
    is_used: bool
    last: Collection[int]


def schedule(graph: Graph, targets: Sequence[int]) -> list[Turn]:
    """Return the steps of a pass that returns these outputs, in order."""
    needed = set(map(graph.source, targets))
    turns = []
    for step in reversed(graph.steps):
        sources = [graph.source(number) for number in step.inputs]
        last = set(sources) - needed
        turns.append(Turn(step, sources, step.output in needed, last))
        needed |= last
    return turns[::-1]


@dataclass
class Pass:
    """One pass over a graph.

    xp: the namespace of the arrays. arrays: returns the arrays of a step, by path relative to its layer.
    training, random: as in Call. ties: of the model, by the path of the tied parameter; needed in training only.
    updates: the new values of parameters that are state, by the paths that keep them. A later use starts from them.
    output_masks: the masks of the outputs that the last run returned, by number.
    """

    graph: Graph
    xp: Any
    arrays: Callable[[Step], Mapping[str, Array]]
    training: bool = False
    random: Any = None
    ties: Mapping[str, Tie] = field(default_factory=dict)
    updates: dict[str, Array] = field(default_factory=dict)
    output_masks: dict[int, Array | None] = field(default_factory=dict)
    _checked: dict[int, set[Shapes]] = field(default_factory=dict)
    _schedules: dict[tuple[int, ...], Sequence[Turn]] = field(default_factory=dict)

    def run(
        self, inputs: Mapping[str, Array], wanted: Iterable[int] | None = None, observe: Observer | None = None
    ) -> dict[int, Array]:
        """Return outputs by number. An output is dropped as soon as no later step takes it.

        inputs: by name. wanted: the numbers of the outputs to return; the model's by default.
        Raises InputError for an input that a layer cannot take, with the layer.
        """
        graph = self.graph
        targets = tuple(dict.fromkeys(graph.outputs if wanted is None else wanted))
        if targets not in self._schedules:
            self._schedules[targets] = schedule(graph, targets)
        values = {number: inputs[name] for number, name in graph.inputs.items()}
        masks: dict[int, Array | None] = {}
        for step, sources, is_used, last in self._schedules[targets]:
            output, mask = self.apply(step, [values[source] for source in sources], [*map(masks.get, sources)])
            if observe is not None:
                output = observe(step, output)
            if is_used:
                values[step.output], masks[step.output] = output, mask
            for source in last:
                values.pop(source, None)
        self.output_masks = {number: masks.get(graph.source(number)) for number in targets}
        return {number: values[graph.source(number)] for number in targets}

    def apply(self, step: Step, inputs: list[Array], masks: list[Array | None]) -> tuple[Array, Array | None]:
        """Return the output of a step, and its mask."""
        layer, names = step.layer, step.references
        count = len(inputs) - len(names)
        references = dict(zip(names, inputs[count:], strict=True))
        call = Call(self.xp, self._current(step), self.training, masks, self.random, trainable=step.trainable)
        try:
            self._check(step, tuple([value.shape for value in inputs]), count)
            output = layer.compute(call, *inputs[:count], **references)
            mask = layer.output_mask(call, *inputs[:count], **references)
        except NotComputed as error:
            raise InputError(f"{step.path}: {error}") from error  # the message has the value
        except ShapeError as error:
            shapes = " and ".join(str(value.shape) for value in inputs)
            raise InputError(f"{step.path}: {error} (got {shapes})") from error
        for name, value in call.updates.items():
            kept, transposed = self._kept(step.parameters[name])
            self.updates[kept] = self.xp.transpose(value) if transposed else value
        return output, mask

    def _check(self, step: Step, shapes: Shapes, count: int) -> None:
        """Check the shapes of a step's inputs, which have the sizes that the document leaves open. Raises ShapeError.

        count: of the inputs that precede the references. Each combination of shapes is checked once.
        """
        checked = self._checked.setdefault(step.output, set())
        if shapes not in checked:
            for shape in shapes:
                step.layer.check_axes(shape)
            step.layer.output(*shapes[:count], **dict(zip(step.references, shapes[count:], strict=True)))
            checked.add(shapes)

    def _current(self, step: Step) -> Mapping[str, Array]:
        """Return the arrays of a step, with the updates of earlier steps: a shared layer updates its state in turn."""
        arrays = self.arrays(step)
        if not self.updates:
            return arrays
        current = dict(arrays)
        for name, path in step.parameters.items():
            kept, transposed = self._kept(path)
            if kept in self.updates:
                value = self.updates[kept]
                current[name] = self.xp.transpose(value) if transposed else value
        return current

    def _kept(self, path: str) -> tuple[str, bool]:
        """Return the path that keeps an array, and whether it is transposed there."""
        tie = self.ties.get(path)
        return (path, False) if tie is None else (tie.kept, tie.transpose)
