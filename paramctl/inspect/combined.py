"""The report of a combination of files: a row for each array, with its numbers that are not finite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.model import Model


class NonFinite(NamedTuple):
    """The numbers of NaN and of infinities in some values."""

    nan: int
    inf: int

    def join(self, later: NonFinite) -> NonFinite:
        return NonFinite(self.nan + later.nan, self.inf + later.inf)


@dataclass(frozen=True, slots=True)
class CombinedRow:
    """One array of a combination.

    status: computed, or kept from one of the files.
    nan, inf: the numbers of such values; None if they were not counted, or the array has integers.
    """

    path: str
    status: str
    shape: tuple[int, ...]
    dtype: str
    nan: int | None = None
    inf: int | None = None


def count_nonfinite(path: str, values: Array) -> NonFinite | None:
    """Return the numbers of NaN and infinities in a piece; None for integers and packed dtypes."""
    if values.dtype.kind in "iub" or values.dtype == np.dtype("V1"):
        return None
    bad = ~np.isfinite(values)
    nan = int(np.count_nonzero(np.isnan(values))) if bad.any() else 0
    return NonFinite(nan, int(np.count_nonzero(bad)) - nan)


def combined_rows(model: Model, status: Mapping[str, str], measured: Mapping[str, NonFinite]) -> list[CombinedRow]:
    """Return the rows in the model's order.

    status: of the arrays that are not computed, by path. measured: by count_nonfinite, by path.
    """
    rows = []
    for owner in model.owners():
        counts = measured.get(owner.path, (None, None))
        rows.append(CombinedRow(owner.path, status.get(owner.path, "computed"), owner.shape, owner.dtype, *counts))
    return rows
