"""Optimizers: the step that a parameter takes along its gradient.

To add an optimizer, write one class. Its name is the class name in snake_case, its options are its annotations, and its
docstring is the formula, with the gradient g, the value w, the learning rate r and the number t of the step, from 1.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.declare.located import Located, parse_call
from paramctl.declare.option_types import NonNegative, Positive, Rate, UnitInterval
from paramctl.declare.options import Configurable
from paramctl.errors import suggest
from paramctl.init.parse import parse_call_text
from paramctl.model.layers.base import snake_case

OPTIMIZERS: dict[str, type["Optimizer"]] = {}
"""Every optimizer by its name."""


class Optimizer(Configurable):
    """An optimizer with its options. slots: the names of the arrays that it keeps for each parameter."""

    name: ClassVar[str] = ""
    slots: ClassVar[tuple[str, ...]] = ()
    default_rate: ClassVar[float] = 0.01

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name = snake_case(cls.__name__)
        OPTIMIZERS[cls.name] = cls

    def step(self, value: Array, gradient: Array, kept: Mapping[str, Array], rate: float, number: int) -> Array:
        """Return the change of a value. The arrays that are kept for it are updated. number: of the step, from 1."""
        raise NotImplementedError


class Sgd(Optimizer):
    """-r * g"""

    def step(self, value: Array, gradient: Array, kept: Mapping[str, Array], rate: float, number: int) -> Array:
        return -rate * gradient


class Momentum(Optimizer):
    """v = momentum * v + g; -r * v. Polyak (1964)."""

    slots = ("velocity",)
    momentum: UnitInterval = 0.9

    def step(self, value: Array, gradient: Array, kept: Mapping[str, Array], rate: float, number: int) -> Array:
        return -rate * self.advance(kept["velocity"], gradient)

    def advance(self, velocity: Array, gradient: Array) -> Array:
        """Return the velocity after a step, which replaces the one before."""
        velocity *= self.momentum
        velocity += gradient
        return velocity


class Nesterov(Momentum):
    """v = momentum * v + g; -r * (g + momentum * v). Sutskever et al. (2013)."""

    def step(self, value: Array, gradient: Array, kept: Mapping[str, Array], rate: float, number: int) -> Array:
        return -rate * (gradient + self.momentum * self.advance(kept["velocity"], gradient))


class Adagrad(Optimizer):
    """s = s + g^2; -r * g / (sqrt(s) + epsilon). Duchi et al. (2011)."""

    slots = ("sum",)
    epsilon: Positive = 1e-10

    def step(self, value: Array, gradient: Array, kept: Mapping[str, Array], rate: float, number: int) -> Array:
        total = kept["sum"]
        total += gradient * gradient
        return -rate * gradient / (np.sqrt(total) + self.epsilon)


class Rmsprop(Optimizer):
    """s = rho * s + (1 - rho) * g^2; -r * g / (sqrt(s) + epsilon). Tieleman and Hinton (2012)."""

    slots = ("square",)
    default_rate = 0.001
    rho: Rate = 0.9
    epsilon: Positive = 1e-8

    def step(self, value: Array, gradient: Array, kept: Mapping[str, Array], rate: float, number: int) -> Array:
        square = kept["square"]
        square *= self.rho
        square += (1 - self.rho) * gradient * gradient
        return -rate * gradient / (np.sqrt(square) + self.epsilon)


class Adam(Optimizer):
    """m = beta_1 * m + (1 - beta_1) * g, v = beta_2 * v + (1 - beta_2) * g^2; -r * M / (sqrt(V) + epsilon).

    M = m / (1 - beta_1^t) and V = v / (1 - beta_2^t) correct the bias of the first steps. Kingma and Ba (2014).
    """

    slots = ("first", "second")
    default_rate = 0.001
    beta_1: Rate = 0.9
    beta_2: Rate = 0.999
    epsilon: Positive = 1e-8

    def step(self, value: Array, gradient: Array, kept: Mapping[str, Array], rate: float, number: int) -> Array:
        first, second = kept["first"], kept["second"]
        first *= self.beta_1
        first += (1 - self.beta_1) * gradient
        second *= self.beta_2
        second += (1 - self.beta_2) * gradient * gradient
        corrected = np.sqrt(second / (1 - self.beta_2**number)) + self.epsilon
        return -rate / (1 - self.beta_1**number) * first / corrected


class Adamw(Adam):
    """adam, and -r * weight_decay * w. Loshchilov and Hutter (2017)."""

    weight_decay: NonNegative = 0.01

    def step(self, value: Array, gradient: Array, kept: Mapping[str, Array], rate: float, number: int) -> Array:
        return super().step(value, gradient, kept, rate, number) - rate * self.weight_decay * value


def parse_optimizer(text: str, option: str) -> Optimizer:
    """Return the optimizer that a text denotes: ``adam`` or ``momentum:momentum=0.5``.

    option: its place, for errors. Raises DocumentError.
    """
    node: Located = parse_call_text(text, option)
    call = parse_call(node)
    name: Any = call[0] if call else node
    cls = OPTIMIZERS.get(str(name.value))
    if call is None or cls is None:
        known = ", ".join(OPTIMIZERS)
        raise name.error(f"an optimizer must be one of {known}", repr(text), suggest(str(name.value), OPTIMIZERS))
    return cls.read_call(cls.name, *call)
