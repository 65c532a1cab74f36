"""torch's own initial values: the plan of a program that makes a model in torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import frexp, prod

from paramctl.conversion.exact.order import OrderItem
from paramctl.conversion.exact.plan import ExactPlan, Promise
from paramctl.conversion.exact.torch_program import Draw, Program
from paramctl.init.distributions import Constant, Delta, Padded, Uniform
from paramctl.init.engines.base import DrawRequest, Engine
from paramctl.init.engines.torch_laws import OrthogonalRows, ZeroedBelow
from paramctl.init.rules import AssignedScheme
from paramctl.model import Model

VERSIONS = "torch>=2.12"
SMALL = 16
"""Fewer normal values are drawn one pair at a time, in float64."""
MACHINE, LIBM, LAPACK = "machine", "libm", "lapack"
"""What the bits of values may depend on: fused multiply-adds, the C library's functions, its linear algebra."""


@dataclass(frozen=True, slots=True)
class Torch:
    """torch on a CPU. name: as it is chosen. engine: of its stream. machine: on which equal bits are promised."""

    name: str
    engine: Engine
    machine: str
    preset: str = "torch"

    @property
    def versions(self) -> str:
        return f"{VERSIONS}, {self.machine}"

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
        return ExactPlan(
            self.engine,
            _requests(draws, last, read),
            {name: parameter for name, parameter in program.tensors.items() if name in read},
            arrangements,
            {path: self._promise(each) for path, each in sources.items()},
            {path: " + ".join(dict.fromkeys(draw.text for draw in each)) for path, each in sources.items()},
        )

    def _promise(self, draws: Sequence[Draw]) -> Promise:
        """Return how far the values of draws agree with torch's: as far as those that agree the least."""
        needs = {need for draw in draws for need in _needs(draw.request)}
        if LAPACK in needs:
            return Promise(False, f"the values of {draws[0].text} are only close, because they depend on LAPACK")
        conditions = [self.machine] if MACHINE in needs else []
        return Promise(True, ", ".join([VERSIONS, *conditions, *(["glibc"] if LIBM in needs else [])]))


def _needs(request: DrawRequest) -> Iterator[str]:
    """Yield what the bits of a draw depend on."""
    match request.distribution:
        case Constant() | Delta():
            return
        case Padded(rest) | ZeroedBelow(rest):
            yield from _needs(request._replace(distribution=rest))
        case Uniform(low, high):
            # x * (high - low) + low: if one operation is exact, it does not matter whether both are rounded once
            if low and frexp(high - low)[0] != 0.5:
                yield MACHINE
        case OrthogonalRows():
            yield LAPACK
        case _:  # normal values
            yield MACHINE if prod(request.shape) >= SMALL else LIBM


def _requests(draws: Sequence[Draw], last: Mapping[str, Draw], read: set[str]) -> dict[str, DrawRequest]:
    """Return the draws in order by name. A tensor's last draw has its name, and earlier ones have numbers too.

    Calls that draw nothing are left out, unless their values are read.
    """
    requests = {}
    for number, draw in enumerate(draws, 1):
        is_last = last[draw.name] is draw
        if (is_last and draw.name in read) or not isinstance(draw.request.distribution, (Constant, Delta)):
            requests[draw.name if is_last else f"{draw.name}, call {number}"] = draw.request
    return requests
