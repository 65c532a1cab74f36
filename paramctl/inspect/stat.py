"""Statistics of values: a row for each array, from pieces of it that are counted one by one and joined."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import frexp, hypot, isfinite, ldexp, sqrt
from typing import Any, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.parallel import in_parallel
from paramctl.source.base import SelectedValues

AT_ONCE = 1 << 15
"""How many values are summed at once: as float64, what a processor's second cache holds."""

SAFE = 400
"""Numbers between 2^-SAFE and 2^SAFE have squares, and sums of squares, that float64 holds with room to spare."""


@dataclass(frozen=True, slots=True)
class StatRow:
    """What is known of the values of an array, or of a slice of one.

    mean, stddev, least, greatest, norm: of the finite values; None if there is none, and for a norm beyond float64.
    stddev: the population's, the root of the mean of |x - mean|^2. norm: the root of the sum of |x|^2. least,
    greatest: None for complex numbers, which have no order. zeros: -0.0 is one. infinities: of either sign. first:
    the place in the array of the first value, in the order in which they are stored, that is not finite.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    mean: float | complex | None
    stddev: float | None
    least: float | int | None
    greatest: float | int | None
    norm: float | None
    zeros: int
    nans: int
    infinities: int
    first: tuple[int, ...] | None


class Moments(NamedTuple):
    """The moments of some numbers: their mean is (origin + offset) 2^exponent, and the sum of (x - mean)^2 is
    squares 2^(2 exponent); and their ends, as they are.

    The origin, a number near the mean, is whole for whole numbers and subtracted from them exactly: neither a mean
    far from zero nor 64 bits cost the deviation its digits. The exponent is 0 but for float64 that is not SAFE.
    """

    size: int = 0
    least: float | int = 0
    greatest: float | int = 0
    origin: float | int = 0
    offset: float = 0.0
    squares: float = 0.0
    exponent: int = 0

    def join(self, other: Moments) -> Moments:
        """The moments of both together (Chan, Golub and LeVeque, 1979)."""
        if not self.size or not other.size:
            return self if self.size else other
        exponent = max(self.exponent, other.exponent)
        a, b = self._scaled(exponent), other._scaled(exponent)
        size, share = a.size + b.size, b.size / (a.size + b.size)
        apart = (b.origin - a.origin) + (b.offset - a.offset)
        squares = a.squares + b.squares + apart * apart * a.size * share
        ends = min(a.least, b.least), max(a.greatest, b.greatest)
        return Moments(size, *ends, a.origin, a.offset + apart * share, squares, exponent)

    def _scaled(self, exponent: int) -> Moments:
        """The same with another exponent."""
        by = self.exponent - exponent
        if not by:
            return self
        origin, offset, squares = ldexp(self.origin, by), ldexp(self.offset, by), ldexp(self.squares, 2 * by)
        return self._replace(origin=origin, offset=offset, squares=squares, exponent=exponent)

    @property
    def mean(self) -> float | None:
        return self._unscaled(self.origin + self.offset)

    @property
    def stddev(self) -> float | None:
        return self._unscaled(sqrt(self.squares / max(self.size, 1)))

    @property
    def norm(self) -> float | None:
        mean = self.origin + self.offset
        return self._unscaled(sqrt(self.squares + mean * mean * self.size))

    def _unscaled(self, value: float) -> float | None:
        """None if there is nothing, or float64 does not hold it."""
        try:
            return ldexp(value, self.exponent) if self.size else None
        except OverflowError:
            return None


class Tally(NamedTuple):
    """What is counted in a piece of an array. parts: the moments of its finite values; of complex ones, those of the
    real and the imaginary parts. first: the place of the first value that is not finite, None if all are.
    """

    size: int
    parts: tuple[Moments, ...]
    zeros: int
    nans: int = 0
    infinities: int = 0
    first: int | None = None

    def join(self, after: Tally) -> Tally:
        """What is counted in this piece and one that comes after it."""
        first = after.first if after.first is None else self.size + after.first
        return Tally(
            self.size + after.size,
            tuple(one.join(other) for one, other in zip(self.parts, after.parts, strict=True)),
            self.zeros + after.zeros,
            self.nans + after.nans,
            self.infinities + after.infinities,
            first if self.first is None else self.first,
        )


def tally(values: Array) -> Tally:
    """What is counted in some values, flat and of any dtype; one at least."""
    with np.errstate(all="ignore"):
        values = _widened(values)
        zeros = values.size - int(np.count_nonzero(values != 0))
        if values.dtype.kind != "c":
            ends = _ends(values)
            if isfinite(ends[0]) and isfinite(ends[1]):  # either would be NaN or infinite, if any value were
                return Tally(values.size, (_moments(values, *ends),), zeros)
        finite, nans = np.isfinite(values), int(np.count_nonzero(np.isnan(values)))
        kept = values[finite]
        parts = (kept.real, kept.imag) if values.dtype.kind == "c" else (kept,)
        moments = tuple(_moments(part, *_ends(part)) if part.size else Moments() for part in parts)
        first = None if kept.size == values.size else int(finite.argmin())
        return Tally(values.size, moments, zeros, nans, values.size - kept.size - nans, first)


def _ends(values: Array) -> tuple[Any, Any]:
    return values.min().item(), values.max().item()


def _widened(values: Array) -> Array:
    """The values in a dtype in which NumPy computes, and quickly, each of them exact."""
    dtype = values.dtype
    if dtype.kind == "b":
        return values.view(np.uint8)
    if dtype.kind not in "fV" or dtype.itemsize > 2:
        return values
    if dtype == numpy_dtype("bfloat16"):
        return values.astype(np.float32)
    return np.take(_every_value(dtype), values.view(f"u{dtype.itemsize}"), mode="clip")


@cache
def _every_value(dtype: np.dtype[Any]) -> Array:
    """What each pattern of bits of a small dtype means, as float32."""
    patterns = np.arange(1 << 8 * dtype.itemsize).astype(f"u{dtype.itemsize}")
    return patterns.view(dtype).astype(np.float32)


def _moments(values: Array, least: float | int, greatest: float | int) -> Moments:
    """The moments of finite numbers between these ends, from their differences from the mean of the first of them.

    That costs the deviation at most log2(1 + n / AT_ONCE) bits, as the square of (origin - mean) is at most
    n / AT_ONCE times the variance. What is the same everywhere has no deviation at all.
    """
    exponent = _exponent(max(abs(least), abs(greatest))) if values.dtype == np.float64 else 0
    if exponent:
        values = np.ldexp(values, -exponent)
    if least == greatest:
        return Moments(values.size, least, greatest, values[0].item(), exponent=exponent)
    first = values[:AT_ONCE]
    origin = float(np.add.reduce(first, dtype=np.float64)) / first.size
    if values.dtype.kind in "iu":
        origin = min(max(round(origin), least), greatest)
    total = squares = 0.0
    for apart in _differences(values, origin, exact=greatest - least < 1 << 63):
        total += float(np.add.reduce(apart))
        squares += float(np.dot(apart, apart))
    squares = max(0.0, squares - total * (total / values.size))
    return Moments(values.size, least, greatest, origin, total / values.size, squares, exponent)


def _exponent(largest: float) -> int:
    """By which power of two numbers up to this one are scaled so that their squares are not lost; 0 if none are."""
    exponent = frexp(largest)[1] if largest else frexp(5e-324)[1]
    return exponent if abs(exponent) > SAFE else 0


def _differences(values: Array, origin: float | int, exact: bool) -> Iterator[Array]:
    """The values less the origin as float64, a few at a time, each time in the same memory.

    exact: they are within 2^63 of each other, and so are 64 bits' differences as signed numbers, whatever wraps.
    """
    memory = np.empty(min(values.size, AT_ONCE))
    wrapped = exact and values.dtype.kind in "iu" and values.dtype.itemsize == 8
    for start in range(0, values.size, AT_ONCE):
        part = values[start : start + AT_ONCE]
        apart = memory[: part.size]
        if wrapped:
            apart[:] = (part - values.dtype.type(origin)).view(np.int64)
        else:
            apart[:] = part
            apart -= float(origin)
        yield apart


class Statistics:
    """Of some values of a source; ``rows`` after ``pieces`` are done."""

    def __init__(self, chosen: Sequence[SelectedValues]) -> None:
        self.chosen = chosen
        self.found: dict[int, Tally] = {}

    @property
    def bytes(self) -> int:
        return sum(each.picks.size * DTYPE_BYTES[each.dtype] for each in self.chosen)

    def pieces(self, threads: int | None = None) -> Iterator[int]:
        """Count values, piece by piece, each as a number of bytes; must be exhausted before ``rows``."""
        jobs = ((number, read) for number, each in enumerate(self.chosen) for read in _reads(each))
        for number, counted in in_parallel(lambda job: (job[0], tally(job[1]())), jobs, threads):
            before = self.found.get(number)
            self.found[number] = counted if before is None else before.join(counted)
            yield counted.size * DTYPE_BYTES[self.chosen[number].dtype]

    def rows(self) -> list[StatRow]:
        """In the order in which the values were chosen."""
        return [_row(each, self.found.get(number)) for number, each in enumerate(self.chosen)]


def _reads(selected: SelectedValues) -> Iterable[Callable[[], Array]]:
    """What gives the values of each piece.

    Slices are read on the way, whole arrays by whoever asks, as they are stored.
    """
    source, path = selected.source, selected.path
    if selected.picks.everything:
        return (partial(source.read, *piece) for piece in source.pieces(source.model.owner(path)))
    return (partial(np.asarray, piece) for piece in selected.pieces())


def _row(selected: SelectedValues, found: Tally | None) -> StatRow:
    """found: None if there are no values."""
    counted = found or Tally(0, (Moments(),), 0)
    parts, real = counted.parts, len(counted.parts) == 1
    means = [part.mean or 0.0 for part in parts]
    some = parts[0].size > 0
    return StatRow(
        path=selected.name,
        shape=selected.picks.shape,
        dtype=selected.dtype,
        size=counted.size,
        mean=(means[0] if real else complex(*means)) if some else None,
        stddev=_length(part.stddev for part in parts),
        least=_shortest(parts[0].least, selected.dtype) if some and real else None,
        greatest=_shortest(parts[0].greatest, selected.dtype) if some and real else None,
        norm=_length(part.norm for part in parts),
        zeros=counted.zeros,
        nans=counted.nans,
        infinities=counted.infinities,
        first=None if counted.first is None else _place(selected, counted.first),
    )


def _length(sides: Iterable[float | None]) -> float | None:
    """The length of a vector: a number's own, if it is one. None if float64 does not hold it."""
    length = hypot(*(float("inf") if side is None else side for side in sides))
    return length if isfinite(length) else None


def _shortest(value: float | int, dtype: str) -> float | int:
    """The number of the fewest digits that is this one in its dtype, as paramctl prints values everywhere."""
    if isinstance(value, int) or dtype == "float64":
        return value
    return float(str(np.float16(value) if dtype == "float16" else np.float32(value)))


def _place(selected: SelectedValues, number: int) -> tuple[int, ...]:
    """Where in the array, under the name that was chosen, the value of this number of all that were read stands."""
    model, path, picks = selected.source.model, selected.path, selected.picks
    tie = model.tied.get(path)
    shape = model.owner(path).shape if picks.everything else tuple(map(len, picks.ranges))
    place = tuple(int(at) for at in np.unravel_index(number, shape))
    if not picks.everything:
        return tuple(of[at] for of, at in zip(picks.ranges, place, strict=True))
    return place[::-1] if tie is not None and tie.transpose else place
