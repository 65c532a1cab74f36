"""Sets of numbers in a name: ``block-[0..11]`` names block-0 to block-11.

[0..11]         0, 1, ... 11
[0..2,4..31]    without 3
[1..47:2]       1, 3, ... 47

A set has two dots at least once, so that it is never a slice of values. Numbers are compared by value: ``[0..11]`` also
matches 07.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from paramctl.errors import AddressError

MAX_DIGITS = 9
MAX_STEPS = 1_000
"""The most numbers that a range with a step may have."""

_ITEM = rf"[0-9]{{1,{MAX_DIGITS}}}(?:\.\.[0-9]{{1,{MAX_DIGITS}}}(?::[0-9]{{1,{MAX_DIGITS}}})?)?"
_SET = re.compile(rf"\[(?=[^\]]*\.\.)({_ITEM}(?:,{_ITEM})*)\]")


class Numbers(NamedTuple):
    """The numbers from low to high, each step apart."""

    low: int
    high: int
    step: int = 1


def number_set_end(text: str, start: int) -> int | None:
    """Return the position after the set of numbers that begins at a position of a text, or None without one."""
    match = _SET.match(text, start)
    return match.end() if match else None


def has_number_set(text: str) -> bool:
    """Return whether a name has a set of numbers."""
    return ".." in text and _SET.search(text) is not None


def split_number_sets(text: str) -> list[str]:
    """Return the texts around the sets of numbers in a name, and the sets without brackets, in turn."""
    return _SET.split(text) if ".." in text else [text]


def number_set_regex(items: str) -> str:
    """Return the regular expression of a set of numbers, given without its brackets.

    Raises AddressError for a range that is empty, or has too many steps.
    """
    parts = [part for item in items.split(",") for part in _item_regexes(item)]
    return f"(?<![0-9])0*(?:{'|'.join(parts)})(?![0-9])"


def _item_regexes(item: str) -> list[str]:
    ends, _, step = item.partition(":")
    low, _, high = ends.partition("..")
    numbers = Numbers(int(low), int(high or low), int(step or 1))
    if numbers.high < numbers.low or not numbers.step:
        raise AddressError("a range of numbers must be LOW..HIGH or LOW..HIGH:STEP, upward", f"[{item}]")
    if numbers.step == 1:
        return _range_regexes(numbers.low, numbers.high)
    members = range(numbers.low, numbers.high + 1, numbers.step)
    if len(members) > MAX_STEPS:
        raise AddressError(f"a range with a step may have at most {MAX_STEPS:,} numbers", f"[{item}]")
    return [*map(str, members)]


def _range_regexes(low: int, high: int) -> list[str]:
    """Return expressions for the numbers from low to high: one or more for each number of digits."""
    parts = []
    for digits in range(len(str(low)), len(str(high)) + 1):
        first, last = max(low, 10 ** (digits - 1) if digits > 1 else 0), min(high, 10**digits - 1)
        parts.append(_digits_regex(str(first), str(last)))
    return parts


def _digits_regex(low: str, high: str) -> str:
    """Return the expression of the numbers from low to high, which have equally many digits."""
    if low == high:
        return low
    if not low.strip("0") and not high.strip("9"):
        return f"[0-9]{{{len(low)}}}"
    if low[0] == high[0]:
        return low[0] + _digits_regex(low[1:], high[1:])
    if len(low) == 1:
        return f"[{low}-{high}]"
    rest = len(low) - 1
    parts = [low[0] + _digits_regex(low[1:], "9" * rest)]
    if int(low[0]) + 1 < int(high[0]):
        parts.append(f"[{int(low[0]) + 1}-{int(high[0]) - 1}][0-9]{{{rest}}}")
    return f"(?:{'|'.join([*parts, high[0] + _digits_regex('0' * rest, high[1:])])})"


def number_set(numbers: Sequence[str]) -> str:
    """Return the set of two numbers or more, as texts in ascending order: ``[0..2,4..31]``, ``[1..47:2]``."""
    items: list[tuple[int, int]] = []  # the places of the first and the last number of each range
    place = 0
    while place < len(numbers):
        end = _range_end(numbers, place)
        items.append((place, end))
        place = end + 1
    if all(first == last for first, last in items):  # two dots distinguish a set from a slice
        items[:2] = [(0, 1)]
    return f"[{','.join(_item_text(numbers, *item) for item in items)}]"


def _range_end(numbers: Sequence[str], place: int) -> int:
    """Return the place of the last number of the range that begins at a place: two or more numbers 1 apart, or three.

    So 0, 1, 2, 4, 5 are 0..2,4..5, and 1, 3, 5 are 1..5:2, but 1, 3 are alone.
    """
    end = place + 1
    if end == len(numbers):
        return place
    step = int(numbers[end]) - int(numbers[place])
    while end + 1 < len(numbers) and int(numbers[end + 1]) - int(numbers[end]) == step:
        end += 1
    # the second of two numbers further apart may begin a range of its own
    return end if step == 1 or end - place > 1 else place


def _item_text(numbers: Sequence[str], first: int, last: int) -> str:
    if first == last:
        return numbers[first]
    step = int(numbers[first + 1]) - int(numbers[first])
    return f"{numbers[first]}..{numbers[last]}{f':{step}' if step > 1 else ''}"
