"""Activation functions as options of layers: their base class, their registry, and how a document names one."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from paramctl.declare.located import Located, parse_call
from paramctl.declare.option_types import OptionType
from paramctl.declare.options import Configurable
from paramctl.model.layers.base import snake_case
from paramctl.model.layers.call import Array, NotComputed
from paramctl.model.layers.other_names import type_hint
from paramctl.model.layers.shapes import Sizes, axis_of
from paramctl.model.layers.torch_options import option_text, remark


class Function(Configurable):
    """An activation function with its options."""

    name: ClassVar[str] = ""
    keeps_shape: ClassVar[bool] = True
    torch_module: ClassVar[str] = ""
    """The class of torch.nn that computes the same; "" if it has none."""
    torch_arguments: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """The arguments of torch's class, by the option that they have the value of."""

    def __init_subclass__(cls, aliases: tuple[str, ...] = ()) -> None:
        super().__init_subclass__()
        cls.name = snake_case(cls.__name__)
        FUNCTIONS.update(dict.fromkeys((cls.name, *aliases), cls))

    def __str__(self) -> str:
        changed = {name: value for name, value in vars(self).items() if value != self.signature[name].default}
        values = ", ".join(f"{name}={option_text(value)}" for name, value in changed.items())
        return f"{self.name}({values})" if changed else self.name

    def output(self, shape: Sizes) -> Sizes:
        """Return the shape of the output. Raises ShapeError if its axis is out of range."""
        if "axis" in self.signature:  # softmax and others keep the shape, but their axis must exist
            axis_of(vars(self)["axis"], shape)
        return shape

    def compute(self, xp: Any, x: Array) -> Array:
        """Return the function of each value, or of each vector along its axis. xp: the namespace of the array."""
        raise NotComputed(f"{self.name} does not compute")

    def torch_text(self, axis: int | None = None) -> str:
        """Return the function as torch code writes it, or its name here if torch.nn lacks it.

        axis: in torch, of the function's axis; None if it is the same.
        """
        options = vars(self) if axis is None else vars(self) | {"axis": axis}
        if self.torch_module:
            values = ", ".join(f"{argument}={options[name]!r}" for name, argument in self.torch_arguments.items())
            return f"torch.nn.{self.torch_module}({values})"
        return f"{self} (not in torch.nn)"


FUNCTIONS: dict[str, type[Function]] = {}
"""Every activation function by its name in a document, including aliases."""


class ActivationType(OptionType):
    """A function's name, or its name with options. As an option of a layer it may not change the shape."""

    rule = "an activation function: a name, or a name with its options"
    takes_mapping = True

    def __init__(self, any_shape: bool = False) -> None:
        self.any_shape = any_shape

    def read(self, node: Located, name: str) -> Function:
        call = parse_call(node)
        if call is None:
            raise self.refuse(node, name)
        function, arguments = call
        cls = FUNCTIONS.get(str(function.value))
        if cls is None:
            raise function.error("unknown activation function", hint=type_hint(str(function.value), FUNCTIONS))
        # glu halves an axis, so a layer with units 8 would give 4 features.
        if not cls.keeps_shape and not self.any_shape:
            raise function.error(f"{cls.name} changes the shape, so it must be a separate layer")
        return cls.read_call(cls.name, function, arguments)

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/definitions/activation"}


def activated_shape(function: Function | None, shape: Sizes) -> Sizes:
    """Return the shape of a layer's output after its activation, if it has one."""
    return shape if function is None else function.output(shape)


def activate(function: Function | None, xp: Any, x: Array) -> Array:
    """Return a layer's output after its activation, if it has one."""
    return x if function is None else function.compute(xp, x)


def _applied(function: Function, layer: Any) -> str:
    """Return the note that torch code must apply a layer's activation, because modules with weights apply none."""
    axis = vars(function).get("axis")
    text = function.torch_text(None if axis is None else layer.torch_output_axis(axis))
    return f"apply {text} to its output" if function.torch_module != "Identity" else ""


APPLIED = remark(_applied)
"""The activation of a layer whose torch module applies none."""

Activation = Annotated[Function, ActivationType()]
AnyActivation = Annotated[Function, ActivationType(any_shape=True)]
