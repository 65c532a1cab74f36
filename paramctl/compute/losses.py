"""Losses: one number for the outputs of a batch and their targets, the mean over the examples.

To add a loss, write one class. Its name on the command line is the class name in snake_case, its docstring the formula.
"""

from __future__ import annotations

from typing import Any, ClassVar

from paramctl.errors import AddressError, InputError
from paramctl.model.layers.base import snake_case
from paramctl.model.layers.call import Array

LOSSES: dict[str, type[Loss]] = {}
"""Every loss by its name."""

SMALLEST = 1e-7
"""The least probability whose logarithm is taken, as in Keras."""


class Loss:
    """A loss. Subclasses compute it from outputs (batch, ...) and targets in the namespace ``xp``."""

    name: ClassVar[str] = ""
    has_targets: ClassVar[bool] = True
    is_mean: ClassVar[bool] = True
    """False if the loss of several batches is the sum of theirs."""
    integer_targets: ClassVar[bool] = False
    """True if targets may be whole numbers without the last axis of the outputs: the indices of classes."""
    probability_targets: ClassVar[bool] = False
    """True if targets in the shape of the outputs must be probabilities."""

    def __init_subclass__(cls) -> None:
        cls.name = snake_case(cls.__name__)
        LOSSES[cls.name] = cls

    def __init__(self, of_probabilities: bool = False) -> None:
        self.of_probabilities = of_probabilities
        """True if the outputs are probabilities, from a softmax or a sigmoid; otherwise they are logits."""

    def compute(self, xp: Any, outputs: Array, targets: Array) -> Array:
        """Return the mean loss of a batch."""
        raise NotImplementedError

    def fit(self, outputs: tuple[int, ...], targets: Array) -> Array:
        """Return the targets of a batch in the shape of its outputs, or as the indices of classes.

        outputs: their shape. Raises AddressError for targets that do not fit.
        """
        if self.integer_targets and targets.shape != outputs and targets.shape in (outputs[:-1], (*outputs[:-1], 1)):
            return self._classes(targets.reshape(outputs[:-1]), outputs[-1])
        if (*targets.shape, 1) == outputs:  # a number for each example
            targets = targets.reshape(outputs)
        if targets.shape != outputs:
            more = f", or {outputs[1:-1]} for the indices of classes," if self.integer_targets else ""
            rule = f"the targets of {self.name} must have the shape {outputs[1:]}{more} for each example"
            raise AddressError(rule, f"{targets.shape[1:]}")
        wrong = targets[(targets < 0) | (targets > 1)] if self.probability_targets else targets[:0]
        if wrong.size:
            raise AddressError(f"the targets of {self.name} must be probabilities from 0 to 1", f"{wrong.flat[0]}")
        return targets

    def _classes(self, targets: Array, count: int) -> Array:
        """Return the indices of classes as integers. They may be stored as whole floating-point numbers."""
        wrong = targets[(targets < 0) | (targets >= count) | (targets % 1 != 0)]
        if wrong.size:
            rule = f"the targets of {self.name} must be classes from 0 to {count - 1}"
            raise AddressError(rule, f"{wrong[0]}")
        return targets if targets.dtype.kind in "iu" else targets.astype("int64")


def unmasked(outputs: Array, targets: Array, mask: Array) -> tuple[Array, Array]:
    """Return the outputs and targets of the steps that a mask keeps, as if each were an example.

    As in Keras, a loss is the mean over these steps. mask: (batch, steps). Raises InputError for other axes.
    """
    axes = outputs.shape[:-1]
    if mask.shape != axes and (*mask.shape, 1) != axes:
        rule = "the mask of the output must have its axes except for the last"
        raise InputError(f"{rule} (got the mask {mask.shape} for {outputs.shape}). Use a layer that drops the mask")
    kept = mask.reshape(axes)
    return outputs[kept], targets[kept]


class Mse(Loss):
    """mean of (output - target)^2"""

    def compute(self, xp: Any, outputs: Array, targets: Array) -> Array:
        return xp.mean((outputs - targets) ** 2)


class Mae(Loss):
    """mean of |output - target|"""

    def compute(self, xp: Any, outputs: Array, targets: Array) -> Array:
        return xp.mean(xp.abs(outputs - targets))


class Huber(Loss):
    """mean of d^2 / 2 for |d| <= 1, |d| - 1 / 2 beyond, with d = output - target. Huber (1964)."""

    def compute(self, xp: Any, outputs: Array, targets: Array) -> Array:
        distance = xp.abs(outputs - targets)
        return xp.mean(xp.where(distance <= 1, distance**2 / 2, distance - 0.5))


class CrossEntropy(Loss):
    """mean of -sum(target * log(p)), p the softmax of the outputs; or probabilities over their sum, as in Keras"""

    integer_targets = True
    probability_targets = True

    def compute(self, xp: Any, outputs: Array, targets: Array) -> Array:
        if self.of_probabilities:
            shares = outputs / xp.sum(outputs, axis=-1, keepdims=True)
            logs = xp.log(xp.clip(shares, SMALLEST, 1 - SMALLEST))
        else:
            shifted = outputs - xp.max(outputs, axis=-1, keepdims=True)
            logs = shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
        if targets.ndim == outputs.ndim:
            return -xp.mean(xp.sum(targets * logs, axis=-1))
        each = xp.reshape(logs, (-1, outputs.shape[-1]))
        return -xp.mean(each[xp.arange(targets.size), targets.reshape(-1)])


class BinaryCrossEntropy(Loss):
    """mean of -(target * log(p) + (1 - target) * log(1 - p)), p the sigmoid of the output, or a sigmoid layer's"""

    probability_targets = True

    def compute(self, xp: Any, outputs: Array, targets: Array) -> Array:
        if self.of_probabilities:
            p = xp.clip(outputs, SMALLEST, 1 - SMALLEST)
            return -xp.mean(targets * xp.log(p) + (1 - targets) * xp.log(1 - p))
        # log(1 + exp(x)) - x * target, whose derivative at 0 is 1 / 2 - target
        return xp.mean(xp.softplus(outputs) - outputs * targets)


class Sum(Loss):
    """sum of the outputs, without targets"""

    has_targets = False
    is_mean = False

    def compute(self, xp: Any, outputs: Array, targets: Array) -> Array:
        return xp.sum(outputs)
