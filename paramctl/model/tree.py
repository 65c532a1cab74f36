"""The model tree: blocks, the parameters they hold, and ties between parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from paramctl.address.places import Places
from paramctl.core.parameter import FLOAT_DTYPES, Parameter, bytes_of
from paramctl.declare.located import Located, Plain
from paramctl.model.display import Row, as_html, as_text
from paramctl.model.layers import Layer, Sizes


@dataclass(frozen=True, slots=True)
class Block:
    """A layer or a block of layers, at the place where the model applies it.

    path: names from the outermost block inward, joined by ``/``.
    type: the type's name in a document, such as ``dense``.
    output: the shape of its output, or None if unknown.
    inputs: the paths of the outputs it takes.
    parameters: the parameters it holds itself, in Keras' order.
    blocks: the blocks inside it.
    layer: the layer itself; in a block with branches, the layer that merges them.
    reuse_of: the path of the first use, if this block applies an earlier one again.
    input_ids, output_id, inner_ids: outputs by number. Unlike a path, a number belongs to one output only: a reused
        block has one path and several outputs. The model's inputs are -1, -2, ... inner_ids are the outputs of
        inner blocks that this block returns or merges.
    """

    path: str
    type: str
    output: Sizes | None
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    blocks: tuple[Block, ...] = ()
    layer: Layer | None = None
    reuse_of: str | None = None
    input_ids: tuple[int, ...] = ()
    output_id: int = 0
    inner_ids: tuple[int, ...] = ()

    def walk(self) -> Iterator[Block]:
        """Yield this block and the blocks inside it, outer before inner. A reuse does not repeat its inner blocks."""
        stack = [self]
        while stack:
            block = stack.pop()
            yield block
            if block.reuse_of is None:
                stack.extend(reversed(block.blocks))  # reversed, so that the first is popped first

    @property
    def unbuilt(self) -> bool:
        """True if the layer's parameters are unknown because the shape of its input is unknown."""
        is_layer = self.layer is not None and not self.layer.holds_layers
        return is_layer and self.output is None and self.reuse_of is None


def shape_text(shape: Sizes | None) -> str:
    """Return a shape as Keras prints it, ``(None, 4)``, or ``?`` if even the number of axes is unknown."""
    return "?" if shape is None else str(shape)


@dataclass(frozen=True, slots=True)
class Input:
    """An input of a model. shape: batch axis first; None if unknown."""

    name: str
    shape: Sizes | None
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Tie:
    """Two names for one array: ``tied`` has the values of ``kept``, or their transpose."""

    kept: str
    tied: str
    transpose: bool = False


def shared_text(kept: str, transpose: bool = False) -> str:
    """Return the words after a name for the name that keeps its array: ``= tokens/embeddings, transposed``.

    The name before the equals sign is always the one that is tied.
    """
    return f"= {kept}, transposed" if transpose else f"= {kept}"


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of values, with each array counted once, and bytes by dtype, as they are stored.

    known_trainable, known_non_trainable, unknown: values that are trained, that are not, and for which the file does
        not record it.
    """

    known_trainable: int
    known_non_trainable: int
    bytes: dict[str, int]
    unknown: int = 0

    @property
    def parameters(self) -> int:
        return self.known_trainable + self.known_non_trainable + self.unknown

    @property
    def trainable(self) -> int | None:
        """The number of values that are trained; None if the file does not record it for every value."""
        return None if self.unknown else self.known_trainable

    @property
    def non_trainable(self) -> int | None:
        """The number of values that are not trained; None if the file does not record it for every value."""
        return None if self.unknown else self.known_non_trainable

    @property
    def any_known(self) -> bool:
        """False if the file does not record for any of the values whether it is trained."""
        return not self.unknown or self.unknown < self.parameters


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a model document, with the values given for its variables and inputs, to build the model again."""

    text: str
    name: str
    variables: Mapping[str, Plain]
    input_shapes: tuple[tuple[str | None, Plain], ...]
    source: str = field(default="", compare=False)
    """The file it was read from, for the positions in errors."""


@dataclass(frozen=True, repr=False)
class Model:
    """The structure of a model: its blocks, parameters, and ties, without values.

    output_ids: the outputs by number, as in Block.
    initializers: (pattern, scheme) pairs. The first pattern that matches a parameter applies.
    seed: the document's seed, if any.
    order: the items of the order in which a program constructs the layers; see conversion.exact.order.
    document: the document it was built from, if known.
    """

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    blocks: tuple[Block, ...]
    ties: tuple[Tie, ...] = ()
    initializers: tuple[tuple[str, Located], ...] = ()
    seed: int | None = None
    order: tuple[str, ...] = ()
    document: Document | None = None
    separator: str = "/"
    """Separates the names in a path: ``/``, or ``.`` in a checkpoint whose names contain no slash."""
    output_ids: tuple[int, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    """The names in the file of parameters that have another name here. Addresses may use both."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """The kind of everything in the file that is not an array of numbers, by name: ``text``, ``a soft link``."""
    optimizer: Collection[str] = ()
    """The names of the arrays of an optimizer in the file, which this model leaves out."""

    def map_parameters(self, change: Callable[[Parameter], Parameter]) -> Model:
        """Return this model with ``change`` applied to each parameter. ``change`` must keep the path."""
        return replace(self, blocks=tuple(_map_block(block, change) for block in self.blocks))

    def with_dtype(self, dtype: str | None) -> Model:
        """Return this model with its floating-point parameters in another dtype, or unchanged for None."""
        if dtype is None:
            return self
        return self.map_parameters(
            lambda parameter: (
                replace(parameter, dtype=dtype, encoding=None) if parameter.dtype in FLOAT_DTYPES else parameter
            )
        )

    def without_optimizer(self) -> Model:
        """Return this model without the arrays of an optimizer, and without the blocks that have nothing else."""
        if all(parameter.is_parameter for parameter in self.parameters.values()):
            return self
        return replace(self, blocks=tuple(_parameters_of(self.blocks)))

    def walk(self) -> Iterator[Block]:
        """Yield every block in the order of the document, outer before inner."""
        for block in self.blocks:
            yield from block.walk()

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """All parameters by path, including tied ones, in the order of the document."""
        return {parameter.path: parameter for block in self.walk() for parameter in block.parameters}

    @cached_property
    def places(self) -> Places:
        """The places that addresses lead to."""
        return Places(self)

    @cached_property
    def tied(self) -> dict[str, Tie]:
        """The ties by their tied path."""
        return {tie.tied: tie for tie in self.ties}

    @cached_property
    def first_names(self) -> dict[str, str]:
        """The first path of each tied array in the order of the document, by its kept path."""
        # a document may keep the name of a later layer: {keep: decoder/kernel, tie: encoder/kernel}
        order = {path: position for position, path in enumerate(self.parameters)}
        first: dict[str, str] = {}
        for tie in self.ties:
            first[tie.kept] = min(first.get(tie.kept, tie.kept), tie.tied, key=order.__getitem__)
        return first

    def owner(self, path: str) -> Parameter:
        """Return the parameter that holds the values of this path: its own, or the one it is tied to."""
        tie = self.tied.get(path) if self.ties else None
        return self.parameters[tie.kept if tie else path]

    def counted_at(self, path: str) -> str:
        """Return the path at which this parameter's array is counted: the first of its names."""
        if not self.ties:  # as most files of many arrays
            return path
        kept = self.owner(path).path
        return self.first_names.get(kept, kept)

    def owners(self) -> Iterator[Parameter]:
        """Yield each stored array once."""
        return (parameter for path, parameter in self.parameters.items() if path not in self.tied)

    @property
    def unbuilt(self) -> int:
        """The number of layers whose parameters are unknown because an input shape is unknown."""
        return sum(block.unbuilt for block in self.walk())

    def __repr__(self) -> str:
        return as_text(*self._display())

    def _repr_html_(self) -> str:
        return as_html(*self._display())

    def _display(self) -> tuple[str, list[Row], str]:
        """Return a heading, a row for each block, and the totals. A shared array counts where it comes first."""
        inputs = ", ".join(f"{tensor.name} {shape_text(tensor.shape)}" for tensor in self.inputs)
        counted = (
            each for path, each in self.parameters.items() if each.is_parameter and self.counted_at(path) == path
        )
        sizes = {parameter.path: parameter.size for parameter in counted}
        rows: list[Row] = []
        stack = [(1, block) for block in reversed(self.blocks)]
        while stack:
            depth, block = stack.pop()
            reused = block.reuse_of is not None
            inner = [] if reused else list(block.walk())
            count = sum(sizes.get(parameter.path, 0) for each in inner for parameter in each.parameters)
            words = (
                f"0 (= {block.reuse_of})" if reused else "?" if any(each.unbuilt for each in inner) else f"{count:,}"
            )
            rows.append(Row(depth, block.path, block.type, shape_text(block.output) if self.inputs else "", words))
            stack += [(depth + 1, child) for child in reversed(block.blocks)] if not reused else []
        return f"{self.name}: {inputs}" if inputs else self.name, rows, self._total_text()

    def _total_text(self) -> str:
        if self.unbuilt:
            return "Total parameters: ? (the shape of an input is unknown)"
        counts = totals(self.owners())
        known = f"{counts.known_trainable:,} trainable" if counts.any_known else ""
        unknown = f"{counts.unknown:,} unknown" if known and counts.unknown else ""
        words = f" ({', '.join(filter(None, (known, unknown)))})" if known else ""
        return f"Total parameters: {counts.parameters:,}{words}, {sum(counts.bytes.values()):,} bytes"


def _map_block(block: Block, change: Callable[[Parameter], Parameter]) -> Block:
    if block.reuse_of is not None:  # the first use holds the parameters
        return block
    return replace(
        block,
        parameters=tuple(map(change, block.parameters)),
        blocks=tuple(_map_block(inner, change) for inner in block.blocks),
    )


def _parameters_of(blocks: Iterable[Block]) -> Iterator[Block]:
    for block in blocks:
        held = [parameter.is_parameter for each in block.walk() for parameter in each.parameters]
        if all(held):
            yield block
        elif any(held):
            kept = tuple(parameter for parameter in block.parameters if parameter.is_parameter)
            yield replace(block, parameters=kept, blocks=tuple(_parameters_of(block.blocks)))


def totals(parameters: Iterable[Parameter], counts: Mapping[str, int] | None = None) -> Totals:
    """Return the totals of distinct parameters, without the arrays of an optimizer.

    counts: the number of values by path, where it is not the size.
    """
    trainable = other = unknown = 0
    by_dtype: dict[str, int] = {}
    for parameter in parameters:
        if not parameter.is_parameter:
            continue
        dtype = parameter.stored_dtype
        size = parameter.size
        # that of the property, without another product
        stored = parameter.stored_bytes if parameter.encoding else bytes_of(dtype, size)
        by_dtype[dtype] = by_dtype.get(dtype, 0) + stored
        if counts:
            size = counts.get(parameter.path, size)
        if parameter.trainable:
            trainable += size
        elif parameter.trainable is None:  # the file does not record it
            unknown += size
        else:
            other += size
    return Totals(trainable, other, by_dtype, unknown)
