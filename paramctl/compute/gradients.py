"""Gradients: the derivative of a loss with respect to each use of each trainable parameter.

A layer that is applied twice uses its kernel twice, and so do two tied layers. Each use has a share; the gradient of
the parameter is their sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np

from paramctl.compute.data import Examples
from paramctl.compute.forward import Pass
from paramctl.compute.gradient_space import GRADIENTS, gradient, value_of
from paramctl.compute.graph import Graph, Step, numbered
from paramctl.compute.losses import Loss, unmasked
from paramctl.core.dtypes import Array
from paramctl.model import Model
from paramctl.parallel import Progress, advancing


class Use(NamedTuple):
    """One use of a parameter. step: the number of the step's output. name: relative to its layer. path: its own."""

    step: int
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Slope:
    """The loss of a batch and its derivatives.

    outputs: of the model. gradients: by the paths of the arrays that are trained, each tied array once.
    shares: by use. updates: the new values of parameters that are state, by path.
    count: the number of examples, or of the steps that the mask of the output keeps; 0 for a sum.
    """

    loss: float
    outputs: list[Array]
    gradients: dict[str, Array]
    shares: dict[Use, Array]
    updates: dict[str, Array]
    count: int


@dataclass
class Differentiation:
    """A model whose loss is differentiated.

    trained: the uses of trainable parameters. training, random: as in Call.
    """

    model: Model
    graph: Graph
    loss: Loss
    training: bool = False
    random: Any = None
    trained: list[Use] = field(init=False)

    def __post_init__(self) -> None:
        uses = [Use(step.output, name, path) for step in self.graph.steps for name, path in step.parameters.items()]
        self.trained = [use for use in uses if self.model.owner(use.path).trainable]
        self._traced = {*self.trained}

    def slope(self, values: Mapping[str, Array], inputs: Mapping[str, Array], targets: Array) -> Slope:
        """Return the loss of a batch and its derivatives at these values. values: of every parameter, by path."""
        outputs: list[Array] = []
        passed: Pass | None = None
        count = 0

        def loss_of(arrays: Mapping[Use, Array]) -> Array:
            nonlocal outputs, passed, count

            passed = Pass(
                self.graph,
                GRADIENTS,
                lambda step: self.arrays_of(step, arrays, values),
                self.training,
                self.random,
                self.model.tied,
            )
            outputs = [*passed.run(inputs).values()]
            loss, count = self.loss_of(passed, outputs, targets)
            return loss

        with np.errstate(all="ignore"):  # infinities and NaN are values, which the callers check
            loss, shares = gradient(loss_of, {use: values[use.path] for use in self.trained})
        assert passed is not None
        updates = {path: value_of(value) for path, value in passed.updates.items()}
        return Slope(float(loss), [*map(value_of, outputs)], self.summed(shares), shares, updates, count)

    def loss_of(self, passed: Pass, outputs: Sequence[Array], targets: Array) -> tuple[Array, int]:
        """Return the loss of a batch, and the number of examples or steps of which it is the mean; 0 for a sum.

        passed: the pass that gave the outputs. A loss without targets is the sum over all outputs.
        """
        if not self.loss.has_targets:
            return reduce(add, [self.loss.compute(GRADIENTS, output, targets) for output in outputs]), 0
        output, wanted = outputs[0], self.loss.fit(outputs[0].shape, targets)
        (mask,) = passed.output_masks.values()
        if mask is None:
            return self.loss.compute(GRADIENTS, output, wanted), len(targets)
        kept, wanted = unmasked(output, wanted, value_of(mask))
        # the mean of no step is 0, as in Keras
        return (self.loss.compute(GRADIENTS, kept, wanted) if len(wanted) else GRADIENTS.sum(output) * 0), len(wanted)

    def arrays_of(self, step: Step, traced: Mapping[Use, Array], values: Mapping[str, Array]) -> dict[str, Array]:
        """Return the arrays of a step, by path relative to its layer: traced ones for the uses that are trained."""
        uses = {name: Use(step.output, name, path) for name, path in step.parameters.items()}
        return {name: traced[use] if use in self._traced else values[use.path] for name, use in uses.items()}

    def whole(
        self, values: Mapping[str, Array], examples: Examples, batch_size: int, progress: Progress | None = None
    ) -> Slope:
        """Return the loss of all examples and its derivatives, a batch at a time. Outputs and updates are left out."""
        advance = advancing(progress, examples.rows)
        loss, shares, count = 0.0, {use: np.zeros_like(values[use.path]) for use in self.trained}, 0
        for batch in examples.batches(batch_size):
            rows = len(next(iter(batch.inputs.values())))
            slope = self.slope(values, batch.inputs, batch.targets)
            count += slope.count
            weight = slope.count / examples.rows if self.loss.is_mean else 1.0
            loss += weight * slope.loss
            for use, share in slope.shares.items():
                shares[use] += share * shares[use].dtype.type(weight)
            advance(rows)
        if self.loss.is_mean and count not in (0, examples.rows):  # a mask, which shows only in the outputs
            loss *= examples.rows / count
            shares = {use: share * share.dtype.type(examples.rows / count) for use, share in shares.items()}
        return Slope(loss, [], self.summed(shares), shares, {}, count)

    def uses(self) -> dict[Use, str]:
        """Return the names of the uses of arrays that have several: ``shared/kernel#2`` is the second of that path.

        A number that makes the name of another parameter is left out.
        """
        several = Counter(self.model.owner(use.path).path for use in self.trained)
        taken = {*self.model.parameters}
        names = {}
        for use in self.trained:
            if several[self.model.owner(use.path).path] > 1:
                names[use] = numbered(use.path, 1, taken)
                taken.add(names[use])
        return names

    def summed(self, shares: Mapping[Use, Array]) -> dict[str, Array]:
        """Return the sum of the shares of each array, by the path that keeps it."""
        sums: dict[str, Array] = {}
        for use, share in shares.items():
            tie = self.model.tied.get(use.path)
            kept = tie.kept if tie is not None else use.path
            turned = share.T if tie is not None and tie.transpose else share
            sums[kept] = turned if kept not in sums else sums[kept] + turned
        return sums
