"""Tables that fit a terminal: the least important columns are left out, and long names are shortened in the middle.

Two names that differ stay different: rather than that, another column is left out, and in the end the line is too long.
Numbers, shapes and dtypes are never shortened.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, groupby
from typing import NamedTuple

from paramctl.cli.display import encodes

GAP = 2
"""Characters between two columns."""

FLOOR = 24
"""Texts are not made shorter than this, if the terminal is not narrower."""

LEAST = 12
"""Texts are not made shorter than this on any terminal."""

_NUMBER = re.compile("[0-9]")

KEPT_SEGMENTS = 4
"""At most so many names at the beginning of a path are tried, for one that tells the paths apart."""


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column of texts.

    texts: a text for each row. notes: texts that follow, after a space. right: align the texts to the right.
    shrinks: True if the texts are names or sentences, which can be shortened; notes always can.
    priority: columns with the highest are left out first, those with a negative one never.
    """

    heading: str
    texts: Sequence[str]
    notes: Sequence[str] = ()
    right: bool = False
    shrinks: bool = False
    priority: int = 1

    @property
    def text_width(self) -> int:
        """The width of the texts if they are aligned to the right; a heading is as wide."""
        return widest((self.heading, *self.texts)) if self.right else 0

    @property
    def is_empty(self) -> bool:
        return not any(self.texts) and not any(self.notes)

    @property
    def width(self) -> int:
        return widest((self.heading, *self.cells()))

    def cells(self) -> list[str]:
        """Return the aligned texts with their notes."""
        width = self.text_width
        texts = [" " * (width - display_width(text)) + text for text in self.texts] if width else list(self.texts)
        if not self.notes:
            return texts
        return [f"{text} {note}" if note else text for text, note in zip(texts, self.notes, strict=True)]

    def least(self, floor: int) -> int:
        """Return the width to which the column can be shortened."""
        width, kept = self.width, 0
        if self.shrinks:
            kept = max(display_width(self.heading), floor)
        elif any(self.notes):
            kept = (self.text_width or widest(self.texts)) + 1 + LEAST
        return min(width, kept or width)

    def shortened(self, width: int) -> TextColumn:
        """Return the column in a width that is at least ``least``."""
        if self.width <= width:
            return self
        if self.shrinks:
            cells = self.cells()
            return replace(self, texts=shorten_all(cells, width), notes=())
        text_width = self.text_width or widest(self.texts)
        return replace(self, notes=[shorten(note, width - text_width - 1) for note in self.notes])


class Fitted(NamedTuple):
    """The columns of a table that fits, and the headings of those that were left out or shortened."""

    columns: list[TextColumn]
    left_out: list[str]
    shortened: list[str]


def fit(columns: Sequence[TextColumn], width: int) -> Fitted:
    """Return columns that fit a width as far as they can."""
    shown = list(columns)
    floor = max(LEAST, min(FLOOR, width))
    removable = sorted(
        (place for place, column in enumerate(columns) if place and column.priority >= 0),
        key=lambda place: (columns[place].is_empty, columns[place].priority, place),
    )
    # the last of the sorted columns is the least important
    while True:
        fitted = _shorten(shown, width, floor)
        if fitted is not None or not removable:
            break
        place = removable.pop()
        shown = [column for column in shown if column is not columns[place]]
    kept = {id(column) for column in shown}
    left_out = [column.heading for column in columns if id(column) not in kept]
    narrow = fitted or [_distinct(column, floor) for column in shown]
    return Fitted(narrow, left_out, [a.heading for a, b in zip(shown, narrow, strict=True) if a is not b])


def _shorten(columns: Sequence[TextColumn], width: int, floor: int) -> list[TextColumn] | None:
    """Return columns of at most a width together, or None. Spare room goes to the columns from left to right."""
    widths = [column.least(floor) for column in columns]
    spare = width - GAP * (len(columns) - 1) - sum(widths)
    if spare < 0:
        return None
    for place, column in enumerate(columns):
        more = min(spare, column.width - widths[place])
        widths[place] += more
        spare -= more
    narrow = [column.shortened(each) for column, each in zip(columns, widths, strict=True)]
    return narrow if all(map(_as_distinct, columns, narrow)) else None


def _distinct(column: TextColumn, floor: int) -> TextColumn:
    """Return a column in its least width, or whole if names would become the same."""
    narrow = column.shortened(column.least(floor))
    return narrow if _as_distinct(column, narrow) else column


def _as_distinct(before: TextColumn, after: TextColumn) -> bool:
    """Return whether names that differ before do so after. Sentences need not."""
    if before is after or not before.shrinks or any(map(_is_prose, before.texts)):
        return True
    return len(set(after.texts)) == len(set(before.texts))


def _is_prose(text: str) -> bool:
    return " " in text


def shorten_all(texts: Sequence[str], width: int) -> list[str]:
    """Return texts of at most a width: names that lack their middle, or sentences that lack their end.

    A path keeps as many names at its beginning as it takes to tell it apart: block/…/query/kernel if no other path
    becomes the same, but block/attention/…/bias where block/mlp/…/bias exists. If that is not enough, it keeps names
    with numbers: model.….11.….weight.
    """
    if any(map(_is_prose, texts)):
        return [_without_end(text, width) for text in texts]
    chosen: dict[str, str] = {}
    ways: list[Callable[[str, int], str]] = [partial(shorten, kept=kept) for kept in range(1, KEPT_SEGMENTS + 1)]
    for way in (*ways, _with_numbers):
        short = {text: way(text, width) for text in dict.fromkeys(texts)}
        counts = Counter(short.values())
        # a name that two paths would share tells neither apart
        for text, name in short.items():
            if counts[name] == 1:
                chosen.setdefault(text, name)
    return [chosen.get(text) or shorten(text, width) for text in texts]


def shorten(text: str, width: int, kept: int = 1) -> str:
    """Return a path of at most a width, without names from its middle: ``encoder/…/attention/kernel``.

    kept: names at the beginning that stay. If the last name is too long, characters are left out instead: with 1 from
        the first third on, with 2 from the second, else from the half.
    """
    if display_width(text) <= width:
        return text
    mark = _mark()
    separator, parts = _names(text)
    head = separator.join([*parts[:kept], mark, ""])
    for start in range(kept + 1, len(parts)):
        candidate = head + separator.join(parts[start:])
        if display_width(candidate) <= width:
            return candidate
    room = max(width - display_width(mark), 2)
    head = _beginning(text, room * kept // (KEPT_SEGMENTS - 1) if kept < KEPT_SEGMENTS - 1 else room // 2)
    head = _before_open(head, "[", "]")
    return head + mark + _before_open(_beginning(text[::-1], room - display_width(head)), "]", "[")[::-1]


def _with_numbers(text: str, width: int) -> str:
    """Return a path of its last name, its names with numbers, and as many others as fit; else as ``shorten`` does."""
    separator, parts = _names(text)
    kept = {place for place, part in enumerate(parts) if _NUMBER.search(part)} | {len(parts) - 1}

    def path(places: Set[int]) -> str:
        shown = [part if place in places else _mark() for place, part in enumerate(parts)]
        return separator.join(part for part, _ in groupby(shown))

    if display_width(path(kept)) > width:
        return shorten(text, width)
    for place in (0, *reversed(range(len(parts)))):
        if display_width(path(kept | {place})) <= width:
            kept.add(place)
    return path(kept)


def _names(text: str) -> tuple[str, list[str]]:
    """Return the separator of a path, and its names; those with dots in a set, such as block-[0..11], are whole."""
    separator = "/" if "/" in text else "."
    return separator, re.split(rf"{re.escape(separator)}(?![^\[\]]*\])", text)


def _before_open(text: str, opening: str, closing: str) -> str:
    """Return a text without a set of numbers that its end would split: block- for block-[0..1."""
    start = text.rfind(opening)
    return text if text.rfind(closing) >= start else text[:start]


def _without_end(text: str, width: int) -> str:
    if display_width(text) <= width:
        return text
    mark = _mark()
    return _beginning(text, width - display_width(mark)).rstrip() + mark


def _beginning(text: str, width: int) -> str:
    """Return as many characters as fit a width."""
    widths = accumulate(map(display_width, text))
    return text[: sum(each <= width for each in widths)]


def _mark() -> str:
    return "…" if encodes("…") else "..."


def align(headings: Sequence[str], columns: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: headings, rules, and rows, with each column as wide as its widest text."""
    padded = []
    for heading, texts in zip(headings, columns, strict=True):
        column = [heading, *texts]
        widths = [*map(display_width, column)]
        width = max(widths)
        column = [text + " " * (width - own) for text, own in zip(column, widths, strict=True)]
        padded.append([column[0], "-" * width, *column[1:]])
    return [(" " * GAP).join(line).rstrip() for line in zip(*padded, strict=True)]


def widest(texts: Iterable[str]) -> int:
    return max(map(display_width, texts), default=0)


def display_width(text: str) -> int:
    """Return the columns that a text takes on a terminal: two for a wide character, if wcwidth is installed.

    Without wcwidth, tabulate does not measure wide characters either.
    """
    if text.isascii():
        return len(text)
    try:
        from wcwidth import wcswidth
    except ImportError:
        return len(text)
    return max(int(wcswidth(text)), 0)
