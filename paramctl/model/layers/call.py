"""One application of a layer to arrays: what its ``compute`` is given beside its inputs.

A layer computes with the functions of an array namespace, so that the same code gives values and gradients. It assigns
to no array, and has no loop over examples, positions or channels.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Array: TypeAlias = Any
"""An array of the namespace in use. Its kind is known only there."""


class NotComputed(ValueError):
    """A computation that a layer cannot do. The message is the rule; the walk over the model adds the layer."""


@dataclass(slots=True)
class Call:
    """One application of a layer.

    xp: the namespace: NumPy's functions, and those of compute.space.
    parameters: the arrays of the layer, by path relative to it.
    training: True if dropout applies and batches are normalized by their own statistics.
    masks: of each input, references last: a boolean array (batch, steps), False at the steps that later layers skip;
        None without a mask.
    random: a generator of random numbers, numpy.random.Generator; used only in training.
    trainable: False if all parameters of the layer are frozen. Such a layer keeps its state in training too.
    updates: the layer puts the new values of its state here, by path relative to it.
    """

    xp: Any
    parameters: Mapping[str, Array]
    training: bool = False
    masks: Sequence[Array | None] = ()
    random: Any = None
    updates: MutableMapping[str, Array] = field(default_factory=dict)
    trainable: bool = True

    @property
    def mask(self) -> Array | None:
        """The mask of the first input."""
        return self.masks[0] if self.masks else None

    def dropout_factors(self, rate: float, shape: Sequence[int], dtype: Any) -> Array:
        """Return the factors of dropout: 0 with a probability of rate, and otherwise 1 / (1 - rate)."""
        is_kept = self.random.random(tuple(shape)) >= rate
        return is_kept.astype(dtype) * (0.0 if rate == 1 else 1 / (1 - rate))

    def within(self, name: str, masks: Sequence[Array | None] = ()) -> Call:
        """Return the call of a layer within this one. name: the first part of its parameters' paths."""
        prefix = f"{name}/"
        inner = {path.removeprefix(prefix): array for path, array in self.parameters.items() if path.startswith(prefix)}
        updates = _Within(self.updates, prefix)
        return Call(self.xp, inner, self.training, masks, self.random, updates, self.trainable)


def check_mask(mask: Array | None, x: Array) -> None:
    """Raise NotComputed unless a mask of an input has its batch and its steps as axes."""
    if mask is not None and mask.shape != x.shape[:2]:
        raise NotComputed(f"a mask must have the axes (batch, steps) of its input (got {mask.shape} for {x.shape})")


class _Within(dict[str, Array]):
    """The updates of a layer within another, which are also the outer layer's, under longer paths."""

    def __init__(self, outer: MutableMapping[str, Array], prefix: str) -> None:
        self.outer, self.prefix = outer, prefix

    def __setitem__(self, path: str, value: Array) -> None:
        super().__setitem__(path, value)
        self.outer[f"{self.prefix}{path}"] = value
