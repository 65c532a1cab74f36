"""Parameters: the facts about an array before it has values.

Each axis has a role, which the layer declares. The fans of a parameter follow from the roles of its axes, not
from its rank: a depthwise kernel and a dense kernel of the same shape have different fans.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Literal, NamedTuple

from paramctl.declare.located import Located

Role = Literal["in", "out", "field", "batch", "unknown"]
ParameterKind = Literal["weight", "bias", "norm", "state", "optimizer", "unknown"]

FLOAT_DTYPES = ("float16", "bfloat16", "float32", "float64")
"""The dtypes in which values can be drawn."""

DTYPE_BYTES = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float32", "int32", "uint32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
    "complex128": 16,
}
"""The size of one value of each dtype, in bytes."""

PACKED_BITS = {"float4_e2m1fn": 4, "float6_e2m3fn": 6, "float6_e3m2fn": 6}
"""The size of one value of each packed dtype, in bits. Their values can be copied, but not read: no format says in
which order the values of a byte are."""


def bytes_of(dtype: str, count: int) -> int:
    """Return the bytes of so many values."""
    bits = PACKED_BITS.get(dtype)
    return count * DTYPE_BYTES[dtype] if bits is None else count * bits // 8


class Encoding(NamedTuple):
    """The quantization by which a file stores values: blocks, each of the same number of values and of bytes.

    values, bytes: of a block. unreadable: why the values cannot be decoded here; empty if they can.
    dtype: of the decoded values.
    """

    name: str
    values: int
    bytes: int
    unreadable: str = ""
    dtype: str = "float32"

    @property
    def bits(self) -> float:
        """The bits of a value, on average: 4.5 for 256 values in 144 bytes."""
        return 8 * self.bytes / self.values


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its size and its role.

    The roles are
        in         inputs, which are summed for each output
        out        outputs
        field      positions in the receptive field of a convolution
        batch      independent kernels, such as the channels of a depthwise convolution or the rows of an embedding
        unknown    not recorded in the file

    groups: the number of groups of an out axis in a grouped convolution.
    stride: the stride of a field axis in a transposed convolution. One output sums only every stride-th position.
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
    """A named array.

    path: its name in a model, or within its layer.
    kind: weight, bias, norm (the scale or offset of a normalization), state (not trained, such as a moving average),
        optimizer (an array of an optimizer's state, which is not a parameter of the model), or unknown if the file does
        not record it.
    trainable: whether training changes it; None if the file does not record it.
    initializer: the scheme that its layer declares for it.
    dtype: a key of DTYPE_BYTES or PACKED_BITS.
    encoding: the quantization of the values in the file that they come from. A cast keeps it, for a note.
    """

    path: str
    axes: tuple[Axis, ...]
    kind: ParameterKind = "weight"
    trainable: bool | None = True
    initializer: Located | None = None
    dtype: str = "float32"
    encoding: Encoding | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple([axis.size for axis in self.axes])

    @property
    def size(self) -> int:
        """The number of values."""
        return prod([axis.size for axis in self.axes])  # a list takes half the time of a generator

    @property
    def bytes(self) -> int:
        """The bytes of the values in ``dtype``."""
        return bytes_of(self.dtype, self.size)

    @property
    def stored_dtype(self) -> str:
        """The name of the encoding of the values, or else their dtype."""
        if self.encoding is None:
            return self.dtype
        return self.encoding.name if self.dtype == self.encoding.dtype else self.dtype

    @property
    def stored_bytes(self) -> int:
        """The bytes of the values as they are stored."""
        # a cast to another dtype has left the encoding behind
        if self.encoding and self.dtype == self.encoding.dtype:
            return -(-self.size // self.encoding.values) * self.encoding.bytes
        return self.bytes

    @property
    def is_parameter(self) -> bool:
        """False for an array of an optimizer's state, which no count of parameters includes."""
        return self.kind != "optimizer"

    @property
    def fans(self) -> tuple[int | float, int] | None:
        """(fan_in, fan_out): how many inputs contribute to one output, and how many outputs one input contributes to.

        None unless one axis is an output and another an input or a field: biases, scales, and embeddings have no fans.
        Glorot and Bengio (2010); He et al. (2015). Grouped, depthwise, and transposed kernels have exact counts.
        """
        roles = {axis.role for axis in self.axes}
        if "out" not in roles or not roles & {"in", "field"}:
            return None
        inputs = prod(axis.size for axis in self.axes if axis.role in ("in", "field"))
        # transposed, with stride 2 and kernel size 3: an output sums 1.5 positions on average
        strides = prod(axis.stride for axis in self.axes)
        fan_out = prod(axis.size // axis.groups for axis in self.axes if axis.role in ("out", "field"))
        return (inputs / strides if inputs % strides else inputs // strides), fan_out

    def in_layer(self, path: str, dtype: str, trainable: bool) -> Parameter:
        """Return this parameter as part of the layer at a path, frozen unless ``trainable``.

        dtype: of the model. A parameter of integers, such as a count, keeps its own.
        """
        own = dtype if self.dtype in FLOAT_DTYPES else self.dtype
        return replace(self, path=f"{path}/{self.path}", dtype=own, trainable=bool(self.trainable) and trainable)


def weight(name: str, initializer: Located, *axes: Axis) -> Parameter:
    return Parameter(name, axes, "weight", True, initializer)


def bias(name: str, initializer: Located, *axes: Axis) -> Parameter:
    return Parameter(name, axes, "bias", True, initializer)


def norm(name: str, initializer: Located, *axes: Axis) -> Parameter:
    return Parameter(name, axes, "norm", True, initializer)


def state(name: str, initializer: Located, *axes: Axis) -> Parameter:
    return Parameter(name, axes, "state", False, initializer)
