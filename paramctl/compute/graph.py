"""The order in which a model computes: a step for each application of a layer, blocks unfolded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from paramctl.model import Block, Model
from paramctl.model.layers import Layer, Sizes


@dataclass(frozen=True, slots=True)
class Step:
    """One application of a layer. A shared layer has several.

    path: of the block that applies it. layer: itself; in a block with branches, the layer that merges them.
    inputs, output: by number, as in Block; references come last.
    parameters: the path of each parameter in the model, by its path relative to the layer.
    shape, input_shapes: of the output and of the inputs, as the model declares them; None if unknown.
    trainable: False if the layer has parameters to train, and all are frozen.
    """

    path: str
    layer: Layer
    inputs: tuple[int, ...]
    output: int
    parameters: Mapping[str, str]
    shape: Sizes | None
    trainable: bool = True
    input_shapes: tuple[Sizes | None, ...] = ()

    @property
    def mixes_examples(self) -> bool:
        """True if the output depends on all examples of a batch even outside training."""
        return self.layer.mixes_examples(self.shape, self.input_shapes)

    @property
    def references(self) -> list[str]:
        """The options that name the last of its inputs."""
        return self.layer.used_references()


@dataclass(frozen=True, slots=True)
class Graph:
    """The steps of a model in order, and the outputs of its blocks.

    aliases: by the number of a block's output, the output within it that it returns.
    paths: the path of the block of each output, in the order of the document. A block applied again has several.
    inputs: the name of each input of the model, by number. outputs: the numbers of its outputs.
    """

    steps: Sequence[Step]
    aliases: Mapping[int, int]
    paths: Mapping[int, str]
    inputs: Mapping[int, str]
    outputs: tuple[int, ...]

    def source(self, output: int) -> int:
        """Return the number of the output of a step or of the model's input that is returned as this one."""
        while output in self.aliases:
            output = self.aliases[output]
        return output


def numbered(path: str, number: int, taken: Collection[str]) -> str:
    """Return the name of one use of a path, such as ``PATH#2``, or with the next number of a name that is not taken."""
    return next(name for n in count(number) if (name := f"{path}#{n}") not in taken)


def graph_of(model: Model) -> Graph:
    """Return the steps of a model, whose layers must be known."""
    return _Unfolding(model).graph()


class _Unfolding:
    """The unfolding of one model's blocks."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.first = {block.path: block for block in model.walk() if block.reuse_of is None}
        self.aliases: dict[int, int] = {}
        self.paths: dict[int, str] = {}
        self.shapes = {-1 - place: declared.shape for place, declared in enumerate(model.inputs)}

    def graph(self) -> Graph:
        steps = [*self.steps(self.model.blocks, "", "")]
        inputs = {-1 - place: declared.name for place, declared in enumerate(self.model.inputs)}
        return Graph(steps, self.aliases, self.paths, inputs, self.model.output_ids)

    def steps(self, blocks: Sequence[Block], path: str, first: str) -> Iterator[Step]:
        """Yield the steps of blocks.

        path, first: of the block around them, and of its first use, which holds the parameters.
        """
        for block in blocks:
            at = block.reuse_of or first + block.path.removeprefix(path)
            self.paths[block.output_id], self.shapes[block.output_id] = block.path, block.output
            if not block.inner_ids:
                assert block.layer is not None
                held = self.first[at].parameters
                names = {parameter.path.removeprefix(f"{at}/"): parameter.path for parameter in held}
                # state is never trained, so it does not show that a layer is frozen
                trained = [parameter.trainable for parameter in held if parameter.kind != "state"]
                trainable = not trained or any(value is not False for value in trained)
                inputs, number = block.input_ids, block.output_id
                shapes = tuple(map(self.shapes.get, inputs))
                yield Step(block.path, block.layer, inputs, number, names, block.output, trainable, shapes)
                continue
            yield from self.steps(block.blocks, block.path, at)
            merge = block.layer.merge_layer() if block.layer is not None else None
            if merge is None:
                self.aliases[block.output_id] = block.inner_ids[0]
            else:
                yield Step(block.path, merge, block.inner_ids, block.output_id, {}, block.output)
