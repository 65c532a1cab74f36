"""stat, diff and find_ties: facts about values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from paramctl.inspect.diff import DiffRow, compare
from paramctl.inspect.difference import Tolerance
from paramctl.inspect.stat import StatRow, statistics
from paramctl.inspect.ties import equal_arrays
from paramctl.library.arguments import filters, tolerance, whole
from paramctl.library.opening import Openable, as_source, rename_rules
from paramctl.parallel import Progress
from paramctl.source.base import select_values
from paramctl.source.save import verify


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of arrays. rows: one for each array or slice."""

    rows: list[StatRow]


def stat(
    weights: Openable,
    *addresses: str,
    trainable: bool | None = None,
    dtype: str | None = None,
    kind: str | None = None,
    min_size: int | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Statistics:
    """Compute the statistics of arrays, or of the slices that addresses select: mean, std, min, max, norm, NaN, Inf.

    Sums are in float64, and NaN and infinities are left out of all but their counts. Raises AddressError.
    """
    source = as_source(weights, seed)
    if not addresses:
        verify(source)
    selected = select_values(source, addresses, filters(trainable, dtype, kind, min_size))
    return Statistics(statistics(selected, progress))


@dataclass(frozen=True, slots=True)
class Difference:
    """The differences of two models or files. rows: one for each parameter that differs; none if they are equal."""

    rows: list[DiffRow]

    @property
    def equal(self) -> bool:
        return not self.rows


def diff(
    a: Openable,
    b: Openable,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    equal_nan: bool = False,
    any_dtype: bool = False,
    structure: bool = False,
    rename: Mapping[str, str] | Sequence[str] = (),
    like: Openable | None = None,
    top: int | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Difference:
    """Compare two models or files of any formats: names, shapes, dtypes, ties and values.

    Values are equal if |a - b| <= atol + rtol |b|. equal_nan: any NaN equals any other. any_dtype: another dtype is no
    difference. structure: compare no values. rename: new names for b. like: the model whose layers tell how torch's
    arrays are rearranged, if neither side does.
    """
    from paramctl.conversion.convert import align  # of these functions, only this one needs it

    allowed = Tolerance(tolerance("rtol", rtol), tolerance("atol", atol), equal_nan)
    top = whole("top", top, 1)
    reference = as_source(like) if like is not None else None
    first, second, names = align(as_source(a, seed), as_source(b, seed), rename_rules(rename), reference)
    rows = compare(first, second, names, tolerance=allowed, structure=structure, any_dtype=any_dtype, progress=progress)
    if top is not None:  # a row without a number, such as a missing parameter, comes first
        rows = sorted(rows, key=lambda row: -(row.max_abs if row.max_abs is not None else inf))[:top]
    return Difference(rows)


def find_ties(weights: Openable, *, progress: Progress | None = None) -> list[list[str]]:
    """Return groups of arrays that are equal but not tied. All arrays of a common shape and dtype are read."""
    return equal_arrays(as_source(weights), progress)
