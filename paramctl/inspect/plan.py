"""What an initialization will do, or has done: a row for each array."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from paramctl.init.distributions import moments
from paramctl.init.fans import fans
from paramctl.init.rules import AssignedScheme
from paramctl.model import Model


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One array: its scheme and why, its fans, the moments that its law has, and those that were measured."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    scheme: str | None
    why: str
    fan_in: int | float | None
    fan_out: int | float | None
    mean: float | None
    stddev: float | None
    measured_mean: float | None
    measured_stddev: float | None


def plan(
    model: Model,
    chosen: Mapping[str, AssignedScheme],
    convention: str = "true",
    measured: Callable[[str], tuple[float, float] | None] = lambda path: None,
) -> Iterator[PlanRow]:
    """A row for each stored array, in the model's order. measured: the mean and deviation of one, by path."""
    for parameter in model.owners():
        choice = chosen.get(parameter.path)
        fan_in, fan_out = fans(parameter, convention) or (None, None)
        mean, stddev = (moments(choice.distribution) if choice else None) or (None, None)
        found_mean, found_stddev = measured(parameter.path) or (None, None)
        yield PlanRow(
            path=parameter.path,
            shape=parameter.shape,
            dtype=parameter.dtype,
            scheme=choice.scheme if choice else None,
            why=choice.reason if choice else "kept",
            fan_in=fan_in,
            fan_out=fan_out,
            mean=mean,
            stddev=stddev,
            measured_mean=found_mean,
            measured_stddev=found_stddev,
        )


def shifts(model: Model, chosen: Mapping[str, AssignedScheme]) -> dict[str, float]:
    """The mean that each array is expected to have, about which it is best measured."""
    laws = {path: moments(choice.distribution) for path, choice in chosen.items()}
    return {path: both[0] for path, both in laws.items() if both is not None}
