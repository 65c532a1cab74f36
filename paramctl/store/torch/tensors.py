"""Tensors: what the records of torch's functions, which would rebuild them, say about an array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from paramctl.core.parameter import DTYPE_BYTES
from paramctl.store.io.strided import is_contiguous, span_of
from paramctl.store.pickles.objects import Global, Record
from paramctl.store.pickles.state import BadPickle
from paramctl.store.torch.storages import Storage, is_count

MAX_AXES = 64
"""Both torch and NumPy allow as many."""
MAX_EXPANSION = 1 << 20
"""Values of an expanded array for each value of its storage. A file of few bytes must not fill a disk."""
LARGE = 1 << 31
"""Values to which an array can be expanded in any case."""


QUANTIZED = {
    "qint8": ("int8", 1),
    "quint8": ("uint8", 1),
    "qint32": ("int32", 1),
    "quint4x2": ("uint8", 2),
    "quint2x4": ("uint8", 4),
}
"""The stored integers of each quantized dtype, and the number of values in each."""
MAX_ZERO_POINT = 1 << 31
PLAIN = [f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3")]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage. offset and strides are counted in values.

    dtype: of the storage's values.
    trainable: whether training changes it; None if the file does not record it.
    state: True if a module has it as a buffer.
    quantization: the meaning of integers; None if the values are stored as they are.
    """

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    trainable: bool | None = None
    state: bool = False
    is_big_endian: bool = False
    quantization: Quantization | None = None

    @property
    def value_dtype(self) -> str:
        """The dtype of the values that are read."""
        return "float32" if self.quantization else self.dtype


class Quantization(NamedTuple):
    """The quantization of a tensor, whose values are (integer - zero_point) * scale.

    name: torch's name of the dtype, "qint8".
    scale, zero_point: numbers, or vectors along an axis.
    """

    name: str
    scale: float | Tensor
    zero_point: int | Tensor
    axis: int = 0

    @property
    def is_float(self) -> bool:
        """True if the zero points are fractions."""
        return isinstance(self.zero_point, Tensor) and "float" in self.zero_point.dtype


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Content that is not read. kind: "a sparse tensor"."""

    kind: str


Rebuilt = Tensor | Unreadable
NOT_PLAIN = Unreadable("a tensor that is not plain")


def tensor_of(record: Record) -> Rebuilt | None:
    """Return the tensor that a record describes; None if it describes something else. Raises BadPickle."""
    rebuild = REBUILD.get(record.name)
    if rebuild is None:
        return None
    try:
        return rebuild(*record.args)
    except (TypeError, RecursionError) as error:  # another number of arguments, or parameters of parameters
        raise BadPickle(f"malformed arguments of {record.name}") from error


def _inner(value: Any) -> Rebuilt:
    tensor = tensor_of(value) if isinstance(value, Record) else None
    return tensor or Unreadable("a tensor of an unknown kind")


def sizes_of(value: Any) -> tuple[int, ...]:
    """Return sizes or strides: a tuple, or a torch.Size of one. Raises BadPickle."""
    if isinstance(value, Record) and value.name == "torch.Size" and len(value.args) == 1:
        value = value.args[0]
    sizes = tuple(value) if isinstance(value, (tuple, list)) else None
    if sizes is None or len(sizes) > MAX_AXES or not all(map(is_count, sizes)):
        raise BadPickle("the sizes and strides of a tensor must be non-negative integers")
    return sizes


def _rebuild(storage: Any, offset: Any, size: Any, stride: Any, dtype: str, *metadata: Any, packed: int = 1) -> Rebuilt:
    shape, strides = sizes_of(size), sizes_of(stride)
    if not isinstance(storage, Storage) or not is_count(offset) or len(shape) != len(strides):
        raise BadPickle("a tensor must have a storage, an offset, sizes, and a stride for each")
    # such tensors have a shape only, so values of any kind would be wrong
    if storage.on_meta:
        return Unreadable("a meta tensor, without values")
    if dtype not in DTYPE_BYTES:
        return Unreadable(f"a tensor of {dtype or 'bytes'}")
    flags = metadata[0] if metadata else None
    if isinstance(flags, dict) and any(flags.values()):
        return Unreadable("a tensor whose values are conjugated or negated when they are read")
    return checked(Tensor(storage, dtype, offset, shape, strides), packed)


def checked(tensor: Tensor, packed: int = 1) -> Rebuilt:
    """Return a tensor if all its values are in its storage. Raises BadPickle otherwise.

    packed: the number of values in each value of the dtype.
    """
    available = tensor.storage.size // DTYPE_BYTES[tensor.dtype] * packed
    span = span_of(tensor.shape, tensor.strides)
    if span and tensor.offset + span > available:
        raise BadPickle(f"a tensor ends {tensor.offset + span - available:,} values behind its storage")
    count = 1
    for size in tensor.shape:
        count *= size
    if count > max(LARGE, MAX_EXPANSION * available):
        return Unreadable(f"{available:,} values expanded to {count:,}")
    return tensor


def _tensor_v1(storage: Any, offset: Any, size: Any, stride: Any) -> Rebuilt:
    return _rebuild(storage, offset, size, stride, storage.dtype if isinstance(storage, Storage) else "")


def _tensor_v2(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, *metadata: Any) -> Rebuilt:
    dtype = storage.dtype if isinstance(storage, Storage) else ""
    tensor = _rebuild(storage, offset, size, stride, dtype, *metadata)
    # the tensors of a state_dict never require a gradient, so without one nothing is known
    return replace(tensor, trainable=True) if grad is True and isinstance(tensor, Tensor) else tensor


def _tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *metadata: Any
) -> Rebuilt:
    if not isinstance(dtype, Global):
        raise BadPickle("the dtype of a tensor must be a name")
    return _rebuild(storage, offset, size, stride, dtype.name.removeprefix("torch."), *metadata)


def _qtensor(storage: Any, offset: Any, size: Any, stride: Any, quantizer: Any, *rest: Any) -> Rebuilt:
    """Rebuild a quantized tensor. quantizer: (scheme, scale, zero point), or (scheme, scales, zero points, axis)."""
    name = storage.dtype if isinstance(storage, Storage) else ""
    dtype, packed = QUANTIZED.get(name, ("", 1))
    if not isinstance(quantizer, tuple) or not quantizer or not isinstance(quantizer[0], Global):
        raise BadPickle("a quantized tensor must have a scheme")
    scheme = quantizer[0].name.removeprefix("torch.")
    if not dtype or scheme not in ("per_tensor_affine", "per_channel_affine", "per_channel_affine_float_qparams"):
        return Unreadable(f"a tensor of {name or 'bytes'}, quantized by {scheme}")
    shape = sizes_of(size)
    quantization = _quantization(name, shape, *quantizer[1:])
    if isinstance(quantization, Unreadable):
        return quantization
    if packed > 1 and (offset or not quantization.is_float or not is_contiguous(shape, sizes_of(stride))):
        return Unreadable(f"a view of a tensor of {name}")
    tensor = _rebuild(storage, offset, size, stride, dtype, packed=packed)
    return replace(tensor, quantization=quantization) if isinstance(tensor, Tensor) else tensor


def _quantization(
    name: str, shape: tuple[int, ...], scale: Any, zero_point: Any, axis: Any = None
) -> Quantization | Unreadable:
    """Return the quantization of a tensor: of the whole, or along an axis. Raises BadPickle."""
    if axis is None:
        is_zero_point = type(zero_point) is int and -MAX_ZERO_POINT <= zero_point < MAX_ZERO_POINT
        if type(scale) not in (int, float) or not is_zero_point:
            raise BadPickle("the scale and the zero point of a quantized tensor must be numbers")
        return Quantization(name, float(scale), zero_point)
    scales, zero_points = _vector(scale, "float64"), _vector(zero_point, "int64")
    if isinstance(scales, Unreadable) or isinstance(zero_points, Unreadable):
        return Unreadable("a quantized tensor whose scales cannot be read")
    for vector in (scales, zero_points):
        if not is_count(axis) or axis >= len(shape) or vector.shape != (shape[axis],):
            raise BadPickle("a quantized tensor must have a scale and a zero point for each index of an axis")
        if vector.dtype.startswith("complex"):
            raise BadPickle("the scales and the zero points of a quantized tensor must be real")
    return Quantization(name, scales, zero_points, axis)


def _vector(value: Any, dtype: str) -> Rebuilt:
    """Return a tensor, or a list of numbers, which older versions of torch wrote, as a tensor."""
    if not isinstance(value, list):
        # such a tensor refers to no other: with two others in each, the time would double with every level
        return _inner(value) if isinstance(value, Record) and value.name in PLAIN else NOT_PLAIN
    try:
        data = np.array(value, dtype).tobytes()
    except (TypeError, ValueError, OverflowError) as error:
        raise BadPickle("the scales and the zero points of a quantized tensor must be numbers") from error
    return checked(Tensor(Storage("", dtype, len(data), data=data), dtype, 0, (len(value),), (1,)))


def _parameter(data: Any, grad: Any, *rest: Any) -> Rebuilt:
    tensor = _inner(data)
    return replace(tensor, trainable=bool(grad)) if isinstance(tensor, Tensor) and isinstance(grad, bool) else tensor


def _from_type(function: Any, type_: Any, args: Any, state: Any) -> Rebuilt:
    """Rebuild a tensor of a subclass, such as torch.nn.Buffer, by the function of its base class."""
    return _inner(Record(function, args)) if isinstance(args, tuple) else Unreadable("a tensor of a subclass")


def _from_cpu(data: Any, *rest: Any) -> Rebuilt:
    return _inner(data)


def _refuse(kind: str) -> Callable[..., Rebuilt]:
    return lambda *args: Unreadable(kind)


REBUILD: dict[str, Callable[..., Rebuilt]] = {
    "torch._utils._rebuild_tensor": _tensor_v1,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type": _from_type,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _from_cpu,
    "torch._utils._rebuild_qtensor": _qtensor,
    "torch._utils._rebuild_sparse_tensor": _refuse("a sparse tensor"),
    "torch._utils._rebuild_sparse_csr_tensor": _refuse("a sparse tensor"),
    "torch._utils._rebuild_nested_tensor": _refuse("a nested tensor"),
    "torch._utils._rebuild_meta_tensor_no_storage": _refuse("a meta tensor, without values"),
    "torch._utils._rebuild_wrapper_subclass": _refuse("a tensor of a subclass"),
    "torch._utils._rebuild_device_tensor_from_numpy": _refuse("a tensor of a device"),
    "torch._utils._rebuild_xla_tensor": _refuse("a tensor of a device"),
}
"""A function for each of torch's functions that rebuild a tensor, by its name."""
