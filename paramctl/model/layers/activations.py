"""Activation functions: Keras' names, options and defaults.

To add one, write one class: its name in a document is the snake_case of the class' name, its
options are its annotations, and its docstring is the formula.
"""

from typing import Annotated, Any, ClassVar

from paramctl.declare.located import Located, parse_call
from paramctl.declare.option_types import Flag, Integer, NonNegative, Number, OptionType, Positive
from paramctl.declare.options import Configurable
from paramctl.errors import suggest
from paramctl.model.layers.base import ShapeError, Sizes, axis_of, snake_case


class Function(Configurable):
    """An activation function with its options read."""

    name: ClassVar[str] = ""
    keeps_shape: ClassVar[bool] = True

    def __init_subclass__(cls, also: tuple[str, ...] = ()) -> None:
        super().__init_subclass__()
        cls.name = snake_case(cls.__name__)
        FUNCTIONS.update(dict.fromkeys((cls.name, *also), cls))

    def output(self, shape: Sizes) -> Sizes:
        """The shape of what it gives; ShapeError if it works along an axis that there is not."""
        if "axis" in self.signature:
            axis_of(vars(self)["axis"], shape)
        return shape


FUNCTIONS: dict[str, type[Function]] = {}
"""Every activation function by its name in a document, aliases included."""


class ActivationType(OptionType):
    """A function's name, or its name with options. Within a layer it may not change the shape."""

    rule = "an activation function: a name, or a name with its options"
    takes_mapping = True

    def __init__(self, any_shape: bool = False) -> None:
        self.any_shape = any_shape

    def read(self, node: Located, name: str) -> Function:
        called = parse_call(node)
        if called is None:
            raise self.refuse(node, name)
        function, arguments = called
        cls = FUNCTIONS.get(str(function.value))
        if cls is None:
            raise function.error("no activation function has this name", hint=suggest(str(function.value), FUNCTIONS))
        if not cls.keeps_shape and not self.any_shape:
            raise function.error(f"{cls.name} changes the shape: write it as a layer of its own")
        return cls.read_call(cls.name, function, arguments)

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/definitions/activation"}


def activated_shape(function: Function | None, shape: Sizes) -> Sizes:
    """The shape of a layer's output once its activation, if it has one, is applied."""
    return shape if function is None else function.output(shape)


Activation = Annotated[Function, ActivationType()]
AnyActivation = Annotated[Function, ActivationType(any_shape=True)]


class Linear(Function):
    """x"""


class Relu(Function):
    """max(x, threshold), cut off at max_value; below the threshold negative_slope * (x - threshold)"""

    negative_slope: NonNegative = 0.0
    max_value: NonNegative | None = None
    threshold: NonNegative = 0.0


class Relu6(Function):
    """min(max(x, 0), 6)"""


class LeakyRelu(Function):
    """x, and negative_slope * x below 0"""

    negative_slope: Number = 0.2


class Elu(Function):
    """x, and alpha * (exp(x) - 1) below 0"""

    alpha: Number = 1.0


class Celu(Function):
    """x, and alpha * (exp(x / alpha) - 1) below 0"""

    alpha: Positive = 1.0


class Selu(Function):
    """1.0507 * elu(x, 1.6733)"""


class Gelu(Function):
    """x * Phi(x), Phi the normal distribution function; or its approximation by tanh"""

    approximate: Flag = False


class Silu(Function, also=("swish",)):
    """x * sigmoid(x)"""


class Mish(Function):
    """x * tanh(softplus(x))"""


class Glu(Function):
    """a * sigmoid(b), a and b the halves of x along an axis"""

    keeps_shape = False
    axis: Integer = -1

    def output(self, shape: Sizes) -> Sizes:
        axis = axis_of(self.axis, shape)
        size = shape[axis]
        if size is not None and size % 2:
            raise ShapeError("the size of the axis that it halves must be even")
        return (*shape[:axis], None if size is None else size // 2, *shape[axis + 1 :])


class Sigmoid(Function):
    """1 / (1 + exp(-x))"""


class HardSigmoid(Function):
    """min(max(x / 6 + 1 / 2, 0), 1)"""


class HardSilu(Function, also=("hard_swish",)):
    """x * hard_sigmoid(x)"""


class Tanh(Function):
    """tanh(x)"""


class HardTanh(Function):
    """min(max(x, -1), 1)"""


class TanhShrink(Function):
    """x - tanh(x)"""


class Softmax(Function):
    """exp(x) / sum(exp(x)) along an axis"""

    axis: Integer = -1


class LogSoftmax(Function):
    """log(softmax(x)) along an axis"""

    axis: Integer = -1


class LogSigmoid(Function):
    """log(sigmoid(x))"""


class Sparsemax(Function):
    """The projection of x on the probability simplex, along an axis"""

    axis: Integer = -1


class SparsePlus(Function):
    """0 up to -1, x from 1, and (x + 1)^2 / 4 between"""


class SparseSigmoid(Function):
    """0 up to -1, 1 from 1, and (x + 1) / 2 between"""


class Softplus(Function):
    """log(1 + exp(x))"""


class Softsign(Function):
    """x / (1 + |x|)"""


class Squareplus(Function):
    """(x + sqrt(x^2 + b)) / 2"""

    b: Number = 4


class Exponential(Function):
    """exp(x)"""


class HardShrink(Function):
    """x where |x| exceeds the threshold, 0 elsewhere"""

    threshold: NonNegative = 0.5


class SoftShrink(Function):
    """x drawn towards 0 by the threshold, 0 where |x| is within it"""

    threshold: NonNegative = 0.5


class Threshold(Function):
    """x where it exceeds the threshold, default_value elsewhere"""

    threshold: Number
    default_value: Number
