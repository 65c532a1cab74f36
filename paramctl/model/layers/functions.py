"""The activation functions, with Keras' names, options and defaults.

To add a function, write one class. Its name in a document is the class name in snake_case, its options are its
annotations, and its docstring is the formula.
"""

from types import MappingProxyType
from typing import Any

from paramctl.declare.option_types import Flag, Integer, NonNegative, Number, Positive
from paramctl.model.layers.activations import Function
from paramctl.model.layers.call import Array
from paramctl.model.layers.shapes import ShapeError, Sizes, axis_of


def rectified(xp: Any, x: Array, negative_slope: float, max_value: float | None, threshold: float) -> Array:
    """Return min(x, max_value) where x > threshold, and negative_slope * (x - threshold) elsewhere."""
    y = xp.where(x <= threshold, 0, x) if threshold else xp.relu(x)
    if max_value is not None:
        y = xp.minimum(y, max_value)
    return xp.where(x < threshold, negative_slope * (x - threshold), y) if negative_slope else y


def leaky(xp: Any, x: Array, slope: Any) -> Array:
    """Return x where x >= 0, and slope * x elsewhere."""
    # on mixed signs, xp.where takes several times as long
    return xp.relu(x) + slope * xp.negative_part(x)


def exponential_below(xp: Any, x: Array, alpha: float) -> Array:
    """Return x where x > 0, and alpha * (exp(x) - 1) elsewhere."""
    return xp.relu(x) + alpha * xp.expm1(xp.negative_part(x))


def hard_sigmoid(xp: Any, x: Array) -> Array:
    """Return min(max(x / 6 + 1 / 2, 0), 1)."""
    return xp.clip(x + 3, 0, 6) / 6


def softmax(xp: Any, x: Array, axis: int | tuple[int, ...]) -> Array:
    """Return exp(x) / sum(exp(x)) along axes. The largest value is subtracted first, so that nothing overflows."""
    powers = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return powers / xp.sum(powers, axis=axis, keepdims=True)


def unit(xp: Any, x: Array, axis: int | tuple[int, ...], least: float) -> Array:
    """Return x divided by its L2 norm along axes; a norm below the least one counts as that."""
    norm = xp.maximum(xp.sum(x * x, axis=axis, keepdims=True), least * least)
    return x / xp.sqrt(norm)


class Linear(Function):
    """x"""

    torch_module = "Identity"

    def compute(self, xp: Any, x: Array) -> Array:
        return x


class Relu(Function):
    """min(x, max_value) for x > threshold, negative_slope * (x - threshold) up to it"""

    negative_slope: NonNegative = 0.0
    max_value: NonNegative | None = None
    threshold: NonNegative = 0.0

    def compute(self, xp: Any, x: Array) -> Array:
        return rectified(xp, x, self.negative_slope, self.max_value, self.threshold)

    def torch_text(self, axis: int | None = None) -> str:
        return "torch.nn.ReLU()" if vars(self) == vars(Relu()) else super().torch_text()


class Relu6(Function):
    """min(max(x, 0), 6)"""

    torch_module = "ReLU6"

    def compute(self, xp: Any, x: Array) -> Array:
        return xp.clip(x, 0, 6)


class LeakyRelu(Function):
    """x for x >= 0, negative_slope * x below 0"""

    torch_module = "LeakyReLU"
    torch_arguments = MappingProxyType({"negative_slope": "negative_slope"})
    negative_slope: Number = 0.2

    def compute(self, xp: Any, x: Array) -> Array:
        return leaky(xp, x, self.negative_slope)


class Elu(Function):
    """x for x >= 0, alpha * (exp(x) - 1) below 0"""

    torch_module = "ELU"
    torch_arguments = MappingProxyType({"alpha": "alpha"})
    alpha: Number = 1.0

    def compute(self, xp: Any, x: Array) -> Array:
        return exponential_below(xp, x, self.alpha)


class Celu(Function):
    """x for x >= 0, alpha * (exp(x / alpha) - 1) below 0"""

    torch_module = "CELU"
    torch_arguments = MappingProxyType({"alpha": "alpha"})
    alpha: Positive = 1.0

    def compute(self, xp: Any, x: Array) -> Array:
        return xp.relu(x) + self.alpha * xp.expm1(xp.negative_part(x) / self.alpha)


class Selu(Function):
    """1.0507 * elu(x, 1.6733)"""

    torch_module = "SELU"

    def compute(self, xp: Any, x: Array) -> Array:
        return 1.0507009873554805 * exponential_below(xp, x, 1.6732632423543772)


class Gelu(Function):
    """x * Phi(x), where Phi is the standard normal CDF; approximate uses tanh"""

    approximate: Flag = False

    def compute(self, xp: Any, x: Array) -> Array:
        return xp.gelu_tanh(x) if self.approximate else xp.gelu(x)

    def torch_text(self, axis: int | None = None) -> str:
        return "torch.nn.GELU(approximate='tanh')" if self.approximate else "torch.nn.GELU()"


class Silu(Function, aliases=("swish",)):
    """x * sigmoid(x)"""

    torch_module = "SiLU"

    def compute(self, xp: Any, x: Array) -> Array:
        return xp.silu(x)


class Mish(Function):
    """x * tanh(softplus(x))"""

    torch_module = "Mish"

    def compute(self, xp: Any, x: Array) -> Array:
        return x * xp.tanh(xp.softplus(x))


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

    def compute(self, xp: Any, x: Array) -> Array:
        axis = axis_of(self.axis, x.shape)
        half = x.shape[axis] // 2
        before = (slice(None),) * axis
        return x[(*before, slice(half))] * xp.sigmoid(x[(*before, slice(half, None))])


class Sigmoid(Function):
    """1 / (1 + exp(-x))"""

    torch_module = "Sigmoid"

    def compute(self, xp: Any, x: Array) -> Array:
        return xp.sigmoid(x)


class HardSigmoid(Function):
    """min(max(x / 6 + 1 / 2, 0), 1)"""

    torch_module = "Hardsigmoid"

    def compute(self, xp: Any, x: Array) -> Array:
        return hard_sigmoid(xp, x)


class HardSilu(Function, aliases=("hard_swish",)):
    """x * hard_sigmoid(x)"""

    torch_module = "Hardswish"

    def compute(self, xp: Any, x: Array) -> Array:
        return x * hard_sigmoid(xp, x)


class Tanh(Function):
    """tanh(x)"""

    torch_module = "Tanh"

    def compute(self, xp: Any, x: Array) -> Array:
        return xp.tanh(x)


class HardTanh(Function):
    """min(max(x, -1), 1)"""

    torch_module = "Hardtanh"

    def compute(self, xp: Any, x: Array) -> Array:
        return xp.clip(x, -1, 1)


class TanhShrink(Function):
    """x - tanh(x)"""

    torch_module = "Tanhshrink"

    def compute(self, xp: Any, x: Array) -> Array:
        return x - xp.tanh(x)


class Softmax(Function):
    """exp(x) / sum(exp(x)) along an axis"""

    torch_module = "Softmax"
    torch_arguments = MappingProxyType({"axis": "dim"})
    axis: Integer = -1

    def compute(self, xp: Any, x: Array) -> Array:
        return softmax(xp, x, self.axis)


class LogSoftmax(Function):
    """log(softmax(x)) along an axis"""

    torch_module = "LogSoftmax"
    torch_arguments = MappingProxyType({"axis": "dim"})
    axis: Integer = -1

    def compute(self, xp: Any, x: Array) -> Array:
        # not log(softmax(x)), which is log(0) for small values
        shifted = x - xp.max(x, axis=self.axis, keepdims=True)
        return shifted - xp.log(xp.sum(xp.exp(shifted), axis=self.axis, keepdims=True))


class LogSigmoid(Function):
    """log(sigmoid(x))"""

    torch_module = "LogSigmoid"

    def compute(self, xp: Any, x: Array) -> Array:
        return -xp.softplus(-x)


class Sparsemax(Function):
    """Euclidean projection of x onto the probability simplex along an axis"""

    axis: Integer = -1

    def compute(self, xp: Any, x: Array) -> Array:
        return xp.sparsemax(x, self.axis)


class SparsePlus(Function):
    """0 for x <= -1, x for x >= 1, (x + 1)^2 / 4 between"""

    def compute(self, xp: Any, x: Array) -> Array:
        # bounded, because the square of a large value overflows
        bounded = xp.clip(x, -1, 1) + 1
        return xp.where(x >= 1, x, 0.25 * bounded * bounded)


class SparseSigmoid(Function):
    """0 for x <= -1, 1 for x >= 1, (x + 1) / 2 between"""

    def compute(self, xp: Any, x: Array) -> Array:
        return 0.5 * (xp.clip(x, -1, 1) + 1)


class Softplus(Function):
    """log(1 + exp(x))"""

    torch_module = "Softplus"

    def compute(self, xp: Any, x: Array) -> Array:
        return xp.softplus(x)


class Softsign(Function):
    """x / (1 + |x|)"""

    torch_module = "Softsign"

    def compute(self, xp: Any, x: Array) -> Array:
        return x / (1 + xp.abs(x))


class Squareplus(Function):
    """(x + sqrt(x^2 + b)) / 2"""

    b: Number = 4

    def compute(self, xp: Any, x: Array) -> Array:
        # for large negative x, x and the root would cancel each other
        far = xp.where(x < 0, -x, x) + xp.sqrt(x * x + self.b)
        return 0.5 * xp.where(x < 0, self.b / far, far)


class Exponential(Function):
    """exp(x)"""

    def compute(self, xp: Any, x: Array) -> Array:
        return xp.exp(x)


class HardShrink(Function):
    """x where |x| > threshold, 0 elsewhere"""

    torch_module = "Hardshrink"
    torch_arguments = MappingProxyType({"threshold": "lambd"})
    threshold: NonNegative = 0.5

    def compute(self, xp: Any, x: Array) -> Array:
        return xp.where(xp.abs(x) <= self.threshold, 0, x)


class SoftShrink(Function):
    """sign(x) * max(|x| - threshold, 0)"""

    torch_module = "Softshrink"
    torch_arguments = MappingProxyType({"threshold": "lambd"})
    threshold: NonNegative = 0.5

    def compute(self, xp: Any, x: Array) -> Array:
        # x - x is exactly 0 within the threshold
        return x - xp.clip(x, -self.threshold, self.threshold)


class Threshold(Function):
    """x where x > threshold, default_value elsewhere"""

    torch_module = "Threshold"
    torch_arguments = MappingProxyType({"threshold": "threshold", "default_value": "value"})
    threshold: Number
    default_value: Number

    def compute(self, xp: Any, x: Array) -> Array:
        return xp.where(x <= self.threshold, self.default_value, x)
