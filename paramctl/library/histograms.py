"""histogram: the distributions of values."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from paramctl.errors import AddressError
from paramctl.inspect.histogram import Histogram, histograms
from paramctl.library.arguments import expect, filters, whole
from paramctl.library.opening import Openable, as_source
from paramctl.parallel import Progress
from paramctl.source.base import select_values
from paramctl.source.save import verify
from paramctl.store.contents import unwritten

MAX_BINS = 100_000


def histogram(
    weights: Openable,
    *addresses: str,
    bins: int | None = None,
    range: Sequence[float] | None = None,
    trainable: bool | None = None,
    dtype: str | None = None,
    kind: str | None = None,
    min_size: int | None = None,
    seed: int | None = None,
    state: bool = False,
    progress: Progress | None = None,
) -> list[Histogram]:
    """Count the values of arrays, or of the slices that addresses select, in bins of equal width.

    bins: their number, with the edges of numpy.histogram. By default the square root of the number of values, at most
        20; for integers and bools at most 20, of as many integers each. Fewer if float64 has too few numbers between.
    range: the lowest and the highest value to count; by default those of each array.
    state: add the arrays of the file's optimizer.
    Values count as float64, complex ones by their absolute values. NaN, infinities, and values outside the range are in
    no bin; their numbers are in the result. Raises AddressError.
    """
    bins = whole("bins", bins, 1)
    if bins is not None and bins > MAX_BINS:
        raise AddressError(f"bins must be at most {MAX_BINS:,}", f"{bins:,}")
    limits = None if range is None else _limits(range)
    source = as_source(weights, seed, state=state)
    if not addresses:
        verify(source)
    selected = select_values(source, addresses, filters(trainable, dtype, kind, min_size))
    with unwritten(source):
        return histograms(selected, bins, limits, progress=progress)


def _limits(range: Sequence[float]) -> tuple[float, float]:
    """Return the ends of a range, which are finite and ascend."""
    expect("range", range, (tuple, list), "two numbers")
    for end in range:
        expect("range", end, (int, float), "two numbers")
    ends = tuple(map(float, range))
    if len(ends) != 2 or not all(map(isfinite, ends)) or ends[0] >= ends[1]:
        raise AddressError("range must be two finite numbers, the lower one first", f"{list(range)}")
    return ends[0], ends[1]
