"""What every layer is: declared options, parameters, an output shape, and a place in the registry.

To add a layer, write one class in the module of its kind and nothing else. Its type in a document
is the snake_case of its name, its options are its annotations (the first is the main one), and the
rest of paramctl (documents, errors, listings, man pages, schema) knows it from here.

Shapes begin with the batch axis, and None is a size not known. What a layer computes will be
a third method beside the two, ``compute(self, xp, parameters, *inputs)``, handed an array namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self, TypeAlias

from paramctl.core.parameter import Parameter
from paramctl.declare.located import Located
from paramctl.declare.option_types import POSITIVE, ListType, OptionType
from paramctl.declare.options import Configurable, Option

Sizes: TypeAlias = tuple[int | None, ...]
"""A shape: the sizes of the axes, the batch first."""

LAYERS: dict[str, type[Layer]] = {}
"""Every type of layer by its name in a document."""


KERAS_ONLY_LAYERS = frozenset(
    "activity_regularization additive_attention attention center_crop conv_lstm1d conv_lstm2d conv_lstm3d einsum_dense"
    " gru_cell input input_layer lambda lstm_cell normalization resizing reversible_embedding rnn simple_rnn_cell"
    " spectral_normalization stacked_rnn_cells".split()
)
"""Layers of Keras that people may look for here and not find."""

SPACE = ("depth", "height", "width")


class ShapeError(ValueError):
    """What a layer asks of its inputs; the builder adds which inputs it got."""


class ReferenceType(OptionType):
    """The name of an earlier output, an input of the layer beside the one before it."""

    rule = "the name of an earlier layer"

    def read(self, node: Located, name: str) -> Located:
        if isinstance(node.value, str) and node.value:
            return node
        raise self.refuse(node, name)

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


Reference = Annotated[Located, ReferenceType()]


class Layer(Configurable):
    """A layer with its options read. Subclasses declare options as annotations."""

    type: ClassVar[str] = ""
    input_axes: ClassVar[str] = "batch, ..."
    """The axes its input must have, by name; ``...`` is any number of axes."""
    holds_layers: ClassVar[bool] = False
    arity: ClassVar[int | None] = 1
    """How many inputs it takes; None for two or more."""
    references: ClassVar[tuple[str, ...]] = ()
    """Which options name a further input; its shape comes as an argument of that name."""
    in_keras: ClassVar[bool] = True
    """Whether Keras has a layer of this type."""
    keras_class: ClassVar[str] = ""
    """The name under which Keras exports the class, if it differs from the class's own."""
    call_options: ClassVar[tuple[str, ...]] = ()
    """The options that Keras takes in a call of the layer, not in its constructor."""
    rank: ClassVar[int] = 0
    """Over how many axes of space it works, in the families that come in one to three."""

    def __init_subclass__(cls, abstract: bool = False, rank: int | None = None) -> None:
        super().__init_subclass__()
        if rank is not None:
            cls.rank, cls.input_axes = rank, f"batch, {', '.join(SPACE[-rank:])}, channels"
            cls.signature = {name: for_rank(rank, option) for name, option in cls.signature.items()}
        kinds = {name: option.type for name, option in cls.signature.items()}
        cls.references = tuple(name for name, kind in kinds.items() if isinstance(kind, ReferenceType))
        if not abstract:
            cls.type = snake_case(cls.__name__)
            LAYERS[cls.type] = cls

    def parameters(self, *args: Any, **kwargs: Any) -> Iterable[Parameter]:
        """Its parameters, given the shapes of its inputs, named relative to it, in Keras' order."""
        return ()

    @classmethod
    def read(cls, what: str, at: Located, given: Mapping[str, Located]) -> Self:
        for name in given:
            if name not in cls.signature and is_keras_only_option(name):
                rule = f"{what}: this option of Keras is not supported in a model document"
                raise at.key(name).error(rule, repr(name))
        return super().read(what, at, given)

    def output(self, *args: Any, **kwargs: Any) -> Sizes:
        """The shape of its output, given the shapes of its inputs: here the first input's."""
        shape: Sizes = args[0]
        return shape

    def merge_layer(self) -> Layer | None:
        """Return the layer that merges the outputs of its branches; None if it has no branches."""
        return None

    def keras_attributes(self, folders: Sequence[str]) -> list[str]:
        """Return the attributes of Keras' objects that lead to a part of this layer.

        folders: the names before the last in the part's path, relative to this layer.
        """
        return list(folders)

    @classmethod
    def check_axes(cls, shape: Sizes) -> None:
        """Raise ShapeError unless a shape has the axes that this layer declares."""
        names = cls.input_axes.split(", ")
        least = len(names) - ("..." in names)
        if len(shape) < least or ("..." not in names and len(shape) > least):
            raise ShapeError(f"its input must have the axes ({cls.input_axes})")


_LEFT_OUT = frozenset(
    "activity_regularizer autocast backward_layer batch_input_shape dtype flash_attention implementation"
    " input_dtype lora_alpha lora_rank quantization_config renorm renorm_clipping renorm_momentum return_state"
    " seed sparse stateful synchronized unroll use_cudnn weights".split()
)


def is_keras_only_option(option: str) -> bool:
    """Whether a layer of Keras may have this option though none here has: it changes no shape, value or output."""
    return option in _LEFT_OUT or option.endswith(("_regularizer", "_constraint"))


def snake_case(name: str) -> str:
    """A class' name as Keras writes it in small letters: ``Conv2D`` is conv2d, ``PReLU`` p_re_lu."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def known_size(shape: Sizes, axis: int) -> int:
    """The size of an axis that a parameter's shape depends on."""
    size = shape[axis]
    if size is None:
        where = "last axis" if axis == -1 else f"axis {axis}"
        raise ShapeError(f"the size of its input's {where} must be known")
    return size


def axis_of(axis: int, shape: Sizes) -> int:
    """An axis counted from the front, the batch being 0; -1 is the last."""
    if not -len(shape) <= axis < len(shape):
        raise ShapeError(f"its axis {axis} does not exist")
    return axis % len(shape)


def axes_of(axes: Iterable[int], shape: Sizes) -> list[int]:
    """Several axes counted from the front, none of them twice."""
    counted = [axis_of(axis, shape) for axis in axes]
    if len(set(counted)) < len(counted):
        raise ShapeError(f"its axes {counted} name one twice")
    return counted


def default_scheme(name: str) -> Located:
    """A scheme as a layer's default: a node that nobody wrote."""
    return Located(name)


class PerAxisType(ListType):
    """A size for each axis of space, or one for all; how many there are, the subclass' rank says."""

    def __init__(self, rank: int | None = None, item: OptionType = POSITIVE) -> None:
        rule = item.rule if rank in (None, 1) else f"{item.rule} or a list of {rank}"
        super().__init__(item, rule, rank)

    def over(self, rank: int) -> PerAxisType:
        """This kind for a layer over so many axes."""
        return type(self)(rank, self.item)


PerAxis = Annotated[tuple[int, ...], PerAxisType()]


def for_rank(rank: int, option: Option) -> Option:
    """An option as a layer over so many axes of space has it: its kind and its default for each axis."""
    if not isinstance(option.type, PerAxisType):
        return option
    default = option.default * rank if option.default else option.default
    return option._replace(type=option.type.over(rank), default=default)
