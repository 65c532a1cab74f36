"""The registered schemes, and the effect of a scheme on a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paramctl.core.parameter import Parameter
from paramctl.declare.located import scalar_text
from paramctl.errors import AddressError, suggest
from paramctl.init.distributions import moments, support
from paramctl.init.fans import fans, fans_explained
from paramctl.init.registry import SCHEMES, RegisteredScheme, Target
from paramctl.init.rules import Scheme
from paramctl.inspect.layers import default_text, first_paragraph


@dataclass(frozen=True, slots=True)
class SchemeRow:
    """A registered scheme: its name and aliases, its options with defaults, its formula, and the formula's source."""

    scheme: str
    also: tuple[str, ...]
    options: tuple[str, ...]
    formula: str
    source: str


@dataclass(frozen=True, slots=True)
class EffectRow:
    """The effect of a scheme on a parameter.

    account: the origin of the fans. distribution: the type of the distribution.
    mean, stddev, low, high: of the distribution; None if unknown, or unbounded.
    """

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
    """Return the schemes with these names, or all. Raises AddressError for an unknown name."""
    for name in names:
        if name not in SCHEMES:
            raise AddressError("no scheme has this name", repr(name), suggest(name, SCHEMES))
    # By name, because each alias is a key of SCHEMES too.
    by_name = {scheme.name: scheme for scheme in (SCHEMES[name] for name in names or SCHEMES)}
    return [_row(scheme) for scheme in by_name.values()]


def _row(scheme: RegisteredScheme) -> SchemeRow:
    options = tuple(
        option.name if option.required else f"{option.name}={scalar_text(default_text(option.default))}"
        for option in scheme.options.values()
    )
    # "formula; source", in which the formula may have semicolons too
    formula, _, source = first_paragraph(scheme.function).rpartition("; ")
    return SchemeRow(scheme.name, scheme.aliases, options, formula, source)


def effect_row(scheme: Scheme, parameter: Parameter, convention: str) -> EffectRow:
    """Return the effect of a scheme on a parameter. Raises SchemeMismatch if the scheme does not apply to it."""
    distribution = scheme.distribution(Target.of(parameter, convention))
    fan_in, fan_out = fans(parameter, convention) or (None, None)
    mean, stddev = moments(distribution) or (None, None)
    low, high = support(distribution) or (None, None)
    return EffectRow(
        scheme=scheme.text,
        path=parameter.path,
        shape=parameter.shape,
        fan_in=fan_in,
        fan_out=fan_out,
        account=fans_explained(parameter, convention),
        distribution=type(distribution).__name__,
        mean=mean,
        stddev=stddev,
        low=low,
        high=high,
    )
