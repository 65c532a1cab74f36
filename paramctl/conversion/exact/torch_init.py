"""The functions of torch.nn.init: from the shape of a tensor and the arguments to the law of its values.

Each computes in Python's floats, in the order of torch's source, because its last bit decides over those of the values.
The functions have torch's names. Source: torch 2.13, torch/nn/init.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, prod, sqrt
from typing import Any

from paramctl.core.dtypes import finite_range, numpy_dtype
from paramctl.core.parameter import FLOAT_DTYPES
from paramctl.init.distributions import Constant, Delta, Normal, Padded, Uniform, normal_mass
from paramctl.init.engines.torch_laws import OrthogonalRows, SparseColumns, TruncatedAt, ZeroedBelow
from paramctl.init.engines.torch_truncated import BY_NORMALS
from paramctl.init.gains import GAINS
from paramctl.init.registry import SchemeMismatch
from paramctl.model.layers.torch_draws import InitCall

Shape = tuple[int, ...]

TORCH_GAINS = {
    name: gain
    for name, gain in GAINS.items()
    if name.startswith(("linear", "conv")) or name in ("sigmoid", "tanh", "relu", "leaky_relu", "selu")
}
"""The functions that torch.nn.init.calculate_gain supports."""


def law_of(call: InitCall, shape: Shape, dtype: str) -> Any:
    """Return the law of the values that a call gives a tensor: a distribution, or a law of torch's engine.

    Raises SchemeMismatch if the function does not apply to tensors of this shape and dtype.
    """
    law = FUNCTIONS[call.function](shape, **call.arguments)
    if dtype not in FLOAT_DTYPES and not isinstance(law, (Constant, Delta)):
        raise SchemeMismatch(f"torch draws no random values in {dtype}")
    if isinstance(law, Uniform) and max(-law.low, law.high, law.high - law.low) > finite_range(numpy_dtype(dtype))[1]:
        raise SchemeMismatch(f"uniform_ requires bounds, and a width between them, in the range of {dtype}")
    if isinstance(law, OrthogonalRows) and dtype not in ("float32", "float64"):
        raise SchemeMismatch(f"orthogonal_ requires float32 or float64, not {dtype}")
    if call.padded and isinstance(law, (OrthogonalRows, SparseColumns)):
        raise SchemeMismatch(f"{call.function} gives no independent values, which padded requires")
    return Padded(law, prod(shape[1:]), prod(shape)) if call.padded else law


def call_text(call: InitCall) -> str:
    """Return a call without its tensor: ``uniform_(a=-0.5, b=0.5)``."""
    text = f"{call.function}({', '.join(f'{name}={value}' for name, value in call.arguments.items())})"
    return f"{text}, first row 0" if call.padded else text


def uniform_(shape: Shape, a: float = 0.0, b: float = 1.0) -> Uniform:
    if b < a:
        raise SchemeMismatch(f"uniform_ requires a <= b (got {a} and {b})")
    return Uniform(a, b)


def normal_(shape: Shape, mean: float = 0.0, std: float = 1.0) -> Normal:
    return Normal(mean, std)


def trunc_normal_(shape: Shape, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> TruncatedAt:
    if not std:
        raise SchemeMismatch("trunc_normal_ requires a standard deviation above 0")
    if normal_mass((a - mean) / std, (b - mean) / std) <= BY_NORMALS:
        rule = "torch draws trunc_normal_ otherwise if few values are within the bounds, which is not supported"
        raise SchemeMismatch(rule)
    return TruncatedAt(mean, std, a, b)


def constant_(shape: Shape, val: float) -> Constant:
    return Constant(val)


def eye_(shape: Shape, gain: float = 1.0) -> Delta:
    """Return an identity matrix times a gain.

    torch has no gain here: a program would multiply by it, which rounds once, as a cast of the gain does.
    """
    if len(shape) != 2:
        raise SchemeMismatch("eye_ requires two axes")
    rows, columns = shape
    return Delta(gain, ((0, columns + 1, min(rows, columns)),), rows * columns)


def dirac_(shape: Shape, groups: int = 1) -> Delta:
    if len(shape) not in (3, 4, 5):
        raise SchemeMismatch("dirac_ requires the kernel of a convolution")
    outputs, inputs, *sizes = shape
    if outputs % groups:
        raise SchemeMismatch(f"dirac_ requires groups that divide the outputs ({outputs} / {groups})")
    center = 0
    for size in sizes:
        center = center * size + size // 2
    field, width = prod(sizes), outputs // groups
    runs = ((group * width * inputs * field + center, (inputs + 1) * field) for group in range(groups))
    return Delta(1.0, tuple((start, step, min(width, inputs)) for start, step in runs), prod(shape))


def xavier_uniform_(shape: Shape, gain: float = 1.0) -> Uniform:
    fan_in, fan_out = fans(shape)
    std = gain * sqrt(2.0 / float(fan_in + fan_out))
    bound = sqrt(3.0) * std
    return Uniform(-bound, bound)


def xavier_normal_(shape: Shape, gain: float = 1.0) -> Normal:
    fan_in, fan_out = fans(shape)
    return Normal(0.0, gain * sqrt(2.0 / float(fan_in + fan_out)))


def kaiming_uniform_(shape: Shape, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Uniform:
    bound = sqrt(3.0) * _kaiming_std(shape, a, mode, nonlinearity)
    return Uniform(-bound, bound)


def kaiming_normal_(shape: Shape, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Normal:
    return Normal(0.0, _kaiming_std(shape, a, mode, nonlinearity))


def _kaiming_std(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    fan_in, fan_out = fans(shape)
    if nonlinearity not in TORCH_GAINS:
        raise SchemeMismatch(f"torch.nn.init.calculate_gain does not support {nonlinearity}")
    gain = sqrt(2.0 / (1 + a**2)) if nonlinearity == "leaky_relu" else TORCH_GAINS[nonlinearity]
    return gain / sqrt({"fan_in": fan_in, "fan_out": fan_out}[mode])


def orthogonal_(shape: Shape, gain: float = 1.0) -> OrthogonalRows:
    if len(shape) < 2:
        raise SchemeMismatch("orthogonal_ requires two or more axes")
    return OrthogonalRows(gain)


def sparse_(shape: Shape, sparsity: float, std: float = 0.01) -> SparseColumns:
    if len(shape) != 2:
        raise SchemeMismatch("sparse_ requires two axes")
    return SparseColumns(std, ceil(sparsity * shape[0]))


def zeroed_uniform_(shape: Shape, bound: float, threshold: float) -> ZeroedBelow:
    """Not of torch.nn.init: uniform_(-bound, bound), then ``tensor *= tensor.abs() >= threshold``; D2L's my_init."""
    return ZeroedBelow(Uniform(-bound, bound), threshold)


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Return fan_in and fan_out as torch computes them. Raises SchemeMismatch for fewer than two axes."""
    if len(shape) < 2:
        raise SchemeMismatch("requires fans, which torch computes for two or more axes")
    field = prod(shape[2:])
    return shape[1] * field, shape[0] * field


FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        uniform_,
        normal_,
        trunc_normal_,
        constant_,
        eye_,
        dirac_,
        xavier_uniform_,
        xavier_normal_,
        kaiming_uniform_,
        kaiming_normal_,
        orthogonal_,
        sparse_,
        zeroed_uniform_,
    )
}
"""The functions by name. zeros_ and ones_ are constant_."""
