"""The Flax modules of a layer, with their parameters as rearrangements of the layer's parameters.

Each layer gives its own by `Layer.flax`, and by `Layer.nnx` where flax.nnx differs from flax.linen; the helpers here
are shared by several layers. https://flax.readthedocs.io
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

from paramctl.core.views import Arrangement, View, view
from paramctl.model.layers.torch import NoCounterpart, Shapes


class FlaxTensor(NamedTuple):
    """A parameter of a Flax module.

    name: relative to the module, with slashes: ``query/kernel``.
    arrangement: its values as a rearrangement of parameters, by path relative to the layer.
    default: the initializer by default, a name in jax.nn.initializers, or ``embed`` for that of Embed.
    drawn: the shape in which the initializer draws, whose last two axes it takes for inputs and outputs; None for the
        tensor's own.
    has_key: False for a variable that takes no random key, such as a moving average.
    """

    name: str
    arrangement: Arrangement
    default: str
    drawn: tuple[int, ...] | None = None
    has_key: bool = True

    def under(self, path: str) -> FlaxTensor:
        """Return this tensor of a layer, with its parameters under the layer's path."""
        views = tuple(part._replace(path=f"{path}/{part.path}") for part in self.arrangement.views)
        return self._replace(arrangement=replace(self.arrangement, views=views))


class FlaxModule(NamedTuple):
    """A module of Flax.

    class_name: of the class in flax.linen, with which a compact module numbers it.
    attribute: its name within the module that has the layer's name, if a name is given; empty if it is that module.
    tensors: in the order in which they are made.
    forks: how many keys nnx takes for streams of dropout, after the parameters.
    """

    class_name: str
    tensors: tuple[FlaxTensor, ...] = ()
    attribute: str = ""
    forks: int = 0

    def under(self, path: str) -> FlaxModule:
        """Return this module of a layer, with its parameters under the layer's path."""
        return self._replace(tensors=tuple(tensor.under(path) for tensor in self.tensors))


def tensor(name: str, path: str, shape: Sequence[int], default: str) -> FlaxTensor:
    """Return a tensor with the values of a parameter in their order, under this shape."""
    return FlaxTensor(name, Arrangement(tuple(shape), (view(path, shape or (1,)),)), default)


def with_bias(class_name: str, kernel: FlaxTensor, shapes: Shapes) -> FlaxModule:
    """Return a module with a kernel, and a bias if the layer has one."""
    biases = [tensor("bias", "bias", shapes["bias"], "zeros")] if "bias" in shapes else []
    return FlaxModule(class_name, (kernel, *biases))


def linear(shapes: Shapes) -> Iterator[FlaxModule]:
    """Yield Dense, with its kernel and bias."""
    yield with_bias("Dense", tensor("kernel", "kernel", shapes["kernel"], "lecun_normal"), shapes)


def convolution(shapes: Shapes) -> Iterator[FlaxModule]:
    """Yield Conv, or two of them for a separable convolution: depthwise, then pointwise, which has the bias."""
    if "depthwise_kernel" in shapes:
        kernel = depthwise(shapes, "depthwise_kernel")
        yield FlaxModule("Conv", (kernel,), "depthwise")
        pointwise = tensor("kernel", "pointwise_kernel", shapes["pointwise_kernel"], "lecun_normal")
        yield with_bias("Conv", pointwise, shapes)._replace(attribute="pointwise")
    else:
        yield with_bias("Conv", tensor("kernel", "kernel", shapes["kernel"], "lecun_normal"), shapes)


def depthwise_convolution(shapes: Shapes) -> Iterator[FlaxModule]:
    """Yield Conv with as many groups as channels."""
    yield with_bias("Conv", depthwise(shapes, "kernel"), shapes)


def transposed_convolution(shapes: Shapes) -> Iterator[FlaxModule]:
    """Yield ConvTranspose, whose kernel is the mirror image of the layer's."""
    yield with_bias("ConvTranspose", transposed_kernel(shapes), shapes)


def dropout(shapes: Shapes) -> Iterator[FlaxModule]:
    """Yield Dropout, which has no parameters, but takes a key in nnx."""
    yield FlaxModule("Dropout", forks=1)


def depthwise(shapes: Shapes, path: str) -> FlaxTensor:
    """Return a kernel (window..., 1, in * multiplier), from a depthwise one (window..., in, multiplier)."""
    *window, channels, multiplier = shapes[path]
    return tensor("kernel", path, (*window, 1, channels * multiplier), "lecun_normal")


def transposed_kernel(shapes: Shapes) -> FlaxTensor:
    """Return a kernel (window..., in, out) of ConvTranspose, from the mirror image (window..., out, in)."""
    shape = shapes["kernel"]
    rank = len(shape) - 2
    mirrored = {f"axis{axis}": range(shape[axis] - 1, -1, -1) for axis in range(rank)}
    part = view("kernel", shape, (*range(rank), rank + 1, rank), **mirrored)
    return FlaxTensor("kernel", Arrangement(part.result_shape, (part,)), "lecun_normal")


def normalization(class_name: str, shapes: Shapes) -> Iterator[FlaxModule]:
    """Yield a normalization's scale and bias, from gamma and beta, and its statistics."""
    names = {
        "gamma": ("scale", "ones"),
        "scale": ("scale", "ones"),
        "beta": ("bias", "zeros"),
        "moving_mean": ("mean", "zeros"),
        "moving_variance": ("var", "ones"),
    }
    tensors = [tensor(name, path, shapes[path], law) for path, (name, law) in names.items() if path in shapes]
    yield FlaxModule(class_name, tuple(each._replace(has_key=each.name not in ("mean", "var")) for each in tensors))


def attention(class_name: str, shapes: Shapes, dropout: float) -> FlaxModule:
    """Return the projections of attention, whose kernels are drawn as matrices. dropout: its rate.

    Raises NoCounterpart for parameters that Flax lacks.
    """
    names = {"query": "query", "key": "key", "value": "value", "attention_output": "out"}
    lacking = [path for path in shapes if path.partition("/")[0] not in names]
    if lacking:
        raise NoCounterpart(f"{class_name} has no {lacking[0]}")
    if shapes["query/kernel"][1] != shapes["key/kernel"][1]:
        raise NoCounterpart(f"{class_name} has as many heads of keys as of queries")
    if len({f"{name}/bias" in shapes for name in names}) > 1:
        raise NoCounterpart(f"{class_name} has biases in all projections, or in none")
    if shapes["key/kernel"][-1] != shapes["value/kernel"][-1]:
        raise NoCounterpart(f"{class_name} has keys and values of one size")
    if len(shapes["attention_output/kernel"]) != 3:
        raise NoCounterpart(f"{class_name} has one axis of outputs")
    tensors = []
    for name, flax_name in names.items():
        shape = shapes[f"{name}/kernel"]
        inputs = 2 if name == "attention_output" else 1
        kernel = tensor(f"{flax_name}/kernel", f"{name}/kernel", shape, "lecun_normal")
        tensors.append(kernel._replace(drawn=(prod(shape[:inputs]), prod(shape[inputs:]))))
        if f"{name}/bias" in shapes:
            shape = shapes[f"{name}/bias"]
            tensors.append(tensor(f"{flax_name}/bias", f"{name}/bias", shape, "zeros")._replace(drawn=(prod(shape),)))
    return FlaxModule(class_name, tuple(tensors), forks=int(dropout > 0))


class Gates(NamedTuple):
    """The parameters of a recurrent cell, which have the gates side by side.

    prefix: of their paths: ``lstm_cell/``. shapes: of the layer's parameters. number: of gates.
    """

    prefix: str
    shapes: Shapes
    number: int

    def check_bias(self, class_name: str) -> None:
        """Raise NoCounterpart unless the cell has a bias, with a row for the state if it has three gates."""
        if f"{self.prefix}bias" not in self.shapes:
            raise NoCounterpart(f"{class_name} always has a bias")
        if self.number == 3 and len(self.shapes[f"{self.prefix}bias"]) < 2:
            raise NoCounterpart(f"{class_name} computes as with reset_after")

    def kernel(self, name: str, part: str, *gates: int) -> FlaxTensor:
        """Return some gates of a kernel, side by side. part: ``kernel`` or ``recurrent_kernel``."""
        path = f"{self.prefix}{part}"
        inputs, size = self.shapes[path]
        split = (inputs, self.number, size // self.number)
        parts = tuple(view(path, split, axis1=range(gate, gate + 1)) for gate in gates)
        default = "orthogonal" if part == "recurrent_kernel" else "lecun_normal"
        return FlaxTensor(name, Arrangement((inputs, split[2] * len(gates)), parts, 1), default)

    def bias(self, name: str, *rows: int) -> FlaxTensor:
        """Return some rows of the bias, each for one gate, side by side."""
        return FlaxTensor(name, Arrangement(self._size(rows), tuple(map(self._row, rows)), 0), "zeros")

    def absent_bias(self, *rows: int) -> FlaxTensor:
        """Return rows of the bias that the module lacks, which computes as if they were 0."""
        name = f"absent/{'_'.join(map(str, rows))}"
        return FlaxTensor(name, Arrangement(self._size(rows), tuple(map(self._row, rows)), 0), "absent", None, False)

    def _row(self, row: int) -> View:
        path = f"{self.prefix}bias"
        size = prod(self.shapes[path])
        width = self.shapes[f"{self.prefix}recurrent_kernel"][0]
        return view(path, (size // width, width), axis0=range(row, row + 1))

    def _size(self, rows: Sequence[int]) -> tuple[int]:
        return (len(rows) * self.shapes[f"{self.prefix}recurrent_kernel"][0],)


def simple_cell(gates: Gates) -> Iterator[FlaxTensor]:
    """Yield the tensors of SimpleCell."""
    gates.check_bias("SimpleCell")
    yield gates.kernel("h/kernel", "recurrent_kernel", 0)
    yield gates.kernel("i/kernel", "kernel", 0)
    yield gates.bias("i/bias", 0)


def lstm_cell(gates: Gates) -> Iterator[FlaxTensor]:
    """Yield the tensors of LSTMCell: a kernel for each gate i, f, g, o."""
    gates.check_bias("LSTMCell")
    for gate, letter in enumerate("ifgo"):
        yield gates.kernel(f"i{letter}/kernel", "kernel", gate)
    for gate, letter in enumerate("ifgo"):
        yield gates.kernel(f"h{letter}/kernel", "recurrent_kernel", gate)
        yield gates.bias(f"h{letter}/bias", gate)


def gru_cell(gates: Gates) -> Iterator[FlaxTensor]:
    """Yield the tensors of linen's GRUCell, with the gates z, r, n in Keras' order, and r, z, n in Flax's."""
    gates.check_bias("GRUCell")
    for gate, letter in ((1, "r"), (0, "z"), (2, "n")):
        yield gates.kernel(f"i{letter}/kernel", "kernel", gate)
        yield gates.bias(f"i{letter}/bias", gate)
    for gate, letter in ((1, "r"), (0, "z"), (2, "n")):
        yield gates.kernel(f"h{letter}/kernel", "recurrent_kernel", gate)
    yield gates.bias("hn/bias", 5)
    yield gates.absent_bias(3, 4)


def nnx_gru_cell(gates: Gates) -> Iterator[FlaxTensor]:
    """Yield the tensors of nnx.GRUCell, which has the gates r, z, n side by side, and no recurrent bias."""
    gates.check_bias("GRUCell")
    yield gates.kernel("dense_i/kernel", "kernel", 1, 0, 2)
    yield gates.bias("dense_i/bias", 1, 0, 2)
    yield gates.kernel("dense_h/kernel", "recurrent_kernel", 1, 0, 2)
    yield gates.absent_bias(3, 4, 5)


class FlaxCell(NamedTuple):
    """A recurrent cell: its class, and its tensors in flax.linen and in flax.nnx."""

    class_name: str
    linen: Callable[[Gates], Iterator[FlaxTensor]]
    nnx: Callable[[Gates], Iterator[FlaxTensor]]

    def module(self, gates: Gates, is_nnx: bool) -> FlaxModule:
        """Return the cell's module, which a recurrent layer with a name of its own holds as ``cell``."""
        return FlaxModule(self.class_name, tuple((self.nnx if is_nnx else self.linen)(gates)), "cell")


SIMPLE_CELL = FlaxCell("SimpleCell", simple_cell, simple_cell)
LSTM_CELL = FlaxCell("LSTMCell", lstm_cell, lstm_cell)
GRU_CELL = FlaxCell("GRUCell", gru_cell, nnx_gru_cell)
