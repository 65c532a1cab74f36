"""The plain distributions of the values of parameters, from the laws by which a framework draws its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt
from typing import Any, get_args

from paramctl.core.views import Arrangement
from paramctl.init.distributions import (
    Constant,
    Distribution,
    Mixture,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from paramctl.init.engines.base import DrawRequest
from paramctl.init.engines.flax import Keyed, VarianceScaling
from paramctl.init.engines.keras import Again
from paramctl.init.engines.torch_laws import OrthogonalRows, SparseColumns, TruncatedAt, Zeroed, ZeroedBelow
from paramctl.init.schemes import TRUNCATED_STDDEV


def distribution_of(arrangement: Arrangement, requests: Mapping[str, DrawRequest]) -> Distribution:
    """Return the distribution of a parameter that is an arrangement of drawn tensors. requests: by tensor."""
    if not arrangement.views:
        return Constant(arrangement.fill)
    parts = [plain(requests[view.path]) for view in arrangement.views]
    if arrangement.summed:
        return _sum(parts)
    sizes = [prod(view.result_shape) for view in arrangement.views]
    return _joined([(size / max(1, sum(sizes)), part) for size, part in zip(sizes, parts, strict=True)])


def plain(request: DrawRequest) -> Distribution:
    """Return the distribution of a drawn tensor's values."""
    law, shape = request.distribution, request.shape
    rows, columns = (shape[0], prod(shape[1:])) if shape else (1, 1)
    match law:
        case Keyed(_, inner) | Again(_, inner):
            return plain(request._replace(distribution=inner))
        case VarianceScaling(variance, "uniform"):
            return Uniform(-sqrt(3 * variance), sqrt(3 * variance))
        case VarianceScaling(variance, "normal"):
            return Normal(0.0, sqrt(variance))
        case VarianceScaling(variance, _):
            return TruncatedNormal(0.0, sqrt(variance) / TRUNCATED_STDDEV)
        case TruncatedAt(mean, 0):
            return Constant(mean)
        case TruncatedAt(mean, stddev, low, high):
            return TruncatedNormal(mean, stddev, (low - mean) / stddev, (high - mean) / stddev)
        case OrthogonalRows(gain):
            return Orthogonal(gain, rows, columns)
        case SparseColumns(stddev, zeros):
            return Sparse(stddev, columns, rows, zeros)
        case Zeroed(rest, start, stop):
            share = (stop - start) / max(1, prod(shape))
            return _joined([(share, Constant(0.0)), (1 - share, plain(request._replace(distribution=rest)))])
        case ZeroedBelow(Uniform(low, high), least):
            below, above = Uniform(low, -least), Uniform(least, high)
            shares = [(part.high - part.low) / (high - low) for part in (below, above)]
            return Mixture(((1 - sum(shares), Constant(0.0)), (shares[0], below), (shares[1], above)))
        case _ if isinstance(law, get_args(Distribution)):
            return law  # type: ignore[no-any-return]
    raise TypeError(f"the distribution of {law} is unknown")


def _joined(parts: list[tuple[float, Distribution]]) -> Distribution:
    """Return the mixture of parts, or the part that all of them are."""
    return parts[0][1] if len({part for _, part in parts}) == 1 else Mixture(tuple(parts))


def _sum(parts: list[Distribution]) -> Distribution:
    """Return the distribution of a sum: of equal uniform values, or of one that is not 0."""
    random = [part for part in parts if part != Constant(0.0)] or parts[:1]
    first: Any = random[0]
    if len(random) == 1:
        return random[0]
    if isinstance(first, Uniform) and random.count(first) == len(random):
        return Uniform(first.low, first.high, len(random))
    raise TypeError(f"the distribution of the sum of {random} is unknown")
