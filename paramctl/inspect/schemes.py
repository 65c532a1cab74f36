"""The schemes there are, and what each would do to a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paramctl.core.parameter import Parameter
from paramctl.declare.located import scalar_text
from paramctl.errors import AddressError, suggest
from paramctl.init.distributions import moments, support
from paramctl.init.fans import account, fans
from paramctl.init.registry import SCHEMES, RegisteredScheme, Target
from paramctl.init.rules import Scheme
from paramctl.inspect.layers import default_text, first_paragraph


@dataclass(frozen=True, slots=True)
class SchemeRow:
    """A scheme: its other names, its options with their defaults, its formula, and where that is from."""

    scheme: str
    also: tuple[str, ...]
    options: tuple[str, ...]
    formula: str
    source: str


@dataclass(frozen=True, slots=True)
class EffectRow:
    """What a scheme would do to a parameter: the fans and how they come about, and the law's moments and bounds."""

    scheme: str
    path: str
    shape: tuple[int, ...]
    fan_in: int | float | None
    fan_out: int | float | None
    account: str
    distribution: str
    mean: float | None
    stddev: float | None
    low: float | None
    high: float | None


def scheme_rows(names: Sequence[str] = ()) -> list[SchemeRow]:
    """The schemes of these names, or all. Raises AddressError for a name that there is not."""
    for name in names:
        if name not in SCHEMES:
            raise AddressError("no scheme has this name", repr(name), suggest(name, SCHEMES))
    chosen = {each.name: each for each in (SCHEMES[name] for name in names or SCHEMES)}
    return [_row(each) for each in chosen.values()]


def _row(scheme: RegisteredScheme) -> SchemeRow:
    options = tuple(
        option.name if option.required else f"{option.name}={scalar_text(default_text(option.default))}"
        for option in scheme.options.values()
    )
    formula, _, source = first_paragraph(scheme.function).rpartition("; ")
    return SchemeRow(scheme.name, scheme.also, options, formula, source)


def effect_row(assigned: Scheme, parameter: Parameter, convention: str) -> EffectRow:
    """What a scheme would do to a parameter. Raises Unfit if it asks of it what it has not."""
    law = assigned.distribution(Target.of(parameter, convention))
    fan_in, fan_out = fans(parameter, convention) or (None, None)
    mean, stddev = moments(law) or (None, None)
    low, high = support(law) or (None, None)
    return EffectRow(
        scheme=assigned.text,
        path=parameter.path,
        shape=parameter.shape,
        fan_in=fan_in,
        fan_out=fan_out,
        account=account(parameter, convention),
        distribution=type(law).__name__,
        mean=mean,
        stddev=stddev,
        low=low,
        high=high,
    )
