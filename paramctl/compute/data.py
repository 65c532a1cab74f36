"""Examples to train with: the inputs of a model and the targets of its output, read a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from paramctl.compute.conversion import as_floating
from paramctl.compute.graph import Graph
from paramctl.compute.inputs import TARGETS, Arrays, Inputs, Rows, check_inputs, place_of
from paramctl.compute.losses import Loss
from paramctl.core.dtypes import Array
from paramctl.errors import AddressError
from paramctl.model import Model


class Batch(NamedTuple):
    """Some rows of the examples. targets: an empty array for a loss without targets."""

    inputs: dict[str, Array]
    targets: Array


class Examples(NamedTuple):
    """Rows of inputs and targets. targets: None for a loss without targets."""

    inputs: Inputs
    targets: Rows | None

    @property
    def rows(self) -> int:
        return self.inputs.rows

    def first(self, rows: int | None) -> Examples:
        """Return the first rows; all of them for None."""
        return self._replace(inputs=self.inputs.first(rows))

    def batch(self, start: int, stop: int) -> Batch:
        """Return the rows from one to another."""
        inputs = self.inputs.batch(start, stop)
        if self.targets is None:
            return Batch(inputs, np.empty(0, self.inputs.dtype))
        targets = np.asarray(self.targets[start:stop])
        if targets.dtype.kind in "iu":
            return Batch(inputs, targets)
        place = place_of(self.targets, "the targets")
        return Batch(inputs, as_floating(targets, self.inputs.dtype, place, start, finite=True))

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all rows in order, in batches of a size."""
        for start in range(0, self.rows, size):
            yield self.batch(start, min(start + size, self.rows))


def check_examples(
    model: Model, graph: Graph, arrays: Mapping[str, Rows], loss: Loss, dtype: np.dtype[Any]
) -> Examples:
    """Return arrays as examples for a model and a loss: its inputs by name, and the targets as ``y``.

    Raises AddressError for arrays that do not fit.
    """
    if loss.has_targets and len(model.output_ids) != 1:
        rule = f"the loss {loss.name} requires a model with one output"
        raise AddressError(rule, f"{len(model.output_ids)} outputs of {model.name}")
    known = Arrays.of(arrays)
    targets = known.get(TARGETS) if TARGETS not in {each.name for each in model.inputs} else None
    if loss.has_targets and targets is None:
        raise known.error(f"the loss {loss.name} requires targets, an array {TARGETS}", ", ".join(known) or "no arrays")
    others = known if targets is None else known.without(TARGETS)
    inputs = check_inputs(model, graph, others, dtype, f"the loss {loss.name}")
    if targets is None or not loss.has_targets:
        return Examples(inputs, None)
    if not targets.shape or targets.shape[0] != inputs.rows:
        place = place_of(targets, "the targets")
        raise AddressError(f"{place} must have {inputs.rows:,} rows, as the inputs have", f"{targets.shape}")
    return Examples(inputs, targets)
