"""Addresses: how parameters, and the blocks that hold them, are named.

A path joins names with ``/``. In a pattern, ``*`` is any run of characters within one name, ``?``
any one of them, and ``**`` any number of whole names, none included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from paramctl.errors import AddressError, suggest

NEAREST_AMONG = 10_000
"""How many names are searched for the nearest one: a hint must not cost more than the answer."""


def pattern(text: str) -> Callable[[str], bool]:
    """Whether a path matches this pattern, as a function of the path.

    Raises AddressError if the pattern is empty or holds an empty name.
    """
    return _compiled(_regex(text))


def pattern_within(text: str) -> Callable[[str], bool]:
    """Like pattern, but true also of whatever lies below a path that matches."""
    return _compiled(f"{_regex(text)}(?:/.*)?")


def nearest(text: str, paths: Iterable[str]) -> str:
    """A hint with the path nearest to what was written, or with what there is; "" if there is nothing."""
    known = [path for path, _ in zip(paths, range(NEAREST_AMONG), strict=False)]
    some = f"{', '.join(known[:3])} and others" if len(known) > 3 else ", ".join(known)
    return suggest(text, known) or (f"There are {some}." if known else "")


def _compiled(regex: str) -> Callable[[str], bool]:
    match = re.compile(regex, re.DOTALL).fullmatch
    return lambda path: match(path) is not None


def _regex(text: str) -> str:
    names = text.split("/")
    if "" in names:
        column = len("/".join(names[: names.index("")])) + 1
        raise AddressError(f"a name in an address may not be empty (character {column})", repr(text))
    regex = ""
    for position, name in enumerate(names):
        last = position == len(names) - 1
        if name == "**":
            regex += ".+" if last else "(?:[^/]+/)*"
        else:
            regex += "".join(_PART.get(part, re.escape(part)) for part in re.split(r"([*?])", name))
            regex += "" if last else "/"
    return regex


_PART = {"*": "[^/]*", "?": "[^/]"}
