"""Layers that shift and scale their input: by its mean, by learned factors, or by the statistics of a data set."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self, TypeAlias

from paramctl.core.parameter import Parameter, batch_axis, norm, state
from paramctl.declare.located import Located
from paramctl.declare.option_types import Axes, Flag, NumberType, OptionType, Scheme
from paramctl.model.layers.base import Layer, default_scheme
from paramctl.model.layers.call import Array, Call
from paramctl.model.layers.normalization import along
from paramctl.model.layers.order import TorchInput
from paramctl.model.layers.shapes import ShapeError, Sizes, axes_of, known_size
from paramctl.model.layers.torch import Shapes, TorchTensor, features, moved_axes, same
from paramctl.model.layers.torch_options import CARRIED, IN_CODE, options

Numbers: TypeAlias = "float | tuple[Numbers, ...]"
"""A number, or nested tuples of numbers that are an array."""


class NumbersType(OptionType):
    """A number, or a list of numbers or of such lists, all of one length."""

    rule = "a finite number, or an array of them as lists of one length"
    takes_list = True
    number = NumberType("a finite number")

    def read(self, node: Located, name: str) -> Numbers:
        if not isinstance(node.value, list):
            return self.number.read(node, name)
        items = tuple(self.read(item, name) for item in node.value)
        if not items or len({shape_of(item) for item in items}) > 1:
            raise self.refuse(node, name)
        return items

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.number.schema(), {"type": "array", "minItems": 1}]}


def shape_of(numbers: Numbers) -> tuple[int, ...]:
    """Return the shape of an array of numbers; () is a single number."""
    return (len(numbers), *shape_of(numbers[0])) if isinstance(numbers, tuple) else ()


class CenteredLayer(Layer):
    """x minus the mean of all its values, the batch included (D2L's CenteredLayer). Not in Keras."""

    in_keras = False
    keeps_mask = True

    def compute(self, call: Call, x: Array) -> Array:
        return x - call.xp.mean(x)

    def mixes_examples(self, output: Sizes | None, inputs: Sequence[Sizes | None] = ()) -> bool:
        return True


class Scale(Layer):
    """x * gamma, with a small factor for each feature (LayerScale), and an optional bias. Not in Keras.

    Touvron et al. (2021), CaiT. The default factor, 1e-6, is that of ConvNeXt: Liu et al. (2022), and torchvision.
    """

    in_keras = False
    keeps_mask = True
    torch_options = options(use_bias=CARRIED)
    torch_takes_flat = True
    input_axes = "batch, ..., features"
    gamma_initializer: Scheme = Located({"constant": Located(1e-6)})
    use_bias: Flag = False
    bias_initializer: Scheme = default_scheme("zeros")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        size = batch_axis(known_size(x, -1))
        yield norm("gamma", self.gamma_initializer, size)
        if self.use_bias:
            yield norm("bias", self.bias_initializer, size)

    def compute(self, call: Call, x: Array) -> Array:
        output = x * call.parameters["gamma"]
        return output + call.parameters["bias"] if self.use_bias else output

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        for name, sizes in shapes.items():
            yield features(name, name, [-1], x, sizes)

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        yield from moved_axes([-1], x)


class Normalization(Layer):
    """Standardization by the mean and variance of a data set: (x - mean) / max(sqrt(variance), 1e-7).

    With invert, x * max(sqrt(variance), 1e-7) + mean. The statistics are the layer's state, which Keras' method adapt
    computes, with a value for each place on the axes; given as options, they are no parameters.
    """

    keeps_mask = True
    torch_options = options(axis=IN_CODE, mean=IN_CODE, variance=IN_CODE, invert=IN_CODE)
    axis: Axes | None = (-1,)
    mean: Annotated[Numbers, NumbersType()] | None = None
    variance: Annotated[Numbers, NumbersType()] | None = None
    invert: Flag = False

    @classmethod
    def read(cls, subject: str, at: Located, arguments: Mapping[str, Located]) -> Self:
        layer = super().read(subject, at, arguments)
        if (layer.mean is None) != (layer.variance is None):
            raise at.error(f"{subject} requires both mean and variance, or neither")
        if layer.mean is not None and layer.variance is not None and shape_of(layer.mean) != shape_of(layer.variance):
            raise at.error(f"{subject}: mean and variance must have the same shape")
        return layer

    def kept(self, x: Sizes) -> list[int]:
        """Return the axes along which the statistics have values, ascending."""
        return sorted(axes_of(self.axis or (), x))

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        sizes = [known_size(x, axis) for axis in self.kept(x)]
        if self.mean is not None:
            own = shape_of(self.mean)
            # from the right, each size is that of an axis, or 1
            if len(own) > len(sizes) or any(a not in (1, b) for a, b in zip(own[::-1], sizes[::-1], strict=False)):
                raise ShapeError(f"mean and variance of shape {own} do not fit axes of sizes {tuple(sizes)}")
            return
        axes = [*map(batch_axis, sizes)]
        yield state("mean", default_scheme("zeros"), *axes)
        yield state("variance", default_scheme("ones"), *axes)
        yield Parameter("count", (), "state", False, default_scheme("zeros"), "int32")

    def compute(self, call: Call, x: Array) -> Array:
        xp = call.xp
        values = [self._statistic(call, name, x) for name in ("mean", "variance")]
        mean, deviation = values[0], xp.maximum(xp.sqrt(values[1]), 1e-7)  # keras.config.epsilon()
        return mean + x * deviation if self.invert else (x - mean) / deviation

    def _statistic(self, call: Call, name: str, x: Array) -> Array:
        """Return the mean or the variance, so that it broadcasts with x."""
        xp, axes, option = call.xp, self.kept(x.shape), getattr(self, name)
        if option is None:
            return along(xp, call.parameters[name], x, axes)
        shape, own = [1] * len(x.shape), shape_of(option)
        for axis, size in zip(axes[::-1], own[::-1], strict=False):
            shape[axis] = size
        return xp.reshape(xp.array(option, dtype=x.dtype if x.dtype.kind == "f" else "float32"), shape)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        axes = [-1] if x.shape is None else self.kept(x.shape)
        for name in ("mean", "variance"):
            yield features(name, name, axes, x, shapes[name])
        yield same("count", "count", ())

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        yield f"this is {'mean + x * s' if self.invert else '(x - mean) / s'}, s = max(sqrt(variance), 1e-7)"
        yield from moved_axes(self.axis or (), x)
