"""Values of quantized tensors, decoded in float32 by the gguf package, which is an extra: ``paramctl[gguf]``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.errors import InputError
from paramctl.store.contents import BLOCK_SIZE
from paramctl.store.gguf.header import Tensor
from paramctl.store.gguf.tensor_types import BLOCKS, EXTRA
from paramctl.store.location import Location


class QuantizedReader:
    """A reader of the values of quantized tensors of one file. Reads only the blocks that hold the wanted values."""

    def __init__(self, location: Location, tensors: Mapping[str, Tensor]) -> None:
        self.location, self.tensors = location, tensors

    def read(self, path: str, start: int, stop: int) -> Array:
        values = np.empty(stop - start, np.float32)
        for begin in range(start - start % BLOCK_SIZE, stop, BLOCK_SIZE):  # every block size divides BLOCK_SIZE
            first, last = max(begin, start), min(begin + BLOCK_SIZE, stop)
            values[first - start : last - start] = self._decode(self.tensors[path], first, last)
        return values

    def _decode(self, tensor: Tensor, start: int, stop: int) -> Array:
        name, count, size = BLOCKS[tensor.code]
        first, last = start // count, -(-stop // count)
        # a slice may begin and end within blocks, which are decoded as a whole
        data = np.empty((last - first) * size, np.uint8)
        if self.location.read_into(tensor.begin + first * size, data.data) < len(data):
            raise InputError(f"{self.location.name}: truncated within {tensor.name}")
        place = f"{self.location.name}: {tensor.name}"
        # slow to import, and needed for no plain tensor
        try:
            from gguf import GGMLQuantizationType
            from gguf.quants import dequantize
        except ImportError as error:
            raise InputError(f"{place}: reading values in {name} {EXTRA}") from error
        try:
            with np.errstate(all="ignore"):  # the scale of a damaged block may be infinite
                decoded: Array = dequantize(data, GGMLQuantizationType(tensor.code))
        except (NotImplementedError, ValueError) as error:
            raise InputError(f"{place}: this version of the gguf package has no decoder for the type {name}") from error
        return decoded[start - first * count : stop - first * count]
