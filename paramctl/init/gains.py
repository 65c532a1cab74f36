"""Gains: the factors by which a scheme widens its distribution for the activation function that follows.

Gains of functions that torch.nn.init.calculate_gain supports are torch's. The others preserve the second moment of a
standard normal input: 1 / sqrt(E[f(z)^2]), computed to 30 digits.
"""

from __future__ import annotations

from math import sqrt
from typing import Annotated, Any

from paramctl.declare.located import Located
from paramctl.declare.option_types import OptionType
from paramctl.errors import suggest

GAINS = {
    "linear": 1.0,
    **{f"conv{suffix}{rank}d": 1.0 for suffix in ("", "_transpose") for rank in (1, 2, 3)},
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": sqrt(2),
    "leaky_relu": sqrt(2 / (1 + 0.01**2)),
    "selu": 3 / 4,
    "gelu": 1.5335304411955353,
    "silu": 1.676532470331091,
    "elu": 1.2451983007007066,
    "mish": 1.486847581273208,
    "softplus": 1.0418668355353018,
    "softsign": 2.3375333631085398,
}


class GainType(OptionType):
    """A gain: a positive number, or the name of an activation function."""

    rule = f"a positive finite number, or an activation: {', '.join(GAINS)}"

    def read(self, node: Located, name: str) -> float:
        value = node.value
        if isinstance(value, str):
            if value in GAINS:
                return GAINS[value]
            raise self.refuse(node, name, suggest(value, GAINS))
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise self.refuse(node, name)
        return value

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"enum": list(GAINS)}]}


Gain = Annotated[float, GainType()]
