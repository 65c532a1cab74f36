"""Parameter: what is known of one array before it has values.

An axis has a role, declared by the layer that owns it, and the fans of a parameter follow
from the roles of its axes, never from its rank: a depthwise kernel and a dense kernel may
have one shape and not the same fans.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from paramctl.declare.located import Located

Role = Literal["in", "out", "field", "batch", "unknown"]
ParameterKind = Literal["weight", "bias", "norm", "state", "unknown"]

FLOAT_DTYPES = ("float16", "bfloat16", "float32", "float64")
"""The dtypes in which values are drawn."""

DTYPE_BYTES = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float32", "int32", "uint32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
    "complex128": 16,
}
"""How many bytes one value of each dtype takes."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its size and what it is for.

    in: summed over for each output. out: counts outputs. field: a position of the receptive
    field. batch: counts independent kernels side by side, such as the channels of a depthwise
    convolution or the rows of an embedding. unknown: the file that the array is in does not say.

    groups: into how many independent groups an out axis is cut (a grouped convolution).
    stride: by how much a field axis thins the inputs of one output (a transposed convolution).
    """

    size: int
    role: Role
    groups: int = 1
    stride: int = 1


def in_axis(size: int) -> Axis:
    return Axis(size, "in")


def out_axis(size: int, groups: int = 1) -> Axis:
    return Axis(size, "out", groups=groups)


def field_axis(size: int, stride: int = 1) -> Axis:
    return Axis(size, "field", stride=stride)


def batch_axis(size: int) -> Axis:
    return Axis(size, "batch")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One named array: path, axes, dtype (a key of BYTES), kind, and whether training changes it.

    kind: weight, bias, norm (a scale or an offset of a normalization) or state (kept, not
    trained: moving averages). initializer: the scheme that its layer declares for it. An array in a
    file that does not say has the kind unknown, and trainable is None.
    """

    path: str
    axes: tuple[Axis, ...]
    kind: ParameterKind = "weight"
    trainable: bool | None = True
    initializer: Located | None = None
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.axes)

    @property
    def size(self) -> int:
        """How many values."""
        return prod(axis.size for axis in self.axes)

    @property
    def bytes(self) -> int:
        return self.size * DTYPE_BYTES[self.dtype]

    @property
    def fans(self) -> tuple[int | float, int] | None:
        """(fan_in, fan_out): how many inputs one output sums, and how many outputs one input feeds.

        None unless some axis is an output and some other an input or a field: a bias, a scale
        and an embedding have no fans. Glorot and Bengio (2010), He et al. (2015), with the true
        counts where a kernel is grouped, depthwise or transposed.
        """
        roles = {axis.role for axis in self.axes}
        if "out" not in roles or not roles & {"in", "field"}:
            return None
        inputs = prod(axis.size for axis in self.axes if axis.role in ("in", "field"))
        thinned = prod(axis.stride for axis in self.axes)
        fan_out = prod(axis.size // axis.groups for axis in self.axes if axis.role in ("out", "field"))
        return (inputs / thinned if inputs % thinned else inputs // thinned), fan_out

    def in_layer(self, path: str, dtype: str, trainable: bool) -> Parameter:
        """Return this parameter as part of the layer at a path, with the model's dtype, frozen unless ``trainable``."""
        return replace(self, path=f"{path}/{self.path}", dtype=dtype, trainable=bool(self.trainable) and trainable)


def weight(name: str, initializer: Located, *axes: Axis) -> Parameter:
    return Parameter(name, axes, "weight", True, initializer)


def bias(name: str, initializer: Located, *axes: Axis) -> Parameter:
    return Parameter(name, axes, "bias", True, initializer)


def norm(name: str, initializer: Located, *axes: Axis) -> Parameter:
    return Parameter(name, axes, "norm", True, initializer)


def state(name: str, initializer: Located, *axes: Axis) -> Parameter:
    return Parameter(name, axes, "state", False, initializer)
