"""Quantiles: exact for every dtype, in bounded memory, by counting the first bits of values and then the next ones.

A few values are sorted. Of many, the first 16 bits of each are counted: a bit pattern of float64, float32 or an integer
becomes a key whose order is that of the values. These counts tell which patterns hold the ranks that are wanted. The
next pass counts the next bits of the keys with these patterns alone, or sorts them if they are few. So a dtype of
8 or 16 bits takes one pass, one of 32 bits two, and one of 64 bits at most four for a few quantiles.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import floor, isinf
from typing import Any, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.core.parameter import bytes_of
from paramctl.errors import InputError
from paramctl.inspect.tally import widened
from paramctl.parallel import in_parallel
from paramctl.source.base import SelectedValues

DEFAULT_PROBABILITIES = (0.01, 0.25, 0.5, 0.75, 0.99)

SORTED = 1 << 20
"""The number of values to sort at once."""

DIGIT = 16
"""The number of bits of a value to count at once."""

MAX_COUNTS = 1 << 20
"""The number of counts to hold at once."""


class Numbers(NamedTuple):
    """Selected values, of one array or of several, whose quantiles are wanted. finite: the number of finite values."""

    members: tuple[SelectedValues, ...]
    finite: int

    @property
    def size(self) -> int:
        return sum(member.selection.size for member in self.members)

    @property
    def bytes(self) -> int:
        return sum(bytes_of(member.dtype, member.selection.size) for member in self.members)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype in which the values are compared: their own, or float64 for 64-bit integers and several dtypes."""
        dtypes = {numpy_dtype(member.dtype) for member in self.members}
        dtype = dtypes.pop() if len(dtypes) == 1 else np.dtype(np.float64)
        return np.dtype(np.float64) if dtype.itemsize == 8 else dtype

    def reads(self) -> Iterator[Callable[[], Array]]:
        """Yield functions that return the pieces of the values in the dtype of comparison."""
        dtype = self.dtype
        for member in self.members:
            for _, read in member.reads():
                yield lambda read=read: _converted(read(), dtype)  # type: ignore[misc]


def passes(numbers: Numbers) -> int:
    """Return how often the values are read at most, for a few quantiles."""
    return 1 if numbers.size <= SORTED else max(1, numbers.dtype.itemsize // 2)


def quantiles(
    groups: Sequence[Numbers],
    probabilities: Sequence[float],
    advance: Callable[[int], object] = lambda size: None,
    threads: int | None = None,
) -> list[tuple[float, ...] | None]:
    """Return the quantiles of the finite values of each group; None without any, and for complex numbers.

    They equal ``numpy.quantile`` of the values as float64, by its method ``linear``: for n sorted values x and the
    probability p, x[k] + (x[k + 1] - x[k]) * t, where k is the whole part of (n - 1) * p and t the rest.

    probabilities: from 0 to 1.
    advance: called with a number of bytes from time to time, for a group ``passes`` times its bytes in all.
    threads: the number of workers, which does not affect the result.
    Raises InputError if the values change between two passes.
    """
    results: dict[int, tuple[float, ...]] = {}

    def of_few(number: int) -> tuple[int, tuple[float, ...]]:
        return number, _interpolated(groups[number], probabilities, _sorted_values(groups[number]))

    usable = [number for number, each in enumerate(groups) if each.finite and _has_order(each)]
    for number, values in in_parallel(of_few, (each for each in usable if groups[each].size <= SORTED), threads):
        results[number] = values
        advance(groups[number].bytes)
    for number in usable:
        if groups[number].size > SORTED:
            results[number] = _interpolated(
                groups[number], probabilities, _Radix(groups[number], advance, threads).values
            )
    return [results.get(number) for number in range(len(groups))]


def _has_order(numbers: Numbers) -> bool:
    return not any(numpy_dtype(member.dtype).kind == "c" for member in numbers.members)


def _converted(values: Array, dtype: np.dtype[Any]) -> Array:
    if values.dtype != dtype:
        with np.errstate(all="ignore"):  # a signaling NaN
            values = widened(values).astype(dtype)
    return np.ascontiguousarray(values)


def _interpolated(
    numbers: Numbers, probabilities: Sequence[float], values_at: Callable[[list[int]], Array]
) -> tuple[float, ...]:
    """Return quantiles, from a function that returns the values at ranks in ascending order."""
    last = numbers.finite - 1
    positions = [last * probability for probability in probabilities]
    lower = [min(floor(position), last) for position in positions]
    ranks = sorted({rank for low in lower for rank in (low, min(low + 1, last))})
    by_rank = dict(zip(ranks, map(float, values_at(ranks).astype(np.float64)), strict=True))
    return tuple(
        _between(by_rank[low], by_rank[min(low + 1, last)], position - low)
        for low, position in zip(lower, positions, strict=True)
    )


def _between(a: float, b: float, share: float) -> float:
    """Return a number between two others, rounded as NumPy does it. Halves keep ends of opposite sign in range."""
    difference = b - a
    if isinf(difference):
        return 2 * _between(a / 2, b / 2, share)
    value = a + difference * share if share < 0.5 else b - difference * (1 - share)
    return value + 0.0  # 0.0 for -0.0


def _sorted_values(numbers: Numbers) -> Callable[[list[int]], Array]:
    values = widened(np.concatenate([read() for read in numbers.reads()]))
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    _check_unchanged(numbers, values.size)
    values.sort()
    return lambda ranks: values[ranks]


def _check_unchanged(numbers: Numbers, finite: int, expected: int | None = None) -> None:
    if finite != (numbers.finite if expected is None else expected):
        selected = numbers.members[0]
        raise InputError(f"{selected.source.model.name}: {selected.name}: values changed while they were read")


@dataclass(frozen=True)
class _Radix:
    """The selection of ranks from many values, by passes over them."""

    numbers: Numbers
    advance: Callable[[int], object]
    threads: int | None

    def values(self, ranks: list[int]) -> Array:
        """Return the values at ranks, in ascending order."""
        progress = _Budget(self.numbers.bytes * passes(self.numbers), self.advance)
        order = _ascending_patterns(self.numbers.dtype)
        bins = 1 << min(DIGIT, 8 * self.numbers.dtype.itemsize)
        counts = np.zeros(bins, np.int64)
        for part in self._over(lambda values: np.bincount(_first_bits(values), minlength=bins), progress):
            counts += part
        ends = np.cumsum(counts[order])
        _check_unchanged(self.numbers, int(ends[-1]))
        places = np.searchsorted(ends, ranks, side="right")
        patterns = order[places]
        if self.numbers.dtype.itemsize <= 2:
            progress.finish()
            return widened(patterns.astype(f"u{self.numbers.dtype.itemsize}").view(self.numbers.dtype))
        picks = _Windows.around(np.array(ranks), places, ends, counts[order])
        is_wanted = np.zeros(bins, np.bool_)
        is_wanted[patterns] = True
        tops = np.unique(patterns)
        tops = tops[np.argsort(_top_keys(tops, self.numbers.dtype))]
        windows = replace(picks, prefixes=_top_keys(tops, self.numbers.dtype).astype(np.uint64))
        keys = self._narrowed(windows, is_wanted, progress)
        progress.finish()
        return _from_keys(keys, self.numbers.dtype)

    def _over(self, work: Callable[[Array], Array], progress: _Budget) -> Iterator[Array]:
        """Yield the result of work for each piece."""

        def job(read: Callable[[], Array]) -> tuple[int, Array]:
            values = read()
            return values.nbytes, work(values)

        for size, result in in_parallel(job, self.numbers.reads(), self.threads):
            yield result
            progress.spend(size)

    def _narrowed(self, windows: _Windows, is_wanted: Array, progress: _Budget) -> Array:
        """Return the key of each rank, from windows of keys that have their first bits in common."""
        rest = 8 * self.numbers.dtype.itemsize - DIGIT

        def inside(values: Array) -> Array:
            """Return the keys in the windows, without the bits that are still open before the last digit."""
            keys = _as_keys(values[np.flatnonzero(np.take(is_wanted, _first_bits(values)))])
            if rest == 8 * self.numbers.dtype.itemsize - DIGIT:
                return keys
            tops = keys >> keys.dtype.type(rest)
            slots = np.minimum(np.searchsorted(windows.prefixes, tops), len(windows.prefixes) - 1)
            kept: Array = keys[windows.prefixes[slots] == tops]
            return kept

        while rest:
            if int(windows.sizes.sum()) <= SORTED:
                keys = np.sort(np.concatenate([*self._over(inside, progress)]))
                _check_unchanged(self.numbers, keys.size, int(windows.sizes.sum()))
                before = np.cumsum(windows.sizes) - windows.sizes
                picked: Array = keys[before[windows.slots] + windows.ranks].astype(np.uint64)
                return picked
            width = max(1, min(DIGIT, rest, (MAX_COUNTS // len(windows.prefixes)).bit_length() - 1))
            counts = np.zeros((len(windows.prefixes), 1 << width), np.int64)
            for keys in self._over(inside, progress):
                _add_counts(counts, keys, windows.prefixes, rest, width)
            _check_unchanged(self.numbers, int(counts.sum()), int(windows.sizes.sum()))
            windows = windows.split(counts, width)
            rest -= width
        result: Array = windows.prefixes[windows.slots]
        return result


def _add_counts(counts: Array, keys: Array, prefixes: Array, rest: int, width: int) -> None:
    """Count, for each prefix, the next bits of keys. rest: the number of bits after the prefix."""
    slots = np.searchsorted(prefixes, keys >> keys.dtype.type(rest))
    digits = (keys >> keys.dtype.type(rest - width)).astype(np.int64) & ((1 << width) - 1)
    np.add.at(counts.reshape(-1), (slots << width) | digits, 1)


@dataclass(frozen=True)
class _Windows:
    """The keys among which the wanted ranks are: windows of keys that begin with the same bits.

    prefixes: these bits, in ascending order. sizes: the number of keys in each window.
    slots, ranks: for each wanted rank, its window, and its rank in it.
    """

    prefixes: Array
    sizes: Array
    slots: Array
    ranks: Array

    @classmethod
    def around(cls, ranks: Array, places: Array, ends: Array, counts: Array) -> _Windows:
        """Return the windows at places of the counts, whose sums up to each are its end."""
        wanted, slots = np.unique(places, return_inverse=True)
        return cls(wanted, counts[wanted], slots, ranks - (ends[places] - counts[places]))

    def split(self, counts: Array, width: int) -> _Windows:
        """Return the windows with the next bits of the keys, from the counts of these bits in each window."""
        flat = counts.reshape(-1)
        ends = np.cumsum(flat)
        ranks = self.ranks + (np.cumsum(self.sizes) - self.sizes)[self.slots]
        windows = _Windows.around(ranks, np.searchsorted(ends, ranks, side="right"), ends, flat)
        digits = windows.prefixes & ((1 << width) - 1)
        prefixes = (self.prefixes[windows.prefixes >> width] << np.uint64(width)) | digits.astype(np.uint64)
        return replace(windows, prefixes=prefixes)


class _Budget:
    """The bytes that are still to be reported as done: more passes than expected report nothing."""

    def __init__(self, size: int, advance: Callable[[int], object]) -> None:
        self.left, self.advance = size, advance

    def spend(self, size: int) -> None:
        size = min(size, self.left)
        self.left -= size
        if size:
            self.advance(size)

    def finish(self) -> None:
        self.spend(self.left)


def _first_bits(values: Array) -> Array:
    """Return the first 16 bits of each value, or the 8 that it has, without copying."""
    size = values.dtype.itemsize
    if size == 1:
        return values.view(np.uint8)
    halves = values.view(np.uint16)
    return halves[size // 2 - 1 :: size // 2] if sys.byteorder == "little" else halves[:: size // 2]


@cache
def _ascending_patterns(dtype: np.dtype[Any]) -> Array:
    """Return the first bits of finite values, in ascending order of the values."""
    size = dtype.itemsize
    if size <= 2:
        values = _converted(np.arange(1 << 8 * size).astype(f"u{size}").view(dtype), np.dtype(np.float64))
        order = np.argsort(values, kind="stable")
        finite: Array = order[np.isfinite(values[order])]
        return finite
    patterns: Array = np.arange(1 << DIGIT)
    patterns = patterns[np.argsort(_top_keys(patterns, dtype))]
    if dtype.kind != "f":
        return patterns
    # Infinities and NaN have all exponent bits set, which are among the first 16 bits of float32 and float64.
    exponent = 0x7F80 if size == 4 else 0x7FF0
    result: Array = patterns[patterns & exponent != exponent]
    return result


def _top_keys(patterns: Array, dtype: np.dtype[Any]) -> Array:
    """Return the first bits of the keys, from the first bits of the values."""
    if dtype.kind == "u":
        return patterns
    top = 1 << (DIGIT - 1)
    flipped: Array | int = np.where(patterns & top, (1 << DIGIT) - 1, top) if dtype.kind == "f" else top
    keys: Array = patterns ^ flipped
    return keys


def _as_keys(values: Array) -> Array:
    """Return unsigned integers in the order of the values: -1.0 before -0.0 before 0.0 before 1.0."""
    size = values.dtype.itemsize
    bits: Array = values.view(f"u{size}")
    if values.dtype.kind == "u":
        return bits
    top = bits.dtype.type(1 << (8 * size - 1))
    result: Array = bits ^ (np.where(bits & top, ~bits.dtype.type(0), top) if values.dtype.kind == "f" else top)
    return result


def _from_keys(keys: Array, dtype: np.dtype[Any]) -> Array:
    """Return the values with keys."""
    size = dtype.itemsize
    bits: Array = keys.astype(f"u{size}")
    if dtype.kind != "u":
        top = bits.dtype.type(1 << (8 * size - 1))
        bits = bits ^ (np.where(bits & top, top, ~bits.dtype.type(0)) if dtype.kind == "f" else top)
    return bits.view(dtype)
