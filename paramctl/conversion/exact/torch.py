"""torch's own initial values: the plan of a program that makes a model in torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import frexp, prod
from typing import Any

import numpy as np

from paramctl.conversion.exact.order import OrderItem
from paramctl.conversion.exact.plan import ExactPlan, Promise
from paramctl.conversion.exact.torch_program import Draw, Program
from paramctl.init.distributions import Constant, Delta, Padded, Uniform
from paramctl.init.engines.base import DrawRequest
from paramctl.init.engines.torch_laws import OrthogonalRows, TruncatedAt, ZeroedBelow
from paramctl.init.engines.torch_mt import TorchEngine
from paramctl.init.rules import AssignedScheme
from paramctl.model import Model

VERSIONS = "torch>=2.12"
SMALL = 16
"""Fewer normal values are drawn one pair at a time, in float64."""
HALF_VERSIONS = "torch>=2.13"
"""Older versions draw float16 and bfloat16 otherwise, or were not tried."""
MACHINE, LIBM, LAPACK, HALF = "machine", "libm", "lapack", "half"
"""The dependencies of the bits of values: fused multiply-adds, the C library, linear algebra, a half dtype."""


@dataclass(frozen=True, slots=True)
class Torch:
    """torch on a CPU. fused: True for its kernels for processors with AVX2 and FMA, False for its default ones."""

    fused: bool = True
    preset: str = "torch"

    @property
    def engine(self) -> TorchEngine:
        return TorchEngine(self.fused)

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def machine(self) -> str:
        """The condition under which torch takes these kernels."""
        return "x86-64 with AVX2" if self.fused else "ATEN_CPU_CAPABILITY=default"

    def plan(self, model: Model, assigned: Mapping[str, AssignedScheme], order: Sequence[OrderItem]) -> ExactPlan:
        """Return the plan of a program that constructs the modules, and then initializes by the assigned schemes."""
        chosen = {path: scheme.node for path, scheme in assigned.items() if scheme.node is not None}
        program = Program(model, chosen)
        draws = [*program.draws(order)]
        last = {draw.name: draw for draw in draws}
        stored = {parameter.path for parameter in model.owners()}
        inverse = program.layout.to_keras(model, program.layout.tensors)
        arrangements = {path: arrangement for path, arrangement in inverse.items() if path in stored}
        sources = {path: [last[name] for name in arrangement.paths] for path, arrangement in arrangements.items()}
        read = {draw.name for each in sources.values() for draw in each}
        needs = _all_needs(draws, self.fused)
        schemes = {path: " + ".join(dict.fromkeys(draw.text for draw in each)) for path, each in sources.items()}
        return ExactPlan(
            self.engine,
            _requests(draws, last, read),
            {name: parameter for name, parameter in program.tensors.items() if name in read},
            arrangements,
            {path: self._promise([needs[draw.name] for draw in each], schemes[path]) for path, each in sources.items()},
            schemes,
        )

    def _promise(self, needs: Sequence[frozenset[str]], law: str) -> Promise:
        """Return how far values agree with torch's, from what the bits of each draw depend on. law: in words."""
        needed = frozenset().union(*needs)
        if LAPACK in needed:
            return Promise(False, f"the values of {law} are only close, because they depend on LAPACK")
        versions = HALF_VERSIONS if HALF in needed else VERSIONS
        conditions = [word for need, word in ((MACHINE, self.machine), (LIBM, "glibc")) if need in needed]
        return Promise(True, ", ".join([versions, *conditions]))


def _all_needs(draws: Iterable[Draw], fused: bool) -> dict[str, frozenset[str]]:
    """Return what the bits of each tensor depend on, by name."""
    needs, carried = {}, frozenset[str]()
    for name, request, _ in draws:
        own = frozenset(_needs(request, fused))
        needs[name] = own if _draws_nothing(request) else own | carried
        # how many numbers a truncated law takes depends on their bits, and so does all that is drawn after it
        carried |= own if _is_truncated(request.distribution) else frozenset()
    return needs


def _is_truncated(law: Any) -> bool:
    match law:
        case TruncatedAt():
            return True
        case Padded(rest):
            return _is_truncated(rest)
    return False


def _needs(request: DrawRequest, fused: bool) -> Iterator[str]:
    """Yield what the bits of a draw depend on."""
    if _draws_nothing(request):
        return
    if request.dtype.itemsize == 2:
        yield HALF
    match request.distribution:
        case Padded(rest) | ZeroedBelow(rest):
            yield from _needs(request._replace(distribution=rest), fused)
        case Uniform(low, high):
            kind = np.float64 if request.dtype == np.float64 else np.float32
            # x * (high - low) + low: if one operation is exact, it does not matter whether both are rounded at once
            if low and frexp(kind(high) - kind(low))[0] != 0.5:
                yield MACHINE
        case OrthogonalRows():
            yield LAPACK
        case _:  # normal values
            is_small = prod(request.shape) < SMALL
            if not is_small or getattr(request.distribution, "mean", None):  # a product and a sum
                yield MACHINE
            # only the fused kernels for float32 have functions of their own
            if is_small or not fused or request.dtype == np.float64:
                yield LIBM


def _draws_nothing(request: DrawRequest) -> bool:
    return isinstance(request.distribution, (Constant, Delta))


def _requests(draws: Sequence[Draw], last: Mapping[str, Draw], read: set[str]) -> dict[str, DrawRequest]:
    """Return the draws in order by name. A tensor's last draw has its name, and earlier ones have numbers too.

    Calls that draw nothing are left out, unless their values are read.
    """
    requests = {}
    for number, draw in enumerate(draws, 1):
        is_last = last[draw.name] is draw
        if (is_last and draw.name in read) or not _draws_nothing(draw.request):
            requests[draw.name if is_last else f"{draw.name}, call {number}"] = draw.request
    return requests
