"""Addresses: how parameters, and the blocks that hold them, are named.

A path joins names with ``/``. In a pattern, ``*`` is any run of characters within one name, ``?``
any one of them, and ``**`` any number of whole names, none included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from itertools import islice

from paramctl.errors import NEAREST_AMONG, AddressError, suggest
from paramctl.slices import Index, split

LONGEST = 4_096


def pattern(text: str) -> Callable[[str], bool]:
    """Whether a path matches this pattern, as a function of the path.

    Raises AddressError if the pattern is empty or holds an empty name.
    """
    if is_pattern(text):
        return _compiled(_regex(text))
    _names(text)
    return lambda path: path == text


def is_pattern(text: str) -> bool:
    """Whether a text can match anything but itself."""
    return "*" in text or "?" in text


def pattern_within(text: str) -> Callable[[str], bool]:
    """Like pattern, but true also of whatever lies below a path that matches."""
    return _compiled(f"{_regex(text)}.*")


def select(addresses: Iterable[str], paths: Collection[str], what: str) -> list[tuple[str, tuple[Index, ...] | None]]:
    """The parameters that addresses mean, with the slice of each, in the order of the paths and never twice.

    An address that is no parameter's may be a block's, and means all below it. Raises AddressError for
    one that is malformed or matches nothing; ``what`` is what they are looked for in.
    """
    found: dict[tuple[str, tuple[Index, ...] | None], None] = {}
    for text in addresses:
        path, indices = split(text)
        matched = list(filter(pattern(path), paths)) or list(filter(pattern_within(path), paths))
        if not matched:
            raise AddressError(f"{what} has no parameter of this name", repr(path), nearest(path, paths))
        found |= dict.fromkeys((each, indices) for each in matched)
    order = {path: place for place, path in enumerate(paths)}
    return sorted(found, key=lambda each: order[each[0]])


def nearest(text: str, paths: Iterable[str]) -> str:
    """A hint with the path nearest to what was written, or with what there is; "" if there is nothing."""
    known = list(islice(paths, NEAREST_AMONG))
    some = f"{', '.join(known[:3])} and others" if len(known) > 3 else ", ".join(known)
    return suggest(text, known) or (f"There are {some}." if known else "")


def _compiled(regex: str) -> Callable[[str], bool]:
    match = re.compile(regex, re.DOTALL).fullmatch
    return lambda path: match(f"{path}/") is not None


def _regex(text: str) -> str:
    """A pattern as a regular expression over paths that end in a slash.

    Between two wildcards of a kind the first place that fits is as good as any later one, so what
    stands there is matched once and for all, in an atomic group: the time is linear in the path.
    """
    names = _names(text)
    runs: list[list[str]] = [[]]  # what stands between one ** and the next
    for name in names:
        if name == "**":
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
    if len(text) > LONGEST:
        raise AddressError(f"an address may have at most {LONGEST:,} characters", f"{len(text):,}")
    names = text.split("/")
    if "" in names:
        column = len("/".join(names[: names.index("")])) + 1
        raise AddressError(f"a name in an address may not be empty (character {column})", repr(text))
    return names


def _name_regex(name: str) -> str:
    first, *later = ("".join("[^/]" if c == "?" else re.escape(c) for c in part) for part in name.split("*"))
    if not later:
        return first
    *middle, last = later
    return first + "".join(f"(?>[^/]*?{part})" for part in middle if part) + f"[^/]*{last}"
