"""Activation functions, with Keras' names, options and defaults.

To add a function, write one class. Its name in a document is the class name in snake_case, its options are its
annotations, and its docstring is the formula.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from paramctl.declare.located import Located, parse_call
from paramctl.declare.option_types import Flag, Integer, NonNegative, Number, OptionType, Positive
from paramctl.declare.options import Configurable
from paramctl.model.layers.base import snake_case
from paramctl.model.layers.call import Array, NotComputed
from paramctl.model.layers.other_names import type_hint
from paramctl.model.layers.shapes import ShapeError, Sizes, axis_of
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
    return f"apply {text} to its output" if not isinstance(function, Linear) else ""


APPLIED = remark(_applied)
"""The activation of a layer whose torch module applies none."""

Activation = Annotated[Function, ActivationType()]
AnyActivation = Annotated[Function, ActivationType(any_shape=True)]


class Linear(Function):
    """x"""

    torch_module = "Identity"

    def compute(self, xp: Any, x: Array) -> Array:
        return x


class Relu(Function):
    """min(x, max_value) for x >= threshold, negative_slope * (x - threshold) below it"""

    negative_slope: NonNegative = 0.0
    max_value: NonNegative | None = None
    threshold: NonNegative = 0.0

    def compute(self, xp: Any, x: Array) -> Array:
        y = xp.where(x >= self.threshold, x, 0) if self.threshold else xp.relu(x)
        if self.max_value is not None:
            y = xp.where(y > self.max_value, self.max_value, y)
        if self.negative_slope:
            y = xp.where(x < self.threshold, self.negative_slope * (x - self.threshold), y)
        return y

    def torch_text(self, axis: int | None = None) -> str:
        return "torch.nn.ReLU()" if vars(self) == vars(Relu()) else super().torch_text()


class Relu6(Function):
    """min(max(x, 0), 6)"""

    torch_module = "ReLU6"


class LeakyRelu(Function):
    """x for x >= 0, negative_slope * x below 0"""

    torch_module = "LeakyReLU"
    torch_arguments = MappingProxyType({"negative_slope": "negative_slope"})
    negative_slope: Number = 0.2


class Elu(Function):
    """x for x >= 0, alpha * (exp(x) - 1) below 0"""

    torch_module = "ELU"
    torch_arguments = MappingProxyType({"alpha": "alpha"})
    alpha: Number = 1.0


class Celu(Function):
    """x for x >= 0, alpha * (exp(x / alpha) - 1) below 0"""

    torch_module = "CELU"
    torch_arguments = MappingProxyType({"alpha": "alpha"})
    alpha: Positive = 1.0


class Selu(Function):
    """1.0507 * elu(x, 1.6733)"""

    torch_module = "SELU"


class Gelu(Function):
    """x * Phi(x), where Phi is the standard normal CDF; approximate uses tanh"""

    approximate: Flag = False

    def torch_text(self, axis: int | None = None) -> str:
        return "torch.nn.GELU(approximate='tanh')" if self.approximate else "torch.nn.GELU()"


class Silu(Function, aliases=("swish",)):
    """x * sigmoid(x)"""

    torch_module = "SiLU"


class Mish(Function):
    """x * tanh(softplus(x))"""

    torch_module = "Mish"


class Glu(Function):
    """a * sigmoid(b), where a and b are the halves of x along an axis"""

    torch_module = "GLU"
    torch_arguments = MappingProxyType({"axis": "dim"})
    keeps_shape = False
    axis: Integer = -1

    def output(self, shape: Sizes) -> Sizes:
        axis = axis_of(self.axis, shape)
        size = shape[axis]
        if size is not None and size % 2:
            raise ShapeError(f"axis {axis} must have an even size")
        return (*shape[:axis], None if size is None else size // 2, *shape[axis + 1 :])


class Sigmoid(Function):
    """1 / (1 + exp(-x))"""

    torch_module = "Sigmoid"


class HardSigmoid(Function):
    """min(max(x / 6 + 1 / 2, 0), 1)"""

    torch_module = "Hardsigmoid"


class HardSilu(Function, aliases=("hard_swish",)):
    """x * hard_sigmoid(x)"""

    torch_module = "Hardswish"


class Tanh(Function):
    """tanh(x)"""

    def compute(self, xp: Any, x: Array) -> Array:
        return xp.tanh(x)

    torch_module = "Tanh"


class HardTanh(Function):
    """min(max(x, -1), 1)"""

    torch_module = "Hardtanh"


class TanhShrink(Function):
    """x - tanh(x)"""

    torch_module = "Tanhshrink"


class Softmax(Function):
    """exp(x) / sum(exp(x)) along an axis"""

    torch_module = "Softmax"
    torch_arguments = MappingProxyType({"axis": "dim"})
    axis: Integer = -1


class LogSoftmax(Function):
    """log(softmax(x)) along an axis"""

    torch_module = "LogSoftmax"
    torch_arguments = MappingProxyType({"axis": "dim"})
    axis: Integer = -1


class LogSigmoid(Function):
    """log(sigmoid(x))"""

    torch_module = "LogSigmoid"


class Sparsemax(Function):
    """Euclidean projection of x onto the probability simplex along an axis"""

    axis: Integer = -1


class SparsePlus(Function):
    """0 for x <= -1, x for x >= 1, (x + 1)^2 / 4 between"""


class SparseSigmoid(Function):
    """0 for x <= -1, 1 for x >= 1, (x + 1) / 2 between"""


class Softplus(Function):
    """log(1 + exp(x))"""

    torch_module = "Softplus"


class Softsign(Function):
    """x / (1 + |x|)"""

    torch_module = "Softsign"


class Squareplus(Function):
    """(x + sqrt(x^2 + b)) / 2"""

    b: Number = 4


class Exponential(Function):
    """exp(x)"""


class HardShrink(Function):
    """x where |x| > threshold, 0 elsewhere"""

    torch_module = "Hardshrink"
    torch_arguments = MappingProxyType({"threshold": "lambd"})
    threshold: NonNegative = 0.5


class SoftShrink(Function):
    """sign(x) * max(|x| - threshold, 0)"""

    torch_module = "Softshrink"
    torch_arguments = MappingProxyType({"threshold": "lambd"})
    threshold: NonNegative = 0.5


class Threshold(Function):
    """x where x > threshold, default_value elsewhere"""

    torch_module = "Threshold"
    torch_arguments = MappingProxyType({"threshold": "threshold", "default_value": "value"})
    threshold: Number
    default_value: Number
