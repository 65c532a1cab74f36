"""Addresses: how parameters, and the blocks that hold them, are named.

A path joins names with ``/``. In a pattern, ``*`` is any run of characters within one name, ``?``
any one of them, and ``**`` any number of whole names, none included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from paramctl.errors import MAX_COMPARED, AddressError, suggest

MAX_ADDRESS = 4_096


def compile_pattern(text: str) -> Callable[[str], bool]:
    """Whether a path matches this pattern, as a function of the path.

    Raises AddressError if the pattern is empty or holds an empty name.
    """
    if is_pattern(text):
        return _compiled(_regex([NamePattern(name, True) for name in _names(text)]))
    _names(text)
    return lambda path: path == text


def is_pattern(text: str) -> bool:
    """Whether a text can match anything but itself."""
    return "*" in text or "?" in text


class NamePattern(NamedTuple):
    """A name in an address: as it is, or, if ``plain`` (not in quotes), perhaps with wildcards."""

    text: str
    plain: bool

    @property
    def has_wildcards(self) -> bool:
        return self.plain and is_pattern(self.text)


ANY_NAMES = NamePattern("**", True)


def compile_names(names: Sequence[NamePattern], separator: str) -> Callable[[str], bool]:
    """Whether a path, whose names are joined by this separator, matches these, as a function of the path."""
    matches = _compiled(_regex(names))
    return matches if separator == "/" else lambda path: matches(path.replace(separator, "/"))


def nearest_hint(text: str, paths: Iterable[str]) -> str:
    """A hint with the path nearest to what was written, or with what there is; "" if there is nothing."""
    known = list(islice(paths, MAX_COMPARED))
    some = f"{', '.join(known[:3])} and others" if len(known) > 3 else ", ".join(known)
    return suggest(text, known) or (f"There are {some}." if known else "")


def _compiled(regex: str) -> Callable[[str], bool]:
    match = re.compile(regex, re.DOTALL).fullmatch
    return lambda path: match(f"{path}/") is not None


def _regex(names: Sequence[NamePattern]) -> str:
    """Names as a regular expression over paths that end in a slash.

    Between two wildcards of a kind the first place that fits is as good as any later one, so what
    stands there is matched once and for all, in an atomic group: the time is linear in the path.
    """
    runs: list[list[str]] = [[]]  # what stands between one ** and the next
    for name in names:
        if name == ANY_NAMES:
            runs.append([])
        else:
            runs[-1].append(f"{_name_regex(name)}/")
    first, *later = ("".join(run) for run in runs)
    if not later:
        return first
    *middle, last = later
    return first + "".join(f"(?>(?:[^/]+/)*?{run})" for run in middle if run) + f"(?:[^/]+/)*{last}"


def _names(text: str) -> list[str]:
    """The names between the slashes of an address; AddressError if it cannot be one."""
    if len(text) > MAX_ADDRESS:
        raise AddressError(f"an address may have at most {MAX_ADDRESS:,} characters", f"{len(text):,}")
    names = text.split("/")
    if "" in names:
        column = len("/".join(names[: names.index("")])) + 1
        raise AddressError(f"a name in an address may not be empty (character {column})", repr(text))
    return names


def _name_regex(name: NamePattern) -> str:
    if not name.plain:
        return re.escape(name.text)
    first, *later = ("".join("[^/]" if c == "?" else re.escape(c) for c in part) for part in name.text.split("*"))
    if not later:
        return first
    *middle, last = later
    return first + "".join(f"(?>[^/]*?{part})" for part in middle if part) + f"[^/]*{last}"
