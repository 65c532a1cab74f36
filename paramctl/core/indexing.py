"""Slices of values, as NumPy writes them: ``[0, :5]``, ``[..., -1]``, ``[::2]``. Parsed, never evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

from paramctl.errors import AddressError

_WHOLE = r"[+-]?\d{1,18}"
_RANGE = rf"({_WHOLE})?\s*:\s*({_WHOLE})?\s*(?::\s*({_WHOLE})?)?"


class Slice(NamedTuple):
    """``start:stop:step``, each of which may be left out."""

    start: int | None = None
    stop: int | None = None
    step: int | None = None


Index = int | Slice | None
"""What selects of one axis; None is an ellipsis."""


class Selection(NamedTuple):
    """Which values of an array: for each axis the places, in order, and whether an index drops the axis."""

    ranges: tuple[range, ...]
    dropped: tuple[bool, ...]
    everything: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what is picked."""
        return tuple(len(of) for of, drop in zip(self.ranges, self.dropped, strict=True) if not drop)

    @property
    def size(self) -> int:
        return prod(map(len, self.ranges))


def parse_slice(text: str, begin: int, address: str) -> tuple[Index, ...]:
    """The slice in brackets that begins at a character of an address.

    Raises AddressError, with the character, if it is malformed.
    """
    if not text.endswith("]"):
        raise AddressError(f"a slice ends with ']' (character {len(address)})", repr(address))
    inside, place = text[1:-1], begin + 2
    indices: list[Index] = []
    for part in inside.split(",") if inside.strip() else []:
        indices.append(_index(part, place, address))
        place += len(part) + 1
    if not indices:
        raise AddressError(f"a slice holds an index, a:b or ... for each axis (character {place})", repr(address))
    if indices.count(None) > 1:
        raise AddressError(f"a slice has at most one '...' (character {begin + 1})", repr(address))
    return tuple(indices)


def _index(text: str, place: int, address: str) -> Index:
    stripped = text.strip()
    if stripped == "...":
        return None
    if re.fullmatch(_WHOLE, stripped):
        return int(stripped)
    found = re.fullmatch(_RANGE, stripped)
    if not found:
        rule = "an index must be an integer, a:b, a:b:step, or ..."
        raise AddressError(f"{rule} (character {place + len(text) - len(text.lstrip())})", repr(address))
    start, stop, step = (int(each) if each else None for each in found.groups())
    if step == 0:
        raise AddressError(f"the step of a slice may not be 0 (character {place})", repr(address))
    return Slice(start, stop, step)


def slice_text(indices: Sequence[Index]) -> str:
    """A slice as it is written."""
    return ", ".join(map(_text, indices))


def _text(index: Index) -> str:
    if index is None:
        return "..."
    if isinstance(index, int):
        return str(index)
    ends = index if index.step is not None else index[:2]
    return ":".join("" if each is None else str(each) for each in ends)


def select_all(shape: Sequence[int]) -> Selection:
    return Selection(tuple(range(size) for size in shape), (False,) * len(shape), True)


def select(indices: Sequence[Index] | None, shape: Sequence[int], what: str) -> Selection:
    """Which values these indices select of an array of this shape, by NumPy's rules; ``what`` is for errors.

    Raises AddressError for an index out of range, or more of them than axes.
    """
    if indices is None:
        return select_all(shape)
    given = len(indices) - (None in indices)
    if given > len(shape):
        raise AddressError(f"{what} has {len(shape)} axes, fewer than the slice", f"{given} indices")
    at = list(indices).index(None) if None in indices else len(indices)
    filled = [*indices[:at], *[Slice()] * (len(shape) - given), *indices[at + 1 :]]
    ranges, dropped = [], []
    for axis, (index, size) in enumerate(zip(filled, shape, strict=True)):
        if isinstance(index, int):
            if not -size <= index < size:
                raise AddressError(f"axis {axis} of {what} has the size {size}", f"the index {index}")
            index %= size
            ranges.append(range(index, index + 1))
        else:
            assert index is not None
            ranges.append(range(*slice(*index).indices(size)))
        dropped.append(isinstance(index, int))
    whole = all(of == range(size) for of, size in zip(ranges, shape, strict=True))
    return Selection(tuple(ranges), tuple(dropped), whole)


def boxes(shape: Sequence[int], start: int, stop: int) -> Iterator[tuple[range, ...]]:
    """The parts of an array, one after the other, that its values from one place to another in C order make."""
    if not shape:
        yield ()
        return
    row = prod(shape[1:])
    first, last = -(-start // row), stop // row
    if first > last:  # within one row
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
