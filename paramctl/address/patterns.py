"""Patterns: match parameters and blocks by path.

A path joins names with ``/``. In a pattern, ``*`` matches any characters within one name, ``?`` matches one
character, and ``**`` matches any number of whole names, including none. ``[0..11]`` matches the numbers 0 to 11.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from paramctl.address.numbers import has_number_set, number_set_regex, split_number_sets
from paramctl.errors import MAX_COMPARED, AddressError, suggest

MAX_ADDRESS = 4_096


class NamePattern(NamedTuple):
    """One name of an address. In a quoted name, ``*``, ``?`` and ``[0..11]`` are ordinary characters."""

    text: str
    quoted: bool = False

    @property
    def has_wildcards(self) -> bool:
        return not self.quoted and is_pattern(self.text)


ANY_NAMES = NamePattern("**")


def compile_pattern(text: str) -> Callable[[str], bool]:
    """Return a function that tests whether a path matches a pattern.

    Raises AddressError if the pattern is empty or contains an empty name.
    """
    names = _split(text)
    if is_pattern(text):
        return _matcher(_regex([NamePattern(name) for name in names]))
    return lambda path: path == text


def is_pattern(text: str) -> bool:
    """Return True if the text contains a wildcard or a set of numbers."""
    return "*" in text or "?" in text or has_number_set(text)


def compile_names(names: Sequence[NamePattern], separator: str) -> Callable[[str], bool]:
    """Return a function that tests whether a path matches these names. ``separator`` joins the names of the path."""
    matches = _matcher(_regex(names))
    return matches if separator == "/" else lambda path: matches(path.replace(separator, "/"))


def nearest_hint(text: str, paths: Iterable[str]) -> str:
    """Return a hint with the path most similar to ``text``, or with the first paths; empty without paths."""
    known = list(islice(paths, MAX_COMPARED))
    examples = f"{', '.join(known[:3])}, and others" if len(known) > 3 else ", ".join(known)
    return suggest(text, known) or (f"Known names: {examples}." if known else "")


def _matcher(regex: str) -> Callable[[str], bool]:
    match = re.compile(regex, re.DOTALL).fullmatch  # DOTALL: a name in a file may contain a newline
    return lambda path: match(f"{path}/") is not None


def _regex(names: Sequence[NamePattern]) -> str:
    """Return names as a regular expression for paths that end in a slash.

    Matching is linear in the length of the path. In ``a/**/b/**/c`` the first ``b`` after ``a`` is as good as any
    later one, so each part between two wildcards is an atomic group ``(?>...)``, which never backtracks.
    """
    runs: list[list[str]] = [[]]  # the names between one ** and the next
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


def _name_regex(name: NamePattern) -> str:
    """Return the regular expression of one name, with atomic groups between the stars as in ``_regex``."""
    if name.quoted:
        return re.escape(name.text)
    first, *later = map(_part_regex, name.text.split("*"))
    if not later:
        return first
    *middle, last = later
    return first + "".join(f"(?>[^/]*?{part})" for part in middle if part) + f"[^/]*{last}"


def _part_regex(part: str) -> str:
    """Return the regular expression of a part of a name that has no star."""
    texts = enumerate(split_number_sets(part))  # every second one is a set of numbers
    return "".join(number_set_regex(text) if place % 2 else _text_regex(text) for place, text in texts)


def _text_regex(text: str) -> str:
    return "".join("[^/]" if c == "?" else re.escape(c) for c in text)


def _split(text: str) -> list[str]:
    """Return the names of an address. Raises AddressError if it is too long or contains an empty name."""
    if len(text) > MAX_ADDRESS:
        raise AddressError(f"an address may have at most {MAX_ADDRESS:,} characters", f"{len(text):,}")
    names = text.split("/")
    if "" in names:
        column = len("/".join(names[: names.index("")])) + 1
        raise AddressError(f"a name in an address may not be empty (character {column})", repr(text))
    return names
