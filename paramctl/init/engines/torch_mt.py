"""torch's CPU generator: the values that torch 2.13 draws after ``torch.manual_seed(seed)``, bit for bit.

torch has one stream of words for all tensors. How many words a tensor takes follows from its law, its size and its
dtype, so the place of each tensor is known beforehand, and any block of it can be drawn. Only a truncated law has to
be drawn to know where it ends.

Two builds of torch's kernels give different values: those for processors with AVX2 and FMA, which round products and
sums once, and the default ones, which the environment variable ATEN_CPU_CAPABILITY=default selects.

Source: torch, aten/src/ATen/native/cpu/DistributionTemplates.h and torch/nn/init.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.init.distributions import Constant, Delta, Distribution, ExistingValues, Normal, Padded, Uniform
from paramctl.init.engines import torch_matrices, torch_truncated
from paramctl.init.engines.base import DrawRequest
from paramctl.init.engines.mt19937 import Words
from paramctl.init.engines.native import draw_block
from paramctl.init.engines.streams import BLOCK_SIZE, Stream
from paramctl.init.engines.torch_kernels import Kernels, Place, Tensor, after_normal, after_uniform
from paramctl.init.engines.torch_laws import (
    OrthogonalRows,
    SparseColumns,
    TorchLaw,
    TruncatedAt,
    Zeroed,
    ZeroedBelow,
)

RECIPE = 1
"""The version of the values. They are torch's, so another one would mean that these were wrong."""

DRAWN_WHOLE = (OrthogonalRows, SparseColumns)
"""The laws whose values depend on each other, and are drawn at once."""


@dataclass(frozen=True, slots=True)
class TorchEngine:
    """The engine of torch's CPU generator. fused: True for its kernels for processors with AVX2 and FMA.

    It draws Constant, Delta, ExistingValues, Uniform, Normal and Padded, and the laws of torch_laws.py, in float32,
    float64, bfloat16 and float16.
    """

    fused: bool = True
    recipe: int = RECIPE
    addressable: bool = False

    @property
    def name(self) -> str:
        return "torch" if self.fused else "torch:no-fma"

    def start(self, seed: int, requests: Mapping[str, DrawRequest]) -> TorchDraws:
        """Return the values for a seed, of which only the low 32 bits matter. ``requests`` are in drawing order."""
        return TorchDraws(Kernels(Words(seed), self.fused), requests)


class TorchDraws:
    """The values of a program under one seed, by the names of its tensors."""

    def __init__(self, kernels: Kernels, requests: Mapping[str, DrawRequest]) -> None:
        self.kernels, self.requests = kernels, requests
        self._places: dict[str, Place] = {}
        self._further = self._all_places()
        self._lock = threading.Lock()

    def block_size(self, path: str) -> int:
        """Return BLOCK_SIZE, or the size of a tensor that is drawn at once."""
        law, shape, _ = self.requests[path]
        return max(1, prod(shape)) if isinstance(law, DRAWN_WHOLE) else BLOCK_SIZE

    def draw(self, path: str, block: int) -> Array:
        """Return the values of one block in the tensor's dtype. Raises TooLargeToDraw."""
        law, shape, dtype = self.requests[path]
        tensor = Tensor(prod(shape), dtype, self.place(path))
        start = block * self.block_size(path)
        stop = min(start + self.block_size(path), tensor.size)
        return _values(law, shape, tensor, self.kernels, start, stop)

    def place(self, path: str) -> Place:
        """Return the place in the stream where a tensor begins."""
        with self._lock:
            while path not in self._places:
                name, place = next(self._further)
                self._places[name] = place
            return self._places[path]

    def _all_places(self) -> Iterator[tuple[str, Place]]:
        """Yield the place of each tensor, in drawing order."""
        place = Place()
        for name, (law, shape, dtype) in self.requests.items():
            yield name, place
            place = _after(law, shape, Tensor(prod(shape), dtype, place), self.kernels)


def _after(law: Distribution | TorchLaw, shape: tuple[int, ...], tensor: Tensor, kernels: Kernels) -> Place:
    """Return the place after a tensor."""
    match law:
        case Constant() | Delta() | ExistingValues():
            return tensor.place
        case Uniform(_, _, 1):
            return after_uniform(tensor)
        case Normal():
            return after_normal(tensor)
        case Padded(rest) | Zeroed(rest) | ZeroedBelow(rest):
            return _after(rest, shape, tensor, kernels)
        case TruncatedAt():
            return torch_truncated.after(law, tensor, kernels)
        case OrthogonalRows():
            return after_normal(tensor)
        case SparseColumns():
            return torch_matrices.after_sparse(shape, tensor)
        case _:
            raise TypeError(f"torch has no counterpart of {law}")


def _values(
    law: Distribution | TorchLaw, shape: tuple[int, ...], tensor: Tensor, kernels: Kernels, start: int, stop: int
) -> Array:
    """Return the values of a tensor from one flat index to another."""
    match law:
        case Constant() | Delta() | ExistingValues():
            wide = np.dtype(np.float64 if tensor.dtype == np.float64 else np.float32)
            return draw_block(law, Stream(0, ""), start // BLOCK_SIZE, tensor.size, wide).astype(tensor.dtype)
        case Uniform(low, high, 1):
            return kernels.uniform(tensor, low, high, start, stop)
        case Normal(mean, stddev):
            return kernels.normal(tensor, mean, stddev, start, stop)
        case Padded(rest, columns, _):
            return _values(Zeroed(rest, 0, columns), shape, tensor, kernels, start, stop)
        case Zeroed(rest, first, last):
            values = _values(rest, shape, tensor, kernels, start, stop)
            values[max(first - start, 0) : max(last - start, 0)] = 0
            return values
        case ZeroedBelow(rest, least):
            values = _values(rest, shape, tensor, kernels, start, stop)
            values *= np.abs(values) >= least  # as the books write it, so that a negative value becomes -0
            return values
        case TruncatedAt():
            return torch_truncated.values(law, tensor, kernels, start, stop)
        case OrthogonalRows(gain):
            return torch_matrices.orthogonal(gain, shape, tensor, kernels)
        case SparseColumns():
            return torch_matrices.sparse(law, shape, tensor, kernels)
        case _:
            raise TypeError(f"torch has no counterpart of {law}")
