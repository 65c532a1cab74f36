"""Programs that fill tensors from torch's generator, as laws of paramctl's engine and as calls of torch.

``python -m tests.exact_streams``, in the folder above this one and with torch, prints the hash of what torch draws in
each program. ATEN_CPU_CAPABILITY selects its kernels.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from paramctl.core.dtypes import Array
from paramctl.init.distributions import Constant, Normal, Padded, Uniform
from paramctl.init.engines.base import DrawRequest
from paramctl.init.engines.torch_laws import SparseColumns, TruncatedAt, Zeroed, ZeroedBelow
from paramctl.init.engines.torch_mt import TorchDraws

GOLDEN = Path(__file__).parent / "fixtures" / "exact" / "torch_streams.json"
"""The hash of torch's bytes for each build of its kernels, program and seed."""
SEEDS = (0, 1, 7, 2**32 + 5, -3)
SIZES = (0, 1, 2, 15, 16, 17, 31, 32, 100, 4099)
LARGE = (2**18 - 1, 2**18, 2**18 + 1, 2**18 + 17, 1_000_003)
"""Sizes around a block, and one of several blocks: drawn with the first seed only."""
DTYPES = ("float32", "float64", "bfloat16", "float16")


class Call(NamedTuple):
    """A tensor that a program fills."""

    law: Any
    shape: tuple[int, ...]
    dtype: str


def programs(seed: int) -> Iterator[tuple[str, list[Call]]]:
    """Yield each program: its name and its calls. All take their values from one stream, so it has to be in place."""
    for dtype in DTYPES:
        sizes = SIZES if seed or dtype == "float64" else SIZES + LARGE
        bounds = ((-0.3, 0.7), (-0.05, 0.05), (0, 1), (0, 0.3), (1000, 1001), (0.1, 0.25))
        uniforms = [Call(Uniform(low, high), (size,), dtype) for size in sizes for low, high in bounds]
        yield f"uniform {dtype}", uniforms
        scales = ((0, 1), (0, 0.02), (0.3, 0.7), (0, 1))
        yield f"normal {dtype}", [Call(Normal(*scale), (size,), dtype) for size in sizes for scale in scales]
        bounds = ((0, 0.02, -2, 2), (0, 1, -2, 2), (0, 1, -1, 0.5), (0.5, 2, -1, 3))
        sizes = (5, 100, 3000, 270_001) if dtype == "float32" and not seed else (5, 100, 3000)
        yield f"truncated {dtype}", [Call(TruncatedAt(*law), (size,), dtype) for size in sizes for law in bounds]
    small = [Call(Normal(0.5, 0.25), (size,), dtype) for size in (1, 3, 2, 5, 7, 15) for dtype in DTYPES]
    between = [Call(Uniform(-1, 1), (3,), "float64"), Call(Normal(0, 1), (40,), "float32")]
    yield "pairs", [call for pair in small for call in (pair, *between)]
    sparse = [Call(SparseColumns(0.01, zeros), shape, "float32") for zeros, shape in ((3, (10, 7)), (30, (100, 30)))]
    padded = Call(Padded(Normal(0, 1), 5, 55), (11, 5), "float32")
    zeroed = Call(Zeroed(Normal(0, 1), 10, 15), (11, 5), "float32")
    below = Call(ZeroedBelow(Uniform(-10, 10), 5), (8, 20), "float32")
    yield "others", [*sparse, below, padded, zeroed, Call(Constant(1.5), (7,), "bfloat16")]


def requests(calls: Sequence[Call]) -> dict[str, DrawRequest]:
    """Return the requests of a program to paramctl's engine, and one for the number after its end."""
    numbered = [*calls, Call(Uniform(0, 1), (1,), "float32")]
    kinds = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in DTYPES}
    return {str(k): DrawRequest(call.law, call.shape, kinds[call.dtype]) for k, call in enumerate(numbered)}


def drawn(draws: TorchDraws, name: str, size: int) -> Array:
    """Return all values of a tensor, block by block."""
    blocks = range(-(-size // draws.block_size(name)))
    return np.concatenate([np.empty(0, draws.requests[name].dtype), *(draws.draw(name, block) for block in blocks)])


def torch_bytes(seed: int, calls: Sequence[Call]) -> Iterator[bytes]:
    """Yield what torch draws in a program, and the number after its end."""
    import torch

    torch.manual_seed(seed)
    for call in calls:
        tensor = torch.empty(call.shape, dtype=getattr(torch, call.dtype))
        fill(torch, tensor, call.law)
        yield tensor.view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    yield torch.rand(1).numpy().tobytes()


def fill(torch: Any, tensor: Any, law: Any) -> None:
    """Call torch's function of a law."""
    match law:
        case Constant(value):
            tensor.fill_(value)
        case Uniform(low, high):
            tensor.uniform_(low, high)
        case Normal(mean, stddev):
            tensor.normal_(mean, stddev)
        case TruncatedAt(mean, stddev, low, high):
            torch.nn.init.trunc_normal_(tensor, mean, stddev, low, high)
        case SparseColumns(stddev, zeros):
            torch.nn.init.sparse_(tensor, zeros / len(tensor), stddev)
        case Padded(rest, columns, _):
            fill(torch, tensor, Zeroed(rest, 0, columns))
        case Zeroed(rest, start, stop):
            fill(torch, tensor, rest)
            tensor.view(-1)[start:stop] = 0
        case ZeroedBelow(rest, least):
            fill(torch, tensor, rest)
            tensor *= tensor.abs() >= least


def torch_hashes() -> Mapping[str, str]:
    """Return the hash of torch's bytes for each program and seed."""
    return {
        f"{name}, seed {seed}": sha256(b"".join(torch_bytes(seed, calls))).hexdigest()
        for seed in SEEDS
        for name, calls in programs(seed)
    }


if __name__ == "__main__":
    json.dump(torch_hashes(), sys.stdout)
