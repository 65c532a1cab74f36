"""The registry of schemes: their declaration, lookup and one-line text."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from paramctl.core.parameter import Axis, Parameter
from paramctl.declare.located import Located, parse_call, preview
from paramctl.declare.option_types import SchemeType
from paramctl.declare.options import Option, arguments_by_name, bind_options, declared_options
from paramctl.errors import suggest
from paramctl.init.distributions import Distribution
from paramctl.init.fans import Fans
from paramctl.init.fans import fans as fans_of


class SchemeMismatch(ValueError):
    """A scheme does not apply to a parameter. The message completes "SCHEME for PATH: ..."."""


class Target(NamedTuple):
    """The facts that a scheme may use: a parameter's path, its axes, and its fans by the chosen convention."""

    path: str
    axes: tuple[Axis, ...]
    known_fans: Fans | None

    @classmethod
    def of(cls, parameter: Parameter, convention: str = "true") -> Target:
        return cls(parameter.path, parameter.axes, fans_of(parameter, convention))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.axes)

    @property
    def fans(self) -> Fans:
        """(fan_in, fan_out). Raises SchemeMismatch if the parameter has none."""
        if self.known_fans is None:
            if any(axis.role == "unknown" for axis in self.axes):
                rule = "requires fans, but the file does not record which axes are inputs"
                raise SchemeMismatch(f"{rule}; add --like MODEL, or --layout torch")
            raise SchemeMismatch("requires fans, which only a parameter that maps inputs to outputs has")
        return self.known_fans


class RegisteredScheme(NamedTuple):
    """A registered scheme: its name, its function, the options that the function declares, and its aliases."""

    name: str
    function: Callable[..., Distribution]
    options: dict[str, Option]
    aliases: tuple[str, ...]


SCHEMES: dict[str, RegisteredScheme] = {}
"""Every scheme, by its name and by each alias."""


def scheme(
    *aliases: str, instead: tuple[str, ...] = ()
) -> Callable[[Callable[..., Distribution]], Callable[..., Distribution]]:
    """Return a decorator that registers a function as a scheme, under its name and these aliases.

    instead: how to write a value alone, which is then refused; see Option.
    """

    def register(function: Callable[..., Distribution]) -> Callable[..., Distribution]:
        arguments = inspect.signature(function).parameters.values()
        defaults = {argument.name: argument.default for argument in arguments if argument.default is not argument.empty}
        name, declared = function.__name__, declared_options(function.__annotations__, defaults)
        options = {key: option._replace(instead=instead) for key, option in declared.items()}
        registered = RegisteredScheme(name, function, options, aliases)
        SCHEMES.update(dict.fromkeys((name, *aliases), registered))
        return function

    return register


def distribution(node: Located, target: Target) -> Distribution:
    """Return the distribution of a parameter by a scheme, which is written as a call.

    Raises DocumentError if the scheme is unknown, its options are wrong, or it does not apply to the parameter.
    """
    try:
        return distribution_if_applicable(node, target)
    except SchemeMismatch as mismatch:
        name, registered, _ = lookup(node)
        raise name.error(f"{registered.name} for {target.path}: {mismatch}", f"shape {target.shape}") from None


def distribution_if_applicable(node: Located, target: Target) -> Distribution:
    """Return the distribution of a parameter by a scheme. Raises SchemeMismatch if it does not apply."""
    registered, options = bound_scheme(node)
    try:
        return registered.function(target, **options)
    except OverflowError:  # such as gain 1e200, which is squared
        raise SchemeMismatch("its options are too large: the result exceeds float64") from None


def bound_scheme(node: Located) -> tuple[RegisteredScheme, dict[str, Any]]:
    """Return the scheme that a call names, and the value of each of its options."""
    name, registered, arguments = lookup(node)
    by_name = arguments_by_name(registered.name, arguments, registered.options)
    return registered, bind_options(registered.name, arguments or name, by_name, registered.options)


def lookup(node: Located) -> tuple[Located, RegisteredScheme, Located | None]:
    """Return the node of a call's name, the scheme that it names, and the call's arguments.

    Raises DocumentError if the node is not a call, or no scheme has the name.
    """
    call = parse_call(node)
    if call is None:
        raise node.error(f"a scheme must be {SchemeType.rule}")
    name, arguments = call
    registered = SCHEMES.get(str(name.value))
    if registered is None:
        raise name.error("no scheme has this name", hint=suggest(str(name.value), SCHEMES))
    return name, registered, arguments


def format_scheme(node: Located) -> str:
    """Return a valid scheme in one line, with its options by name: ``random_normal(stddev=0.02)``."""
    _, registered, arguments = lookup(node)
    by_name = arguments_by_name(registered.name, arguments, registered.options)
    options = ", ".join(f"{name}={_option_text(registered.options[name], value)}" for name, value in by_name.items())
    return f"{registered.name}({options})" if options else registered.name


def _option_text(option: Option, node: Located) -> str:
    # schemes within a scheme: unit_forget_bias(initializer=zeros), mixture(parts=[0.5 zeros, 0.5 ones])
    if isinstance(option.type, SchemeType):
        return format_scheme(node)
    if option.name == "parts":
        return f"[{', '.join(f'{probability} {format_scheme(part)}' for probability, part in option.read(node))}]"
    return preview(node).strip("'")
