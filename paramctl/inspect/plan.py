"""The plan or the report of an initialization: a row for each array."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from paramctl.init.distributions import moments
from paramctl.init.fans import fans
from paramctl.init.rules import AssignedScheme
from paramctl.model import Model


@dataclass(frozen=True, slots=True)
class PlanRow:
    """The initialization of one array.

    scheme, reason: its scheme, and what assigned it; None and "kept" for an array that keeps its values.
    mean, stddev: of the scheme's distribution; None if unknown.
    measured_mean, measured_stddev: of the values written; None if none were measured.
    exactly: the framework whose own values they are, with the versions and machines that have the same bits.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    scheme: str | None
    reason: str
    fan_in: int | float | None
    fan_out: int | float | None
    mean: float | None
    stddev: float | None
    measured_mean: float | None
    measured_stddev: float | None
    exactly: str | None = None


def plan(
    model: Model,
    assigned: Mapping[str, AssignedScheme],
    convention: str = "true",
    measured: Callable[[str], tuple[float, float] | None] = lambda path: None,
    exactly: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[PlanRow]:
    """Yield a row for each stored array, in the model's order.

    assigned: the scheme of each array that gets values, by path.
    convention: the convention of the fans.
    measured: returns the mean and the standard deviation measured in an array, by path.
    exactly: the framework whose own values an array has, by path.
    """
    for parameter in model.owners():
        assignment = assigned.get(parameter.path)
        fan_in, fan_out = fans(parameter, convention) or (None, None)
        mean, stddev = (moments(assignment.distribution) if assignment else None) or (None, None)
        measured_mean, measured_stddev = measured(parameter.path) or (None, None)
        yield PlanRow(
            path=parameter.path,
            shape=parameter.shape,
            dtype=parameter.dtype,
            scheme=assignment.scheme if assignment else None,
            reason=assignment.reason if assignment else "kept",
            fan_in=fan_in,
            fan_out=fan_out,
            mean=mean,
            stddev=stddev,
            measured_mean=measured_mean,
            measured_stddev=measured_stddev,
            exactly=exactly.get(parameter.path),
        )


def shifts(model: Model, assigned: Mapping[str, AssignedScheme]) -> dict[str, float]:
    """Return the expected mean of each array, which measuring subtracts to keep its sums exact."""
    expected = {path: moments(assignment.distribution) for path, assignment in assigned.items()}
    return {path: both[0] for path, both in expected.items() if both is not None}
