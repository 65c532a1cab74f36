"""The base class of every layer, and the registry of layers.

To add a layer, write one class in the module of its family. Its type in a document is its class name in snake_case.
Its options are its annotations; the first is the main one. Documents, errors, listings, man pages and the schema
follow from the class.

A layer does not know the model around it. Its methods take shapes (batch axis first, None for an unknown size) and give
its output shape, its parameters, the order of its output's features, and its torch counterpart. `compute` takes arrays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from paramctl.core.parameter import Parameter
from paramctl.declare.located import Located
from paramctl.declare.option_types import POSITIVE, ListType, OptionType
from paramctl.declare.options import Configurable, Option
from paramctl.model.layers.call import Array, Call, NotComputed
from paramctl.model.layers.flax import FlaxModule
from paramctl.model.layers.order import CHANNELS_FIRST, CHANNELS_LAST, PLAIN, UNKNOWN, Order, TorchInput
from paramctl.model.layers.shapes import ShapeError, Sizes
from paramctl.model.layers.torch import NoCounterpart, Shapes, TorchTensor
from paramctl.model.layers.torch_draws import InitCall
from paramctl.model.layers.torch_options import TorchOption, option_text, options

LAYERS: dict[str, type[Layer]] = {}
"""Every layer by its type in a document."""


KERAS_ONLY_LAYERS = frozenset(
    "activity_regularization additive_attention attention center_crop conv_lstm1d conv_lstm2d conv_lstm3d einsum_dense"
    " gru_cell input input_layer lambda lstm_cell resizing reversible_embedding rnn simple_rnn_cell"
    " spectral_normalization stacked_rnn_cells".split()
)
"""Keras layers that documents do not support; an error says so."""

SPATIAL_AXES = ("depth", "height", "width")


class ReferenceType(OptionType):
    """The name of an earlier output, which is a further input of the layer."""

    rule = "the name of an earlier layer"

    def read(self, node: Located, name: str) -> Located:
        if isinstance(node.value, str) and node.value:
            return node
        raise self.refuse(node, name)

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


Reference = Annotated[Located, ReferenceType()]


class Layer(Configurable):
    """A layer with its options. Subclasses declare the options as annotations.

    Subclasses override `parameters`, `macs`, `output`, `compute`, `channel_order` and `torch` where the defaults do not
    apply.
    """

    type: ClassVar[str] = ""
    input_axes: ClassVar[str] = "batch, ..."
    """The axes that its input must have, by name; ``...`` is any number of axes."""
    holds_layers: ClassVar[bool] = False
    arity: ClassVar[int | None] = 1
    """The number of inputs; None for any number from `least_inputs`."""
    least_inputs: ClassVar[int] = 2
    references: ClassVar[tuple[str, ...]] = ()
    """The options that name a further input. Its shape is passed as the keyword argument of that name."""
    in_keras: ClassVar[bool] = True
    """True if Keras has a layer of this type."""
    keras_class: ClassVar[str] = ""
    """The name under which Keras exports the class, if it differs from the class's own."""
    keras_trainable: ClassVar[bool] = True
    """True if the constructor of Keras' class takes ``trainable``, as most do."""
    keras_any_rank: ClassVar[bool] = True
    """True if Keras' layer, once built, takes inputs with another number of axes."""
    call_options: ClassVar[tuple[str, ...]] = ()
    """The options that Keras takes in a call of the layer, not in its constructor."""
    keeps_mask: ClassVar[bool] = False
    """True if the output has the mask of the first input, as where Keras' class has supports_masking."""
    torch_takes_flat: ClassVar[bool] = False
    """True if `torch` permutes parameters for an input that is a flattened feature map."""
    torch_module: ClassVar[str] = ""
    """The class of torch.nn that computes the same, with {} for the number of spatial axes."""
    torch_options: ClassVar[Mapping[str, TorchOption]] = options()
    """The fate of each option in torch, initializers aside; see torch_options.py."""
    rank: ClassVar[int] = 0
    """The number of spatial axes, in families with 1D, 2D and 3D layers; 0 in all others."""

    def __init_subclass__(cls, abstract: bool = False, rank: int | None = None) -> None:
        super().__init_subclass__()
        if rank is not None:
            cls.rank, cls.input_axes = rank, f"batch, {', '.join(SPATIAL_AXES[-rank:])}, channels"
            cls.signature = {name: for_rank(rank, option) for name, option in cls.signature.items()}
        cls.references = tuple(name for name, option in cls.signature.items() if isinstance(option.type, ReferenceType))
        if not abstract:
            cls.type = snake_case(cls.__name__)
            LAYERS[cls.type] = cls

    @classmethod
    def read(cls, subject: str, at: Located, arguments: Mapping[str, Located]) -> Self:
        # A seed or a regularizer in a config copied from Keras deserves more than "no such option".
        for name in arguments:
            if name not in cls.signature and is_keras_only_option(name):
                rule = f"{subject}: this option of Keras is not supported in a model document"
                raise at.key(name).error(rule, repr(name))
        return super().read(subject, at, arguments)

    @classmethod
    def check_axes(cls, shape: Sizes) -> None:
        """Raise ShapeError unless a shape has the axes that this layer requires of its input."""
        # "batch, ..., features" requires at least two axes, "batch, steps, features" exactly three.
        names = cls.input_axes.split(", ")
        least = len(names) - ("..." in names)
        if len(shape) < least or ("..." not in names and len(shape) > least):
            raise ShapeError(f"the input must have the axes ({cls.input_axes})")

    def parameters(self, *args: Any, **kwargs: Any) -> Iterable[Parameter]:
        """Return the parameters, given the shapes of the inputs; paths relative to the layer, in Keras' order."""
        return ()

    def output(self, *args: Any, **kwargs: Any) -> Sizes:
        """Return the shape of the output, given the shapes of the inputs. By default, the first input's shape."""
        shape: Sizes = args[0]
        return shape

    def macs(self, *args: Any, **kwargs: Any) -> int | None:
        """Return the multiply-accumulates for one example, given the shapes of the inputs; None if a size is unknown.

        They are the products of inputs with weights, and of inputs with each other as in attention, that the layer
        sums. Biases, activations, pooling, normalizations and other elementwise operations do not count, so the default
        is 0. tests/test_costs.py has the number of every layer.
        """
        return 0

    def compute(self, call: Call, *inputs: Array, **references: Array) -> Array:
        """Return the output for these inputs. references: further inputs by the names of their options.

        Raises NotComputed for inputs with which the layer computes nothing.
        """
        raise NotComputed(f"{self.type} does not compute")

    def used_references(self) -> list[str]:
        """Return the references that name a further input, in the order in which these follow the inputs."""
        return [name for name in self.references if getattr(self, name) is not None]

    def inference_cost(self) -> int:
        """Return the cost of inferring shapes for the budget of a document, beyond that of every layer."""
        return 0

    def mixes_examples(self, output: Sizes | None, inputs: Sequence[Sizes | None] = ()) -> bool:
        """Return whether an output depends on all examples of a batch even outside training.

        By default, if an axis of the layer or of its activation is the batch.
        output, inputs: the shapes of the output and of the inputs; None if unknown.
        """
        functions = (value for value in vars(self).values() if isinstance(value, Configurable))
        return any(_includes_batch(vars(each).get("axis"), output) for each in (self, *functions))

    def categories(self) -> int | None:
        """Return the number of valid integers of its input, from 0, if it looks them up."""
        return None

    def output_mask(self, call: Call, *inputs: Array, **references: Array) -> Array | None:
        """Return the mask of the output, or None if later layers skip no step."""
        return call.mask if self.keeps_mask else None

    def merge_layer(self) -> Layer | None:
        """Return the layer that merges the outputs of its branches; None if it has no branches."""
        return None

    def input_order(self, orders: Sequence[Order]) -> Order:
        """Return the order of the features that the parameters apply to. orders: of the inputs."""
        return orders[0]

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        """Return the order of the output's features in torch.

        By default, a layer over spatial axes gives a feature map, and any other keeps the order if it keeps the shape.

        orders, shapes: of the inputs. output: the shape of the output. A shape is None if it is unknown.
        """
        if self.rank:
            return UNKNOWN if orders[0] == UNKNOWN else self._spatial_order()
        return orders[0] if orders[0] == PLAIN or output == shapes[0] else UNKNOWN

    def required_order(self, shape: Sizes) -> Order | None:
        """Return the order that the layer's torch module requires of its input; None if it takes any.

        An input of the model has the order that the layers that read it require. shape: of the first input.
        """
        return self._spatial_order() if self.rank else None

    def _spatial_order(self) -> Order:
        return CHANNELS_FIRST if vars(self).get("data_format") == "channels_first" else CHANNELS_LAST

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterable[TorchTensor]:
        """Return the tensors of the torch.nn module that computes the same. Raises NoCounterpart if torch has none.

        shapes: of the parameters, by path relative to the layer. x: the first input.
        """
        raise NoCounterpart(f"torch.nn has no layer {self.type}")

    def torch_draws(self, tensors: Shapes) -> Iterable[InitCall]:
        """Return the calls of torch.nn.init in the constructor of the layer's module, in order.

        By default none: torch.nn has no such module, and torch code makes the tensors itself.

        tensors: the shapes of the tensors of `torch`, by name.
        """
        return ()

    def flax(self, shapes: Shapes) -> Iterable[FlaxModule]:
        """Return the modules of flax.linen that compute the same. Raises NoCounterpart if Flax has none.

        shapes: of the parameters, by path relative to the layer.
        """
        if shapes:
            raise NoCounterpart(f"Flax has no layer {self.type}")
        return ()

    def nnx(self, shapes: Shapes) -> Iterable[FlaxModule]:
        """Return the modules of flax.nnx that compute the same, as `flax` does."""
        return self.flax(shapes)

    def torch_tensors(self, shapes: Shapes, x: TorchInput) -> list[TorchTensor]:
        """Return the tensors of `torch`. Raises NoCounterpart also if the order of the input does not allow it."""
        supported = x.order.flat is None or self.torch_takes_flat
        if x.order == UNKNOWN:
            rule = "no layer says which axis of its input holds the channels"
            raise NoCounterpart(f"the order of the layer's input features in torch is unknown: {rule}")
        if not self.rank and not supported:
            raise NoCounterpart("the layer does not support flattened feature maps in torch's order")
        self.check_torch_options(x)
        return list(self.torch(shapes, x))

    def check_torch_options(self, x: TorchInput) -> None:
        """Raise NoCounterpart for an option with which torch's module computes something else. x: the first input."""
        for name, value, option in self._torch_values():
            if option.supports is not None and not option.supports(value):
                raise NoCounterpart(f"torch.nn.{self.torch_name(x)} does not support {name} {option_text(value)}")

    def torch_name(self, x: TorchInput) -> str:
        """Return the class of torch.nn that computes the same. x: the first input."""
        return self.torch_module.format(self.rank)

    def torch_arguments(self, x: TorchInput) -> dict[str, Any]:
        """Return the arguments of torch's module that the arrays do not carry, if they differ from its defaults."""
        values = {option.argument: option.argument_value(value) for _, value, option in self._torch_values()}
        return {name: value for name, value in values.items() if value is not None}

    def torch_remarks(self, x: TorchInput) -> Iterable[str]:
        """Yield the steps of torch code around the module with which it computes the same."""
        for _, value, option in self._torch_values():
            if option.remark and value != option.usual:
                text = option.remark
                note = text.format(option_text(value)) if isinstance(text, str) else text(value, self)
                yield from [note] if note else []

    def _torch_values(self) -> list[tuple[str, Any, TorchOption]]:
        """Return each option's name and value, and its fate in torch. Not all layers of a family have all options."""
        items = self.torch_options.items()
        return [(name, vars(self)[name], option) for name, option in items if name in self.signature]

    def torch_output_axis(self, axis: int) -> int:
        """Return the axis in torch of an axis of the output of a layer over spatial axes; of others, the same axis."""
        if not self.rank:
            return axis
        place = TorchInput(self._spatial_order(), (None,) * (self.rank + 2)).axis(axis)
        return axis if place is None else place

    def torch_notes(self, x: TorchInput) -> Iterable[str]:
        """Yield the settings with which torch code computes the same. x: the first input."""
        if arguments := self.torch_arguments(x):
            values = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
            yield f"set {values} in torch.nn.{self.torch_name(x)}"
        yield from self.torch_remarks(x)

    def keras_lacks(self) -> Iterable[str]:
        """Return the options of this layer with which Keras' class cannot be built, in words."""
        return ()

    def keras_arguments(self) -> dict[str, Any]:
        """Return the values of the options that Keras' constructor takes, by name."""
        return {name: getattr(self, name) for name in self.signature if name not in self.call_options}

    def keras_attributes(self, folders: Sequence[str]) -> list[str]:
        """Return the attributes of Keras' objects that lead to a part of this layer.

        folders: the names before the last in the part's path, relative to this layer.
        """
        return list(folders)


_KERAS_ONLY_OPTIONS = frozenset(
    "activity_regularizer autocast backward_layer batch_input_shape dtype flash_attention implementation"
    " input_dtype lora_alpha lora_rank quantization_config renorm renorm_clipping renorm_momentum return_state"
    " seed sparse stateful synchronized unroll use_cudnn weights".split()
)


def is_keras_only_option(option: str) -> bool:
    """Return whether a name is an option of Keras layers that changes no shape, value or output, and is unsupported."""
    return option in _KERAS_ONLY_OPTIONS or option.endswith(("_regularizer", "_constraint"))


def snake_case(name: str) -> str:
    """Return a class name in Keras' snake_case: ``Conv2D`` is conv2d, ``PReLU`` p_re_lu."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _includes_batch(axes: int | Sequence[int] | None, shape: Sizes | None) -> bool:
    """Return whether an option names the batch axis of a shape; of an unknown shape, whether it may."""
    # -2 is the batch of two axes, and no other shape's
    listed = () if axes is None else (axes,) if isinstance(axes, int) else axes
    return any(axis == 0 or (axis < -1 if shape is None else axis == -len(shape)) for axis in listed)


def default_scheme(name: str) -> Located:
    """Return a scheme as the default of an option: a node without a place in a document."""
    return Located(name)


class PerAxisType(ListType):
    """A value for each spatial axis, or one value for all. A subclass with a rank fixes the number of axes."""

    def __init__(self, rank: int | None = None, item: OptionType = POSITIVE) -> None:
        rule = item.rule if rank in (None, 1) else f"{item.rule} or a list of {rank}"
        super().__init__(item, rule, rank)

    def for_rank(self, rank: int) -> PerAxisType:
        """Return this type for a layer with this many spatial axes."""
        return type(self)(rank, self.item)


PerAxis = Annotated[tuple[int, ...], PerAxisType()]


def for_rank(rank: int, option: Option) -> Option:
    """Return an option as a layer with this many spatial axes has it: its type, and its default for each axis."""
    if not isinstance(option.type, PerAxisType):
        return option
    # strides (1,) of a family becomes (1, 1) in its 2D layer; None stays None.
    default = option.default * rank if option.default else option.default
    return option._replace(type=option.type.for_rank(rank), default=default)
