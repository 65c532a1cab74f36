"""Facts of the values of an array that checks judge, measured in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.errors import InputError
from paramctl.inspect.check.losses import Losses, earlier, losses_of
from paramctl.inspect.tally import EMPTY, Tally, tally
from paramctl.store.io.extents import as_bytes
from paramctl.store.sums.array_sum import ArraySum, sum_of


class Facts(NamedTuple):
    """Facts of consecutive values of an array.

    first_nan, first_inf: the indices of the first value that is NaN, and of the first that is infinite.
    losses: of a cast to another dtype; None if no dtype is named.
    sample: the first values of each output unit, in the order of the array; see units.
    content: the hash of the values so far; None if the file records none for the array.
    unreadable: why some of the values cannot be read; empty if all can.
    """

    tally: Tally
    first_nan: int | None = None
    first_inf: int | None = None
    losses: Losses | None = None
    sample: bytes = b""
    content: ArraySum | None = None
    unreadable: str = ""

    def join(self, later: Facts) -> Facts:
        """Return the facts of both together."""
        if self.unreadable or later.unreadable:
            return self if self.unreadable else later
        size = self.tally.size
        return Facts(
            self.tally.join(later.tally),
            earlier(self.first_nan, later.first_nan, size),
            earlier(self.first_inf, later.first_inf, size),
            self.losses.join(later.losses, size) if self.losses and later.losses else None,
            self.sample + later.sample,
            self.content.join(later.content) if self.content and later.content else None,
        )

    @property
    def is_finite(self) -> bool:
        """True if every value is a finite number."""
        return not self.unreadable and self.tally.nan == self.tally.inf == 0

    @property
    def is_zero(self) -> bool:
        """True if all values are zero, and the array is not empty."""
        return not self.unreadable and 0 < self.tally.zeros == self.tally.size

    @property
    def is_constant(self) -> bool:
        """True if several values are equal and finite."""
        return self.is_finite and self.tally.size > 1 and all(part.minimum == part.maximum for part in self.tally.parts)


NO_FACTS = Facts(EMPTY)


class HashedPart(NamedTuple):
    """The place of some values in an array that is hashed; see sum_of. begin: the offset of their first byte."""

    begin: int
    leaf: int


def read_facts(
    read: Callable[[], Array], dtype: str | None = None, sampled: Array | None = None, hashed: HashedPart | None = None
) -> Facts:
    """Return the facts of the values that a function reads.

    dtype: of the cast whose losses are counted. sampled: the indices of the values to keep, among these.
    hashed: the place of the values in an array whose hash is recorded.
    """
    try:
        values = read()
    except InputError as error:
        return Facts(EMPTY, unreadable=str(error))
    counts = tally(values)
    with np.errstate(all="ignore"):
        first_nan = int(np.isnan(values).argmax()) if counts.nan else None
        first_inf = int(np.isinf(values).argmax()) if counts.inf else None
    losses = losses_of(values, dtype) if dtype else None
    sample = b"" if sampled is None or not sampled.size else values[sampled].tobytes()
    content = None if hashed is None else sum_of(as_bytes(values), *hashed)
    return Facts(counts, first_nan, first_inf, losses, sample, content)
