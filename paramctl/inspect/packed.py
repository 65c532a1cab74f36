"""Packed weights: arrays of integers that hold several low-precision parameters in each value.

Only arrays whose names, dtypes and shapes leave no doubt are recognized. All others count as they are stored.

bitsandbytes    W holds two parameters a byte; W.absmax, W.quant_map; W.quant_state.bitsandbytes__nf4 or __fp4, the
                bytes of a JSON object with the shape of the parameters and the size of a block, which has one absmax.
                In 8 bits: weight (outputs, inputs) int8; SCB (outputs,) float32; weight_format may be missing
GPTQ            qweight (inputs * bits / 32, outputs); scales (groups, outputs); qzeros (groups, outputs * bits / 32);
                g_idx (inputs,), the group of each input, may be missing
AWQ             qweight (inputs, outputs * bits / 32); scales (groups, outputs); qzeros (groups, outputs * bits / 32).
                For products with vectors, in 4 bits: qweight (outputs, inputs / 8) int32, qzeros (outputs, width) and
                scales (outputs, 8 * width); or qweight (outputs / 4, inputs) int16, with scales and qzeros
                (8 * width, outputs). The width follows from the size of a group
compressed-     weight_packed (outputs, inputs * bits / 32); weight_shape, two integers, the shape of the parameters;
tensors         weight_scale (outputs, groups); weight_zero_point and weight_g_idx may be missing.
                NVFP4: weight_packed (outputs, inputs / 2) uint8; weight_scale (outputs, inputs / 16) float8_e4m3fn;
                weight_global_scale, one value
MXFP4           NAME_blocks (..., groups, 16) and NAME_scales (..., groups), both uint8, as in gpt-oss

32 is the size in bits of a value of qweight; some files have others. GPTQ packs along the inputs, and AWQ along the
outputs. Sources: QuantState and Linear8bitLt of bitsandbytes; the QuantLinear of AutoGPTQ and of GPTQModel; AutoAWQ's
WQLinear_GEMM, WQLinear_GEMV and WQLinear_GEMVFast; pack_to_int32 and NVFP4PackedCompressor of compressed-tensors; the
mxfp4 of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from paramctl.core.parameter import DTYPE_BYTES, Parameter
from paramctl.model import Model
from paramctl.store.io.json_limits import parse_json

BITS = (2, 3, 4, 8)
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
TABLES = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
MAX_STATE = 1 << 16
"""The largest size of a quantization state that is read, in bytes; real ones have about 100."""


class Packed(NamedTuple):
    """An array of packed parameters.

    bits: the size of a parameter. shape: that of the parameters. stored: the number of stored values, and dtype theirs.
    scales: the paths of the arrays that the parameters are computed with: scales, zeros, and their tables.
    """

    path: str
    bits: int
    shape: tuple[int, ...]
    stored: int
    dtype: str
    scales: tuple[str, ...]

    @property
    def parameters(self) -> int:
        return prod(self.shape)


def find_packed(model: Model, read: Callable[[str], bytes]) -> list[Packed]:
    """Return the packed arrays of a file, in its order. read: returns the bytes of a small array."""
    found = [*_bitsandbytes(model, read), *_eight_bits(model), *_qweights(model), *_compressed(model, read)]
    return [*found, *_nvfp4(model), *_mxfp4(model)]


def _named(model: Model, end: str) -> list[tuple[str, Parameter]]:
    """Return the parameters whose paths have an end: none of many thousands, in most files."""
    return [(path, parameter) for path, parameter in model.parameters.items() if path.endswith(end)]


def parameter_counts(packed: Sequence[Packed]) -> Mapping[str, int]:
    """Return the number of parameters of each array that holds another number of them than of values."""
    counts = dict.fromkeys((path for each in packed for path in each.scales), 0)
    return counts | {each.path: each.parameters for each in packed}


def _bitsandbytes(model: Model, read: Callable[[str], bytes]) -> Iterator[Packed]:
    marker = f"{model.separator}quant_state{model.separator}bitsandbytes__"
    for path, parameter in model.parameters.items():
        name, found, kind = path.partition(marker)
        if not found or kind not in ("nf4", "fp4") or name not in model.parameters or parameter.size > MAX_STATE:
            continue
        state = _parse_state(read(path))
        scales = [f"{name}{model.separator}{key}" for key in TABLES]
        present = [scale for scale in scales if scale in model.parameters]
        weight = model.parameters[name]
        if state is None or present[:2] != scales[:2] or model.parameters[scales[1]].size != 16:
            continue
        shape, block = state
        # two in a byte; the last byte of an odd number of parameters is half empty
        if _ceil(prod(shape), 2) == weight.bytes and _ceil(prod(shape), block) == model.parameters[scales[0]].size:
            yield Packed(name, 4, shape, weight.size, weight.dtype, (*present, path))


def _parse_state(data: bytes) -> tuple[tuple[int, ...], int] | None:
    """Return the shape and the block size in a quantization state; None if it is malformed."""
    try:
        state: Any = parse_json(data.decode())
    except ValueError:
        return None
    if not isinstance(state, dict) or not isinstance(state.get("shape"), list):
        return None
    numbers = [*state["shape"], state.get("blocksize")]
    if not all(isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in numbers):
        return None
    return tuple(state["shape"]), state["blocksize"]


def _eight_bits(model: Model) -> Iterator[Packed]:
    """Yield the weights of bitsandbytes in 8 bits, which hold one parameter a value."""
    for path, scale in _named(model, "SCB"):
        start = path.removesuffix("SCB")
        weight = model.parameters.get(f"{start}weight")
        if weight is None or weight.dtype != "int8" or len(weight.shape) != 2:
            continue
        if scale.dtype == "float32" and scale.shape == weight.shape[:1]:
            others = [name for name in (path, f"{start}weight_format") if name in model.parameters]
            yield Packed(weight.path, 8, weight.shape, weight.size, weight.dtype, tuple(others))


def _qweights(model: Model) -> Iterator[Packed]:
    for path, weight in _named(model, "qweight"):
        start = path.removesuffix("qweight")
        if (start and not start.endswith(model.separator)) or weight.dtype not in INTEGERS:
            continue
        beside = {key: model.parameters.get(start + key) for key in ("scales", "qzeros", "g_idx")}
        scales, zeros, groups = beside["scales"], beside["qzeros"], beside["g_idx"]
        if scales is None or zeros is None or not len(weight.shape) == len(scales.shape) == len(zeros.shape) == 2:
            continue
        unpacked = _unpacked(weight, scales, zeros) or _for_vectors(weight, scales, zeros)
        if unpacked is None or (groups is not None and groups.shape != (unpacked[1][0],)):
            continue
        others = tuple(parameter.path for parameter in beside.values() if parameter is not None)
        yield Packed(path, *unpacked, weight.size, weight.dtype, others)


def _unpacked(weight: Parameter, scales: Parameter, zeros: Parameter) -> tuple[int, tuple[int, int]] | None:
    """Return the bits and the shape (inputs, outputs) of the parameters of GPTQ or AWQ; None for other shapes."""
    width = 8 * DTYPE_BYTES[weight.dtype]
    groups, outputs = scales.shape
    bits, rest = divmod(zeros.shape[1] * width, outputs or 1)
    if rest or bits not in BITS or zeros.dtype != weight.dtype or zeros.shape[0] != groups or not groups:
        return None
    if scales.dtype not in ("float16", "bfloat16", "float32"):
        return None
    if weight.shape[1] == outputs:  # GPTQ
        inputs, rest = divmod(weight.shape[0] * width, bits)
    elif weight.shape[1] == zeros.shape[1]:  # AWQ
        inputs, rest = weight.shape[0], 0
    else:
        return None
    # every group has the same number of inputs, except that the last of GPTQ may have fewer
    if rest or groups > inputs or _ceil(inputs, _ceil(inputs, groups)) != groups:
        return None
    return bits, (inputs, outputs)


def _for_vectors(weight: Parameter, scales: Parameter, zeros: Parameter) -> tuple[int, tuple[int, int]] | None:
    """Return the bits and the shape (inputs, outputs) of AutoAWQ's layouts for products with vectors, or None."""
    if weight.dtype == zeros.dtype == "int32":
        outputs, padded, inputs = weight.shape[0], scales.shape[1], 8 * weight.shape[1]
        fits = zeros.shape == (outputs, padded // 8) and scales.shape[0] == outputs
    else:
        (padded, outputs), inputs = scales.shape, weight.shape[1]
        fits = weight.dtype == "int16" and zeros.shape == scales.shape and zeros.dtype == scales.dtype
        fits = fits and 4 * weight.shape[0] == outputs
    if not fits or scales.dtype != "float16" or padded % 8:
        return None
    # the groups, 8 to a value, are padded to a number of values that grows as the size of a group shrinks
    steps = {32: 4, 64: 2} | dict.fromkeys((128, 256, 512, 1024, max(128, inputs)), 1)
    widths = {_ceil(_ceil(inputs // size, 8), step) * step for size, step in steps.items() if inputs % size == 0}
    return (4, (inputs, outputs)) if inputs and padded // 8 in widths else None


def _nvfp4(model: Model) -> Iterator[Packed]:
    for path, weight in _named(model, "_packed"):
        start = path.removesuffix("_packed")
        beside = [model.parameters.get(f"{start}{name}") for name in ("_scale", "_global_scale")]
        scale, factor = beside
        if scale is None or factor is None or weight.dtype != "uint8" or len(weight.shape) != 2:
            continue
        outputs, inputs = weight.shape[0], 2 * weight.shape[1]
        is_scale = scale.dtype == "float8_e4m3fn" and inputs % 16 == 0 and scale.shape == (outputs, inputs // 16)
        if is_scale and factor.size == 1 and factor.dtype == "float32":
            yield Packed(path, 4, (outputs, inputs), weight.size, weight.dtype, (scale.path, factor.path))


def _mxfp4(model: Model) -> Iterator[Packed]:
    for path, blocks in _named(model, "_blocks"):
        scales = model.parameters.get(f"{path.removesuffix('_blocks')}_scales")
        if scales is None or blocks.dtype != "uint8" or scales.dtype != "uint8":
            continue
        *groups, size = blocks.shape or (0,)
        if size == 16 and groups and scales.shape == tuple(groups):
            shape = (*groups[:-1], 32 * groups[-1])
            yield Packed(path, 4, shape, blocks.size, blocks.dtype, (scales.path,))


def _compressed(model: Model, read: Callable[[str], bytes]) -> Iterator[Packed]:
    for path, weight in _named(model, "_packed"):
        start = path.removesuffix("_packed")
        shape, scale = model.parameters.get(f"{start}_shape"), model.parameters.get(f"{start}_scale")
        if shape is None or scale is None or weight.dtype != "int32" or len(weight.shape) != 2:
            continue
        if shape.dtype not in ("int32", "int64") or shape.shape != (2,) or len(scale.shape) != 2:
            continue
        data, width = read(shape.path), DTYPE_BYTES[shape.dtype]
        outputs, inputs = (int.from_bytes(part, "little", signed=True) for part in (data[:width], data[width:]))
        # older versions leave bits empty that newer ones fill, as with three bits
        columns = {bits: (_ceil(inputs, 32 // bits), _ceil(inputs * bits, 32)) for bits in BITS}
        possible = [bits for bits, counts in columns.items() if weight.shape[1] in counts]
        if len(possible) != 1 or inputs < 1 or weight.shape[0] != outputs or scale.shape[0] != outputs:
            continue
        others = [f"{start}_{name}" for name in ("shape", "scale", "zero_point", "g_idx")]
        present = tuple(other for other in others if other in model.parameters)
        yield Packed(path, possible[0], (outputs, inputs), weight.size, weight.dtype, present)


def _ceil(number: int, divisor: int) -> int:
    """Return a quotient rounded up, exactly for integers of any size."""
    return -(-number // divisor)
