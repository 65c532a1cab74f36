"""The tree: blocks, their parameters, and which of them are one array under two names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from paramctl.core.parameter import FLOAT_DTYPES, Parameter
from paramctl.declare.located import Located, Plain
from paramctl.model.layers import Layer, Sizes


@dataclass(frozen=True, slots=True)
class Block:
    """A layer, or a block of layers, where it is applied.

    path: its name, below those of the blocks around it. type: what a document calls it.
    output: the shape of its output, None where not known. inputs: the paths of the outputs it
    takes. parameters: its own, in Keras' order. blocks: what it holds. layer: the layer itself,
    or, in a block with branches, what merges them. reuse_of: the path under which its
    parameters stand, if it is applied again.

    takes and gives: the same outputs by their numbers, which are unique where a path is not, a model's
    inputs being -1, -2, ... ends: in what holds blocks, the numbers of those outputs that it gives, or merges.
    """

    path: str
    type: str
    output: Sizes | None
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    blocks: tuple[Block, ...] = ()
    layer: Layer | None = None
    reuse_of: str | None = None
    takes: tuple[int, ...] = ()
    gives: int = 0
    ends: tuple[int, ...] = ()

    def walk(self) -> Iterator[Block]:
        """This block and all in it, each before what it holds; not what stands elsewhere already."""
        stack = [self]
        while stack:
            block = stack.pop()
            yield block
            if block.reuse_of is None:
                stack.extend(reversed(block.blocks))

    @property
    def unbuilt(self) -> bool:
        """Whether its parameters are not known, for want of its input's shape."""
        is_layer = self.layer is not None and not self.layer.holds_layers
        return is_layer and self.output is None and self.reuse_of is None


def shape_text(shape: Sizes | None) -> str:
    """A shape as Keras prints it, ``(None, 4)``; ``?`` where not even the number of axes is known."""
    return "?" if shape is None else str(shape)


@dataclass(frozen=True, slots=True)
class Input:
    """What a model is given: its shape, the batch first, None if not known; and its dtype."""

    name: str
    shape: Sizes | None
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Tie:
    """One array with two names; the values are kept's. transpose: the other is its transpose."""

    kept: str
    tied: str
    transpose: bool = False


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers of values, each array counted once, and bytes by dtype."""

    trainable: int
    non_trainable: int
    bytes: dict[str, int]
    unknown: int = 0
    """Of how many values the file they are in does not say whether they are trained."""

    @property
    def parameters(self) -> int:
        return self.trainable + self.non_trainable + self.unknown


@dataclass(frozen=True, slots=True)
class Document:
    """A model document as it was written, and what was said beside it, so that the same model can be built again."""

    text: str
    name: str
    variables: Mapping[str, Plain]
    input_shapes: tuple[tuple[str | None, Plain], ...]


@dataclass(frozen=True, slots=True)
class KerasLayout:
    """Where Keras' own file keeps each parameter, and, by its path in the file, what each object calls itself.

    config: the text of Keras' configuration, if that was there too.
    """

    variables: Mapping[str, str]
    names: Mapping[str, str]
    config: str | None = None


@dataclass(frozen=True)
class Model:
    """A model document, built: which parameters there are, and nothing of their values.

    gives: the numbers of the outputs, as in Block. initializers: (pattern, scheme) for the whole model, the first that
    matches counts. seed: what the document says, or None. document: what it was built from, if that is known.
    """

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    blocks: tuple[Block, ...]
    ties: tuple[Tie, ...] = ()
    initializers: tuple[tuple[str, Located], ...] = ()
    seed: int | None = None
    document: Document | None = None
    separator: str = "/"
    """What joins the names in a path: ``.`` in a file whose names hold no slash."""
    gives: tuple[int, ...] = ()
    stored: Mapping[str, str] = field(default_factory=dict)
    """What a file calls those parameters that have another name here."""
    origin: Document | None = None
    """The document of a model that these parameters are of, in another layout or under other names."""
    keras: KerasLayout | None = None
    """Where Keras kept the parameters, if it was Keras that wrote them."""

    def of(self, change: Callable[[Parameter], Parameter]) -> Model:
        """This model with each of its parameters changed, but for its path."""
        return replace(self, blocks=tuple(_changed(block, change) for block in self.blocks))

    def with_dtype(self, dtype: str | None) -> Model:
        """This model with its floating-point arrays in another dtype, as it is for None."""
        if dtype is None:
            return self
        return self.of(lambda each: replace(each, dtype=dtype) if each.dtype in FLOAT_DTYPES else each)

    def walk(self) -> Iterator[Block]:
        """Every block, each before what it holds, in the order of the document."""
        for block in self.blocks:
            yield from block.walk()

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Every parameter by its path, tied ones too, in the order of the document."""
        return {parameter.path: parameter for block in self.walk() for parameter in block.parameters}

    @cached_property
    def tied(self) -> dict[str, Tie]:
        """The ties by the path that is not kept."""
        return {tie.tied: tie for tie in self.ties}

    @cached_property
    def first_names(self) -> dict[str, str]:
        """For each kept path of a tie, the name under which the array first stands and is counted."""
        order = {path: position for position, path in enumerate(self.parameters)}
        first: dict[str, str] = {}
        for tie in self.ties:
            first[tie.kept] = min(first.get(tie.kept, tie.kept), tie.tied, key=order.__getitem__)
        return first

    def owner(self, path: str) -> Parameter:
        """The parameter whose values this path has: itself, or the one it is tied to."""
        tie = self.tied.get(path)
        return self.parameters[tie.kept if tie else path]

    def counted_at(self, path: str) -> str:
        """The path at which this parameter's array is counted: its own, or an earlier name for it."""
        kept = self.owner(path).path
        return self.first_names.get(kept, kept)

    def owners(self) -> Iterator[Parameter]:
        """Each stored array once."""
        return (parameter for path, parameter in self.parameters.items() if path not in self.tied)

    @property
    def unbuilt(self) -> int:
        """How many layers wait for the shape of an input."""
        return sum(block.unbuilt for block in self.walk())


def _changed(block: Block, change: Callable[[Parameter], Parameter]) -> Block:
    if block.reuse_of is not None:  # its parameters are those of the block that stands first
        return block
    return replace(
        block,
        parameters=tuple(map(change, block.parameters)),
        blocks=tuple(_changed(inner, change) for inner in block.blocks),
    )


def totals(parameters: Iterable[Parameter]) -> Totals:
    """The totals of parameters, each given once."""
    trainable = other = unknown = 0
    by_dtype: Counter[str] = Counter()
    for parameter in parameters:
        by_dtype[parameter.dtype] += parameter.bytes
        if parameter.trainable:
            trainable += parameter.size
        elif parameter.trainable is None:
            unknown += parameter.size
        else:
            other += parameter.size
    return Totals(trainable, other, dict(by_dtype), unknown)
