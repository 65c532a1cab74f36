"""The examples of each step of training, in an order that depends on the seed and the number of the step alone.

The rows are read in windows, one after another, and shuffled within each. All rows are one window if they fit in it, so
memory is bounded, a file is read from its beginning to its end, and training can go on at any step.
"""

from __future__ import annotations

from math import prod

from paramctl.compute.data import Batch, Examples
from paramctl.compute.generators import Purpose, generator
from paramctl.core.dtypes import Array

WINDOW_BYTES = 256 << 20
"""Bytes of the examples that are shuffled together."""


class Shuffled:
    """Examples in batches. epoch_steps: the number of batches that have all rows once."""

    def __init__(self, examples: Examples, batch_size: int, seed: int) -> None:
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        arrays = [*examples.inputs.arrays.values(), *([examples.targets] if examples.targets is not None else [])]
        row_bytes = sum(8 * prod(array.shape[1:]) for array in arrays)
        self.window_batches = max(WINDOW_BYTES // max(row_bytes * batch_size, 1), 1)
        self.epoch_steps = -(-examples.rows // batch_size)
        self._window: tuple[int, Batch] | None = None

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, from 0."""
        epoch, place = divmod(step, self.epoch_steps)
        number, place = divmod(place, self.window_batches)
        rows = self._read(number)
        count = next(iter(rows.inputs.values())).shape[0]
        # drawn anew for each batch, so that no state has to be saved for training to go on
        order = generator(self.seed, Purpose.ORDER, epoch, number).permutation(count)
        chosen: Array = order[place * self.batch_size : (place + 1) * self.batch_size]
        targets = rows.targets[chosen] if self.examples.targets is not None else rows.targets
        return Batch({name: values[chosen] for name, values in rows.inputs.items()}, targets)

    def _read(self, number: int) -> Batch:
        """Return the rows of a window, which is read once for all its batches."""
        if self._window is None or self._window[0] != number:
            size = self.window_batches * self.batch_size
            start = number * size
            self._window = number, self.examples.batch(start, min(start + size, self.examples.rows))
        return self._window[1]
