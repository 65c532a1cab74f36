"""Signals: how the activations of a model spread from layer to layer, and the gradients on the way back.

The gradients are those of the sum of the output's values, each times a standard normal number, so their deviation at
the output is 1, whatever the loss. https://proceedings.mlr.press/v9/glorot10a.html looks at networks in this way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from paramctl.compute.forward import Pass
from paramctl.compute.generators import Purpose, generator
from paramctl.compute.graph import Graph, Step
from paramctl.compute.norms import l2_norm
from paramctl.compute.space import NUMPY
from paramctl.compute.values import Values
from paramctl.core.dtypes import Array
from paramctl.model import Model
from paramctl.model.layers import Layer

SATURATED = 0.99
"""The share of the way to the end of a bounded function's range from which a value counts as saturated."""
BOUNDS = {
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "soft_sign": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "relu6": (0.0, 6.0),
}
"""The range of each activation function that has one. The lower end of relu6 is no saturation but a dead unit."""
CAN_DIE = ("relu", "relu6", "threshold")
"""The activation functions that give exactly 0 for many inputs."""


@dataclass(frozen=True, slots=True)
class LayerSignal:
    """The output of one layer, over all examples.

    mean, stddev, rms: of its values; rms is the root of the mean square. zeros: the share of values that are 0.
    dead: the share of units, the places on the last axis, that are 0 for every example; None if its function is not one
        that gives zeros. saturated: the share of values near an end of its function's range; None without a range.
    gradient: the root mean square of the gradient with respect to the output; None if it was not computed.
    """

    path: str
    type: str
    mean: float
    stddev: float
    rms: float
    dead: float | None
    saturated: float | None
    gradient: float | None


@dataclass(frozen=True, slots=True)
class ParameterSignal:
    """The gradient of one array. norm, gradient_norm: L2 norms. ratio: of the gradient's to the values'."""

    path: str
    shape: tuple[int, ...]
    norm: float
    gradient_norm: float
    ratio: float | None


class Signals(NamedTuple):
    """The signals of a model. input_rms: of the first input that has fractions, or 1."""

    layers: list[LayerSignal]
    parameters: list[ParameterSignal]
    input_rms: float


def signals(
    model: Model, graph: Graph, values: Values, inputs: Mapping[str, Array], seed: int, backward: bool
) -> Signals:
    """Return the signals for some inputs. backward: also those of the gradients, which requires autograd."""
    outputs: list[tuple[Step, Array]] = []

    def keep(step: Step, output: Array) -> Array:
        outputs.append((step, output))
        return output

    with np.errstate(all="ignore"):
        Pass(graph, NUMPY, values.of).run(inputs, None, keep)
        back = _Backward(model, graph, values, seed).run(inputs, outputs) if backward else None
        layers = [
            _layer(step, output, None if back is None else back.outputs.get(number))
            for number, (step, output) in enumerate(outputs)
        ]
        parameters = [
            _parameter(path, values[path], array) for path, array in (back.parameters if back else {}).items()
        ]
    fractions = [_rms(array) for array in inputs.values() if array.dtype.kind == "f"]
    start = fractions[0] if fractions and fractions[0] else 1.0
    return Signals(layers, parameters, start)


class _Gradients(NamedTuple):
    """The gradients with respect to the outputs of steps by number, and to each trainable array.

    Outputs of integers have none.
    """

    outputs: dict[int, Array]
    parameters: dict[str, Array]


@dataclass
class _Backward:
    """The way back through a model."""

    model: Model
    graph: Graph
    values: Values
    seed: int

    def run(self, inputs: Mapping[str, Array], outputs: list[tuple[Step, Array]]) -> _Gradients:
        from paramctl.compute.gradient_space import GRADIENTS, gradient
        from paramctl.compute.gradients import Differentiation
        from paramctl.compute.losses import Sum

        differentiation = Differentiation(self.model, self.graph, Sum())
        random = generator(self.seed, Purpose.PROJECTION)
        # a zero that is added to an output has the gradient of that output
        zeros: dict[Any, Array] = {
            number: np.zeros_like(output) for number, (_, output) in enumerate(outputs) if output.dtype.kind == "f"
        }
        arrays = zeros | {use: self.values[use.path] for use in differentiation.trained}
        weights: dict[int, Array] = {}

        def projection(traced: Mapping[Any, Array]) -> Array:
            numbers = count()

            def add_zero(step: Step, output: Array) -> Array:
                number = next(numbers)
                return output + traced[number] if number in zeros else output

            passed = Pass(self.graph, GRADIENTS, lambda step: differentiation.arrays_of(step, traced, self.values))
            total: Any = 0.0
            for place, value in passed.run(inputs, None, add_zero).items():
                if place not in weights:
                    weights[place] = random.standard_normal(value.shape).astype(self.values.dtype)
                total = total + GRADIENTS.sum(value * weights[place])
            loss: Array = total
            return loss

        _, gradients = gradient(projection, arrays)
        shares = {use: gradients[use] for use in differentiation.trained}
        return _Gradients({number: gradients[number] for number in zeros}, differentiation.summed(shares))


def _layer(step: Step, output: Array, gradient: Array | None) -> LayerSignal:
    name = _function_name(step.layer)
    wide = output.astype(np.float64)
    dead = saturated = None
    if name in CAN_DIE and output.size:
        units = output.reshape(-1, output.shape[-1]) if output.ndim else output.reshape(1, 1)
        dead = float((units == 0).all(axis=0).mean())
    if name in BOUNDS and output.size:
        low, high = BOUNDS[name]
        middle, half = (low + high) / 2, (high - low) / 2
        ends = wide > middle + SATURATED * half if name in CAN_DIE else np.abs(wide - middle) > SATURATED * half
        saturated = float(ends.mean())
    mean, stddev = (float(wide.mean()), float(wide.std())) if output.size else (0.0, 0.0)
    back = None if gradient is None else _rms(gradient)
    return LayerSignal(step.path, step.layer.type, mean, stddev, _rms(output), dead, saturated, back)


def _function_name(layer: Layer) -> str:
    """Return the name of the activation function that a layer ends with, or an empty string."""
    function = vars(layer).get("activation")
    return layer.type if layer.type in BOUNDS or layer.type in CAN_DIE else getattr(function, "name", "")


def _parameter(path: str, values: Array, gradient: Array) -> ParameterSignal:
    norm, gradient_norm = l2_norm(values), l2_norm(gradient)
    return ParameterSignal(path, values.shape, norm, gradient_norm, gradient_norm / norm if norm else None)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values.astype(np.float64))))) if values.size else 0.0
