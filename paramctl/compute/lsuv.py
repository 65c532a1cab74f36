"""LSUV: weights scaled, layer by layer, until the outputs of each layer have variance 1 for given examples.

Mishkin and Matas, All you need is a good init (2016): orthogonal matrices first, then each divided by the deviation of
its layer's outputs before the activation function. https://arxiv.org/abs/1511.06422

An activation within a recurrent cell is no function of the output, so there the outputs themselves are measured. Those
of an LSTM never reach variance 1, however large the weights are; such weights stay orthogonal.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import replace

import numpy as np

from paramctl.compute.forward import Pass
from paramctl.compute.graph import Graph, Step
from paramctl.compute.space import NUMPY
from paramctl.compute.values import Values
from paramctl.core.dtypes import Array
from paramctl.model import Model
from paramctl.model.layers import Layer

TOLERANCE = 0.01
"""The distance of the variance from 1 that is left."""
MOST_ROUNDS = 10


class Lsuv(Pass):
    """A pass that scales the weights of each layer when it first comes to it.

    scaled: the scaled arrays by path. kept: the variance of the outputs of each array that scaling does not bring to 1.
    """

    def __init__(self, model: Model, graph: Graph, values: Values, paths: frozenset[str]) -> None:
        super().__init__(graph, NUMPY, values.of)
        self.model, self.values, self.paths = model, values, paths
        self.scaled: dict[str, Array] = {}
        self.kept: dict[str, float] = {}

    def apply(self, step: Step, inputs: list[Array], masks: list[Array | None]) -> tuple[Array, Array | None]:
        names = [path for path in step.parameters.values() if path in self.paths and path not in self.done]
        if names:
            self._scale(step, names, inputs, masks)
        return super().apply(step, inputs, masks)

    @property
    def done(self) -> set[str]:
        """The paths of the weights of all steps so far."""
        return self.scaled.keys() | self.kept.keys()

    def _scale(self, step: Step, names: list[str], inputs: list[Array], masks: list[Array | None]) -> None:
        """Divide the weights of a step until its outputs have variance 1; keep them if the outputs do not reach it."""
        before = replace(step, layer=_before_activation(step.layer))
        drawn = {path: self.values[path] for path in names}
        for _ in range(MOST_ROUNDS + 1):
            output, _ = super().apply(before, inputs, masks)
            deviation = float(np.std(output.astype(np.float64))) if output.size else 0.0
            if abs(deviation**2 - 1) < TOLERANCE:
                self.scaled |= {path: self.values[path] for path in names}
                return
            if not deviation or not np.isfinite(deviation):
                break
            for path in names:
                # several weights of one step share the factor, so that their product has it
                self.values.put(path, (self.values[path] / deviation ** (1 / len(names))).astype(output.dtype))
        for path, array in drawn.items():
            self.values.put(path, array)
            self.kept[path] = deviation**2


def _before_activation(layer: Layer) -> Layer:
    """Return a layer without the activation function of its output, which is one that may be left out."""
    option = layer.signature.get("activation")
    if option is None or option.default is not None:
        return layer
    linear = copy(layer)
    vars(linear)["activation"] = None
    return linear


def lsuv(model: Model, graph: Graph, values: Values, inputs: Mapping[str, Array], paths: frozenset[str]) -> Lsuv:
    """Return a pass with the scaled arrays. values: those to begin with. paths: the arrays to scale."""
    scaling = Lsuv(model, graph, values, paths)
    with np.errstate(all="ignore"):
        scaling.run(inputs)
    return scaling
