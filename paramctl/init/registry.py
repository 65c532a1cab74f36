"""The registry of schemes: how they declare themselves, are looked up, and are written in one line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import NamedTuple

from paramctl.core.parameter import Axis, Parameter
from paramctl.declare.located import Located, parse_call, preview
from paramctl.declare.option_types import SchemeType
from paramctl.declare.options import Option, arguments_by_name, bind_options, declared_options
from paramctl.errors import suggest
from paramctl.init.distributions import Distribution
from paramctl.init.fans import Fans
from paramctl.init.fans import fans as fans_of


class SchemeMismatch(ValueError):
    """What a scheme asks of a parameter that this one has not."""


class Target(NamedTuple):
    """What a scheme sees of a parameter: its path, its axes, and its fans by the convention that holds."""

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
        """(fan_in, fan_out). Raises Unfit if it has none."""
        if self.known_fans is None:
            if any(axis.role == "unknown" for axis in self.axes):
                raise SchemeMismatch(
                    f"it needs a parameter with fans, and which of its axes are inputs is not known; {LIKE}"
                )
            raise SchemeMismatch("it needs a parameter with fans, one that maps inputs to outputs")
        return self.known_fans


LIKE = "paramctl save --like MODEL writes a file that knows its layers"


class RegisteredScheme(NamedTuple):
    """A scheme: its name, its function, the options that the function declares, and its other names."""

    name: str
    function: Callable[..., Distribution]
    options: dict[str, Option]
    also: tuple[str, ...]


SCHEMES: dict[str, RegisteredScheme] = {}
"""Every scheme by each of its names."""


def scheme(*also: str) -> Callable[[Callable[..., Distribution]], Callable[..., Distribution]]:
    """Register a function as a scheme, under its own name and these."""

    def register(function: Callable[..., Distribution]) -> Callable[..., Distribution]:
        arguments = inspect.signature(function).parameters.values()
        defaults = {each.name: each.default for each in arguments if each.default is not each.empty}
        name = function.__name__
        registered = RegisteredScheme(name, function, declared_options(function.__annotations__, defaults), also)
        SCHEMES.update(dict.fromkeys((name, *also), registered))
        return function

    return register


def distribution(node: Located, target: Target) -> Distribution:
    """The law that a scheme, written as a call, gives a parameter.

    Raises DocumentError if there is no such scheme, if its options are wrong, or if it asks
    something of the parameter that it has not.
    """
    try:
        return distribution_if_fits(node, target)
    except SchemeMismatch as unfit:
        name, registered, _ = lookup(node)
        raise name.error(f"{registered.name} for {target.path}: {unfit}", str(target.shape)) from None


def distribution_if_fits(node: Located, target: Target) -> Distribution:
    """Like law, but raises Unfit where the scheme asks something of the parameter that it has not."""
    name, registered, arguments = lookup(node)
    given = arguments_by_name(registered.name, arguments, registered.options)
    options = bind_options(registered.name, arguments or name, given, registered.options)
    try:
        return registered.function(target, **options)
    except OverflowError:
        raise SchemeMismatch("its numbers are too large to compute with") from None


def lookup(node: Located) -> tuple[Located, RegisteredScheme, Located | None]:
    """The scheme that a call names: the node of its name, the scheme, and the call's arguments."""
    called = parse_call(node)
    if called is None:
        raise node.error(f"a scheme must be {SchemeType.rule}")
    name, arguments = called
    registered = SCHEMES.get(str(name.value))
    if registered is None:
        raise name.error("no scheme has this name", hint=suggest(str(name.value), SCHEMES))
    return name, registered, arguments


def scheme_text(node: Located) -> str:
    """A scheme that gives a law, in one line, its options by name: ``random_normal(stddev=0.02)``."""
    _, registered, arguments = lookup(node)
    given = arguments_by_name(registered.name, arguments, registered.options)
    options = ", ".join(f"{name}={_option_text(registered.options[name], value)}" for name, value in given.items())
    return f"{registered.name}({options})" if options else registered.name


def _option_text(option: Option, node: Located) -> str:
    if isinstance(option.type, SchemeType):
        return scheme_text(node)
    if option.name == "parts":
        return f"[{', '.join(f'{probability} {scheme_text(part)}' for probability, part in option.read(node))}]"
    return preview(node).strip("'")
