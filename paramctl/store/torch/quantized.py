"""The values of quantized tensors, in float32 with the bits that torch's ``dequantize()`` gives them.

https://pytorch.org/docs/stable/quantization-support.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.core.parameter import Encoding
from paramctl.store.contents import BLOCK_SIZE, Reader
from paramctl.store.torch.tensors import QUANTIZED, Quantization, Tensor


def encoding_of(quantization: Quantization) -> Encoding:
    _, count = QUANTIZED[quantization.name]
    return Encoding(quantization.name, count, 4 if quantization.name == "qint32" else 1)


def integers_of(tensor: Tensor) -> Tensor:
    """Return a quantized tensor as its stored integers. Several that share a byte are one value, without axes."""
    count = QUANTIZED[tensor.quantization.name][1] if tensor.quantization else 1
    if count == 1:
        return replace(tensor, quantization=None)
    size = -(-prod(tensor.shape) // count)
    return replace(tensor, quantization=None, shape=(size,), strides=(1,))


class QuantizedReader:
    """A reader of quantized tensors.

    integers, scales, zero_points: readers of these by the path of the tensor. The last two have those along an axis.
    """

    def __init__(self, tensors: Mapping[str, Tensor], integers: Reader, scales: Reader, zero_points: Reader) -> None:
        self.tensors, self.integers = tensors, integers
        self.scales, self.zero_points = scales, zero_points

    def read(self, path: str, start: int, stop: int) -> Array:
        values = np.empty(stop - start, np.float32)
        with np.errstate(all="ignore"):  # a scale of a damaged file may be infinite
            for begin in range(start, stop, BLOCK_SIZE):
                end = min(begin + BLOCK_SIZE, stop)
                values[begin - start : end - start] = self._decode(path, begin, end)
        return values

    def _decode(self, path: str, start: int, stop: int) -> Array:
        quantization = self.tensors[path].quantization
        assert quantization is not None
        integers = self._integers(path, quantization.name, start, stop)
        scale, zero_point = quantization.scale, quantization.zero_point
        if not isinstance(scale, Tensor) and not isinstance(zero_point, Tensor):
            # the difference of two 32-bit integers wraps around in torch too
            shifted: Array = integers.astype(np.int32) - np.array(zero_point, np.int32)
            return shifted.astype(np.float32) * np.float32(scale)
        scales, zero_points = self._along_axis(path, quantization.axis, start, stop)
        differences = integers.astype(np.float32) - zero_points.astype(np.float32)
        if quantization.is_float:
            return differences * scales.astype(np.float32)
        # torch multiplies by the scale of a channel in double precision, but by that of a tensor in single
        return (differences.astype(np.float64) * scales.astype(np.float64)).astype(np.float32)

    def _integers(self, path: str, name: str, start: int, stop: int) -> Array:
        count = QUANTIZED[name][1]
        if count == 1:
            return self.integers.read(path, start, stop)
        data = self.integers.read(path, start // count, -(-stop // count))
        bits = 8 // count
        # the first value is in the lowest bits
        parts = np.stack([data >> (bits * place) & ((1 << bits) - 1) for place in range(count)], axis=1)
        first = start // count * count
        return parts.reshape(-1)[start - first : stop - first]

    def _along_axis(self, path: str, axis: int, start: int, stop: int) -> tuple[Array, Array]:
        """Return the scale and the zero point of each value of a range."""
        shape = self.tensors[path].shape
        size, run = shape[axis], prod(shape[axis + 1 :])
        first, last = start // run, -(-stop // run)
        places = np.arange(start, stop) // run - first
        if last - first >= size:  # all channels, over and over
            indices = (places + first) % size
            return self.scales.read(path, 0, size)[indices], self.zero_points.read(path, 0, size)[indices]
        # the range may begin with the last channels and go on with the first ones
        begin, end = first % size, first % size + last - first
        spans = [(begin, min(end, size)), (0, max(end - size, 0))]
        both = (
            np.concatenate([reader.read(path, *span) for span in spans if span[0] < span[1]])
            for reader in (self.scales, self.zero_points)
        )
        scales, zero_points = (values[places] for values in both)
        return scales, zero_points
