"""Slices of values in NumPy's syntax, ``[0, :5]``, ``[..., -1]``, ``[::2]``. Parsed, never evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

from paramctl.errors import AddressError

# At most 18 digits: larger numbers do not fit in 64 bits and are out of range in any case.
_WHOLE = r"[+-]?\d{1,18}"
_RANGE = rf"({_WHOLE})?\s*:\s*({_WHOLE})?\s*(?::\s*({_WHOLE})?)?"


class Slice(NamedTuple):
    """``start:stop:step``. Each part may be omitted."""

    start: int | None = None
    stop: int | None = None
    step: int | None = None


Index = int | Slice | None
"""A selection from one axis. None is an ellipsis, ``...``."""


class Selection(NamedTuple):
    """The values of an array that a slice selects.

    ranges: the selected positions of each axis, in order.
    dropped: for each axis, True if an integer index removes it from the result.
    everything: True if all values are selected in their order.
    """

    ranges: tuple[range, ...]
    dropped: tuple[bool, ...]
    everything: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return tuple(len(positions) for positions, drop in zip(self.ranges, self.dropped, strict=True) if not drop)

    @property
    def size(self) -> int:
        return prod(map(len, self.ranges))


def parse_slice(text: str, begin: int, address: str) -> tuple[Index, ...]:
    """Return the indices of a slice in brackets.

    text: the slice, such as ``[0, :5]``.
    begin: the position of its bracket in the address, for errors.
    Raises AddressError, with the character, if the slice is malformed.
    """
    if not text.endswith("]"):
        raise AddressError(f"a slice must end with ']' (character {len(address)})", repr(address))
    inside, column = text[1:-1], begin + 2
    indices: list[Index] = []
    for part in inside.split(",") if inside.strip() else []:
        indices.append(_index(part, column, address))
        column += len(part) + 1
    if not indices:
        raise AddressError(f"a slice must contain an index, a:b, or ... (character {column})", repr(address))
    if indices.count(None) > 1:
        raise AddressError(f"a slice may have at most one '...' (character {begin + 1})", repr(address))
    return tuple(indices)


def _index(text: str, column: int, address: str) -> Index:
    """Return the index between two commas. ``column`` is where the text begins in the address, counted from 1."""
    stripped = text.strip()
    if stripped == "...":
        return None
    if re.fullmatch(_WHOLE, stripped):
        return int(stripped)
    match = re.fullmatch(_RANGE, stripped)
    if not match:
        rule = "an index must be an integer, a:b, a:b:step, or ..."
        raise AddressError(f"{rule} (character {column + len(text) - len(text.lstrip())})", repr(address))
    start, stop, step = (int(number) if number else None for number in match.groups())
    if step == 0:
        raise AddressError(f"the step of a slice may not be 0 (character {column})", repr(address))
    return Slice(start, stop, step)


def slice_text(indices: Sequence[Index]) -> str:
    """Return the text of a slice, without brackets."""
    return ", ".join(map(_text, indices))


def _text(index: Index) -> str:
    if index is None:
        return "..."
    if isinstance(index, int):
        return str(index)
    ends = index if index.step is not None else index[:2]
    return ":".join("" if end is None else str(end) for end in ends)


def select_all(shape: Sequence[int]) -> Selection:
    """Return the selection of all values of an array."""
    return Selection(tuple(range(size) for size in shape), (False,) * len(shape), True)


def select(indices: Sequence[Index] | None, shape: Sequence[int], name: str) -> Selection:
    """Return what indices select from an array, by NumPy's rules.

    indices: None selects everything.
    name: the array's name in errors.
    Raises AddressError if an index is out of range, or the array has fewer axes than indices.
    """
    if indices is None:
        return select_all(shape)
    count = len(indices) - (None in indices)
    if count > len(shape):
        raise AddressError(f"{name} has only {len(shape)} axes", f"{count} indices")
    # An ellipsis, or the end of the indices, means a full slice of each remaining axis: [0, ..., 1] of four axes.
    ellipsis = list(indices).index(None) if None in indices else len(indices)
    filled = [*indices[:ellipsis], *[Slice()] * (len(shape) - count), *indices[ellipsis + 1 :]]
    ranges, dropped = [], []
    for axis, (index, size) in enumerate(zip(filled, shape, strict=True)):
        if isinstance(index, int):
            if not -size <= index < size:
                raise AddressError(f"axis {axis} of {name} has the size {size}", f"the index {index}")
            index %= size
            ranges.append(range(index, index + 1))
        else:
            assert index is not None
            ranges.append(range(*slice(*index).indices(size)))
        dropped.append(isinstance(index, int))
    whole = all(positions == range(size) for positions, size in zip(ranges, shape, strict=True))
    return Selection(tuple(ranges), tuple(dropped), whole)


def boxes(shape: Sequence[int], start: int, stop: int) -> Iterator[tuple[range, ...]]:
    """Yield the boxes that together hold the values from ``start`` to ``stop`` of an array in C order.

    Each box is a range for each axis. Values 2 to 7 of a 3 x 3 array are three boxes: the end of row 0, row 1, and
    the beginning of row 2.
    """
    if not shape:
        yield ()
        return
    row = prod(shape[1:])
    first, last = -(-start // row), stop // row
    if first > last:  # all within one row
        for box in boxes(shape[1:], start - last * row, stop - last * row):
            yield (range(last, last + 1), *box)
        return
    if start < first * row:
        for box in boxes(shape[1:], start - (first - 1) * row, row):
            yield (range(first - 1, first), *box)
    if first < last:
        yield (range(first, last), *map(range, shape[1:]))
    if last * row < stop:
        for box in boxes(shape[1:], 0, stop - last * row):
            yield (range(last, last + 1), *box)


class Region(NamedTuple):
    """Selected values of an array within one box of it. Axes of the array with one value are left out.

    begin, end: the box among the values that the box is cut from, flat.
    shape: of the box.
    places: the selected values in the box, a slice for each axis and an ellipsis, so that NumPy gives an array.
    positions: the same values in the selection.
    """

    begin: int
    end: int
    shape: tuple[int, ...]
    places: tuple[Any, ...]
    positions: tuple[Any, ...]


def selected_regions(shape: Sequence[int], ranges: Sequence[range], start: int, stop: int) -> Iterator[Region]:
    """Yield the selected values among those from ``start`` to ``stop`` of an array, without an index for each value.

    ranges: the selected positions of each axis.
    """
    if not all(ranges):
        return
    long = [axis for axis, size in enumerate(shape) if size > 1]  # NumPy has at most 64 axes, a file may have more
    begin = 0
    for box in boxes([shape[axis] for axis in long], start, stop):
        sizes = tuple(map(len, box))
        end = begin + prod(sizes)
        positions = tuple(_positions_within(ranges[axis], within) for axis, within in zip(long, box, strict=True))
        chosen = [ranges[axis][position] for axis, position in zip(long, positions, strict=True)]
        if all(chosen):
            places = tuple(_slice_of(axis, within.start) for axis, within in zip(chosen, box, strict=True))
            yield Region(begin, end, sizes, (*places, ...), (*positions, ...))
        begin = end


def _positions_within(axis: range, within: range) -> slice:
    """Return the positions of a range whose values are within another of step 1."""
    if axis.step > 0:
        low, high = -((axis.start - within.start) // axis.step), -((axis.start - within.stop) // axis.step)
    else:
        low, high = (within.stop - axis.start) // axis.step + 1, (within.start - axis.start) // axis.step + 1
    return slice(max(low, 0), min(max(high, 0), len(axis)))


def _slice_of(axis: range, offset: int) -> slice:
    """Return the slice of an axis whose first value is ``offset`` that has the values of a range."""
    stop = axis.stop - offset
    return slice(axis.start - offset, stop if stop >= 0 else None, axis.step)
