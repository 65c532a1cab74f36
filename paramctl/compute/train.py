"""Train a model: steps of an optimizer on batches of examples.

A step depends on the values and the optimizer's arrays before it, and on the seed and its number. So training that
stops and goes on gives the same values, bit for bit, as training that does not stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from paramctl.compute.generators import Purpose, generator
from paramctl.compute.gradients import Differentiation, Use
from paramctl.compute.norms import l2_norm
from paramctl.compute.optimizers import Optimizer
from paramctl.compute.shuffle import Shuffled
from paramctl.compute.values import Values
from paramctl.core.dtypes import Array
from paramctl.errors import InputError


class Watched(NamedTuple):
    """One watched parameter in one step.

    norm, gradient_norm: L2 norms of the values before the step, and of the gradient. update_ratio: the norm of the
    change over that of the values; None if these are all zero. shares: the gradient's norm by use, of several.
    """

    path: str
    norm: float
    gradient_norm: float
    update_ratio: float | None
    shares: Mapping[str, float]


class StepReport(NamedTuple):
    """One step of training, from 1. loss: of its batch, before the step."""

    step: int
    loss: float
    watched: list[Watched]


@dataclass
class Training:
    """A model in training.

    step: the number of steps that are done. slots: the arrays that the optimizer keeps, by path and name.
    watch: the paths of parameters to report on.
    """

    differentiation: Differentiation
    values: Values
    batches: Shuffled
    optimizer: Optimizer
    rate: float
    seed: int
    watch: list[str] = field(default_factory=list)
    step: int = 0
    slots: dict[str, dict[str, Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._names = self.differentiation.uses()
        for path in self.trained:
            array = np.array(self.values[path])  # a copy, because steps change it
            self.values.put(path, array)
            self.slots.setdefault(path, {slot: np.zeros_like(array) for slot in self.optimizer.slots})

    @property
    def trained(self) -> list[str]:
        """The paths that keep the arrays which are trained."""
        model = self.differentiation.model
        return [*dict.fromkeys(model.owner(use.path).path for use in self.differentiation.trained)]

    @property
    def changed(self) -> dict[str, Array]:
        """The arrays that training changes: the trained ones, and the state of layers, by path."""
        state = [each.path for each in self.differentiation.model.owners() if each.kind == "state"]
        return {path: self.values[path] for path in [*self.trained, *state]}

    def advance(self) -> StepReport:
        """Do one step. Raises InputError, before anything changes, if a result of it is not finite."""
        number = self.step + 1
        batch = self.batches.batch(self.step)
        self.differentiation.random = generator(self.seed, Purpose.TRAINING, number)
        watched, values, slots = [], {}, {}
        with np.errstate(all="ignore"):  # a result that is not finite is refused below
            slope = self.differentiation.slope(self.values, batch.inputs, batch.targets)
            if not np.isfinite(slope.loss):
                raise self._error(f"the loss of step {number:,} is {slope.loss}. Try a smaller learning rate")
            # all gradients are those before the step, so the order of the parameters does not matter
            for path, gradient in slope.gradients.items():
                self._check_finite(gradient, f"the gradient of {path}", number)
                value = self.values[path]
                slots[path] = {slot: array.copy() for slot, array in self.slots[path].items()}
                change = self.optimizer.step(value, gradient, slots[path], self.rate, number)
                values[path] = (value + change).astype(value.dtype, copy=False)
                self._check_finite(values[path], f"the new value of {path}", number)
                for slot, array in slots[path].items():
                    self._check_finite(array, f"the optimizer's array {slot} of {path}", number)
                if path in self.watch:
                    watched.append(self._watched(path, value, gradient, change, slope.shares))
        for path, array in slope.updates.items():
            values[path] = array.astype(self.values[path].dtype, copy=False)
            self._check_finite(values[path], f"the new value of {path}", number)
        for path, array in values.items():
            self.values.put(path, array)
        self.slots |= slots
        self.step = number
        return StepReport(number, slope.loss, watched)

    def _check_finite(self, array: Array, place: str, number: int) -> None:
        if not np.isfinite(array).all():
            raise self._error(f"{place} in step {number:,} is not finite. Try a smaller learning rate")

    def _error(self, rule: str) -> InputError:
        return InputError(f"{self.differentiation.model.name}: {rule}")

    def _watched(self, path: str, value: Array, gradient: Array, change: Array, shares: Mapping[Use, Array]) -> Watched:
        norm = l2_norm(value)
        model = self.differentiation.model
        by_use = {name: l2_norm(shares[use]) for use, name in self._names.items() if model.owner(use.path).path == path}
        return Watched(path, norm, l2_norm(gradient), l2_norm(change) / norm if norm else None, by_use)
