"""Schemes: functions from a parameter to a law. There is no randomness in here.

To add one, write one function: its name is the scheme's, its annotated arguments are its options
(the first is the main one), its docstring's first line is the formula. Names, options and
defaults are Keras'; ``also`` are other names for it.
"""

import inspect
from collections.abc import Callable
from math import fsum, sqrt
from typing import Annotated, NamedTuple

from paramctl.errors import suggest
from paramctl.init.distributions import (
    Constant,
    Identity,
    Law,
    Mixture,
    Normal,
    Orthogonal,
    Sections,
    TruncatedNormal,
    Uniform,
)
from paramctl.kinds import Choice, IsNumber, IsScheme, Kind, NotNegative, Number, Positive, Scheme
from paramctl.node import Node, call, show
from paramctl.options import Option, bind, by_name, declared
from paramctl.parameter import Parameter

TRUNCATED_STDDEV = 0.87962566103423978
"""The deviation of a standard normal law cut at 2: what truncation takes away."""


ZEROS = Node("zeros")
MOST_PARTS = 64


class Unfit(ValueError):
    """What a scheme asks of a parameter that this one has not."""


class Registered(NamedTuple):
    """A scheme: its name, its function, and the options that the function declares."""

    name: str
    function: Callable[..., Law]
    options: dict[str, Option]


SCHEMES: dict[str, Registered] = {}
"""Every scheme by each of its names."""


def scheme(*also: str) -> Callable[[Callable[..., Law]], Callable[..., Law]]:
    """Register a function as a scheme, under its own name and these."""

    def register(function: Callable[..., Law]) -> Callable[..., Law]:
        arguments = inspect.signature(function).parameters.values()
        defaults = {each.name: each.default for each in arguments if each.default is not each.empty}
        name = function.__name__
        registered = Registered(name, function, declared(function.__annotations__, defaults))
        SCHEMES.update(dict.fromkeys((name, *also), registered))
        return function

    return register


def law(node: Node, parameter: Parameter) -> Law:
    """The law that a scheme, written as a call, gives a parameter.

    Raises DocumentError if there is no such scheme, if its options are wrong, or if it asks
    something of the parameter that it has not.
    """
    name, registered, arguments = look_up(node)
    given = by_name(registered.name, arguments, registered.options)
    options = bind(registered.name, arguments or name, given, registered.options)
    try:
        return registered.function(parameter, **options)
    except Unfit as unfit:
        raise name.error(f"{registered.name} for {parameter.path}: {unfit}", str(parameter.shape)) from None


def look_up(node: Node) -> tuple[Node, Registered, Node | None]:
    """The scheme that a call names: the node of its name, the scheme, and the call's arguments."""
    called = call(node)
    if called is None:
        raise node.error(f"a scheme must be {IsScheme.words}")
    name, arguments = called
    registered = SCHEMES.get(str(name.value))
    if registered is None:
        raise name.error("no scheme has this name", hint=suggest(str(name.value), SCHEMES))
    return name, registered, arguments


def text(node: Node) -> str:
    """A scheme that gives a law, in one line, its options by name: ``random_normal(stddev=0.02)``."""
    _, registered, arguments = look_up(node)
    given = by_name(registered.name, arguments, registered.options)
    options = ", ".join(f"{name}={_option_text(registered.options[name], value)}" for name, value in given.items())
    return f"{registered.name}({options})" if options else registered.name


def _option_text(option: Option, node: Node) -> str:
    if isinstance(option.kind, IsScheme):
        return text(node)
    if isinstance(option.kind, IsParts):
        return f"[{', '.join(f'{probability} {text(part)}' for probability, part in option.read(node))}]"
    return show(node).strip("'")


class IsParts(Kind):
    """The parts of a mixture: [probability, scheme], the probabilities adding up to 1."""

    words = "a list of [probability, scheme], the probabilities adding up to 1"
    takes_list = True
    probability = IsNumber("a number from 0 to 1", least=0)

    def read(self, node: Node, name: str) -> list[tuple[float, Node]]:
        parts = []
        if isinstance(node.value, list) and len(node.value) > MOST_PARTS:
            raise node.error(f"a mixture may have at most {MOST_PARTS} parts")
        for part in node.value if isinstance(node.value, list) else [node]:
            if not isinstance(part.value, list) or len(part.value) != 2:
                raise self.refuse(part, name)
            probability, scheme = part.value
            parts.append((self.probability.read(probability, "a probability"), scheme))
        if abs(fsum(probability for probability, _ in parts) - 1) > 1e-9:
            raise self.refuse(node, name)
        return parts


def _fans(parameter: Parameter) -> tuple[float, int]:
    if parameter.fans is None:
        raise Unfit("it needs a parameter with fans, one that maps inputs to outputs")
    return parameter.fans


@scheme("zero")
def zeros(parameter: Parameter) -> Law:
    """0"""
    return Constant(0.0)


@scheme("one")
def ones(parameter: Parameter) -> Law:
    """1"""
    return Constant(1.0)


@scheme()
def constant(parameter: Parameter, value: Number = 0.0) -> Law:
    """value"""
    return Constant(value)


@scheme("uniform")
def random_uniform(parameter: Parameter, minval: Number = -0.05, maxval: Number = 0.05) -> Law:
    """U(minval, maxval)"""
    if maxval < minval:
        raise Unfit(f"minval {minval} exceeds maxval {maxval}")
    return Uniform(minval, maxval)


@scheme("normal")
def random_normal(parameter: Parameter, mean: Number = 0.0, stddev: NotNegative = 0.05) -> Law:
    """N(mean, stddev)"""
    return Normal(mean, stddev)


@scheme()
def truncated_normal(parameter: Parameter, mean: Number = 0.0, stddev: NotNegative = 0.05) -> Law:
    """N(mean, stddev), drawn again beyond 2 stddev"""
    return TruncatedNormal(mean, stddev)


@scheme()
def variance_scaling(
    parameter: Parameter,
    scale: Positive = 1.0,
    mode: Annotated[str, Choice("fan_in", "fan_out", "fan_avg")] = "fan_in",
    distribution: Annotated[str, Choice("truncated_normal", "untruncated_normal", "uniform")] = "truncated_normal",
) -> Law:
    """variance scale / max(1, fan): truncated or plain normal, or uniform"""
    fan_in, fan_out = _fans(parameter)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    variance = scale / max(1.0, fan)
    if distribution == "truncated_normal":
        return TruncatedNormal(0.0, sqrt(variance) / TRUNCATED_STDDEV)
    if distribution == "uniform":
        return Uniform(-sqrt(3 * variance), sqrt(3 * variance))
    return Normal(0.0, sqrt(variance))


@scheme("glorot", "xavier", "xavier_uniform")
def glorot_uniform(parameter: Parameter) -> Law:
    """U(-a, a), a = sqrt(6 / (fan_in + fan_out)); Glorot and Bengio (2010)"""
    return variance_scaling(parameter, 1.0, "fan_avg", "uniform")


@scheme("xavier_normal")
def glorot_normal(parameter: Parameter) -> Law:
    """truncated N(0, s), s = sqrt(2 / (fan_in + fan_out)) after truncation; Glorot and Bengio (2010)"""
    return variance_scaling(parameter, 1.0, "fan_avg", "truncated_normal")


@scheme("kaiming_uniform")
def he_uniform(parameter: Parameter) -> Law:
    """U(-a, a), a = sqrt(6 / fan_in); He et al. (2015)"""
    return variance_scaling(parameter, 2.0, "fan_in", "uniform")


@scheme("he", "kaiming", "kaiming_normal")
def he_normal(parameter: Parameter) -> Law:
    """truncated N(0, s), s = sqrt(2 / fan_in) after truncation; He et al. (2015)"""
    return variance_scaling(parameter, 2.0, "fan_in", "truncated_normal")


@scheme()
def lecun_uniform(parameter: Parameter) -> Law:
    """U(-a, a), a = sqrt(3 / fan_in); LeCun et al. (1998)"""
    return variance_scaling(parameter, 1.0, "fan_in", "uniform")


@scheme("lecun")
def lecun_normal(parameter: Parameter) -> Law:
    """truncated N(0, s), s = sqrt(1 / fan_in) after truncation; LeCun et al. (1998)"""
    return variance_scaling(parameter, 1.0, "fan_in", "truncated_normal")


@scheme()
def orthogonal(parameter: Parameter, gain: Number = 1.0) -> Law:
    """gain times an orthogonal matrix; Saxe et al. (2014)"""
    if len(parameter.axes) < 2:
        raise Unfit("it needs two axes or more")
    return Orthogonal(gain)


@scheme()
def identity(parameter: Parameter, gain: Number = 1.0) -> Law:
    """gain times the unit matrix"""
    if len(parameter.axes) != 2:
        raise Unfit("it needs two axes")
    return Identity(gain)


@scheme()
def mixture(parameter: Parameter, parts: Annotated[list[tuple[float, Node]], IsParts()]) -> Law:
    """each value from one of several schemes, chosen with these probabilities"""
    return Mixture(tuple((probability, law(node, parameter)) for probability, node in parts))


@scheme()
def unit_forget_bias(parameter: Parameter, initializer: Scheme = ZEROS) -> Law:
    """initializer, but 1 for the second of an LSTM's four gates; Jozefowicz et al. (2015)"""
    other = law(initializer, parameter)
    return Sections((other, Constant(1.0), other, other))
