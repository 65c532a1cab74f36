"""LSUV: weights scaled, layer by layer, until the outputs of each layer have variance 1 for given examples.

Mishkin and Matas, All you need is a good init (2016): orthogonal matrices first, then each divided by the deviation of
its layer's outputs before the activation function. https://arxiv.org/abs/1511.06422
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

TOLERANCE = 0.01
"""The distance of the variance from 1 that is left."""
MOST_ROUNDS = 10


class Lsuv(Pass):
    """A pass that scales the weights of each layer when it first comes to it."""

    def __init__(self, model: Model, graph: Graph, values: Values, paths: frozenset[str]) -> None:
        super().__init__(graph, NUMPY, values.of)
        self.model, self.values, self.paths = model, values, paths
        self.scaled: dict[str, Array] = {}

    def apply(self, step: Step, inputs: list[Array], masks: list[Array | None]) -> tuple[Array, Array | None]:
        names = [path for path in step.parameters.values() if path in self.paths and path not in self.scaled]
        if names:
            self._scale(step, names, inputs, masks)
        return super().apply(step, inputs, masks)

    def _scale(self, step: Step, names: list[str], inputs: list[Array], masks: list[Array | None]) -> None:
        """Divide the weights of a step until its outputs have variance 1, or stay the same however large they are."""
        linear = copy(step.layer)
        if vars(linear).get("activation") is not None:
            vars(linear)["activation"] = None
        before = replace(step, layer=linear)
        # several weights of one step share the factor, so that their product has it
        for path in names:
            self.scaled[path] = self.values[path]
        for _ in range(MOST_ROUNDS):
            output, _ = super().apply(before, inputs, masks)
            deviation = float(np.std(output.astype(np.float64)))
            if not deviation or not np.isfinite(deviation) or abs(deviation**2 - 1) < TOLERANCE:
                break
            for path in names:
                self.scaled[path] = (self.scaled[path] / deviation ** (1 / len(names))).astype(output.dtype)
                self.values.put(path, self.scaled[path])


def lsuv(
    model: Model, graph: Graph, values: Values, inputs: Mapping[str, Array], paths: frozenset[str]
) -> dict[str, Array]:
    """Return the scaled arrays, by path. values: those to begin with. paths: the arrays to scale."""
    scaling = Lsuv(model, graph, values, paths)
    with np.errstate(all="ignore"):
        scaling.run(inputs)
    return scaling.scaled
