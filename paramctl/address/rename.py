"""Rename parameters by rules of the form ``PATTERN=NAME``.

Each wildcard of the pattern appears again in the name, in the same order, and is replaced by the text it matched:
``model.**=**`` removes a prefix, and ``*/w=*/kernel`` replaces the last name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from paramctl.address.tree import NamedTree
from paramctl.errors import AddressError

_WILDCARD = re.compile(r"\*\*|\*|\?")


class _Rule(NamedTuple):
    """A rule with wildcards. position: among all rules. backward: matches the reversed path; see _compile."""

    position: int
    backward: re.Pattern[str]
    template: str

    def new_name(self, path: str) -> str | None:
        """Return the new name of a path, or None if the pattern does not match it."""
        match = self.backward.fullmatch(path[::-1])
        if match is None:
            return None
        matched = (text[::-1] for text in reversed(match.groups()))
        return _WILDCARD.sub(lambda _: next(matched), self.template)


def renamer(rules: Sequence[str], model: NamedTree) -> Callable[[str], str]:
    """Return the function from the path of a parameter to its new name. The first matching rule applies.

    Raises AddressError if a rule is malformed or matches nothing, or if two parameters would have the same name.
    """
    plain: dict[str, tuple[int, str]] = {}
    patterns: list[_Rule] = []
    for position, text in enumerate(rules):
        old, new = _parse_rule(text)
        if _WILDCARD.search(old):
            rule = _Rule(position, _compile(old, model.separator), new)
            patterns.append(rule)
            is_used = any(rule.new_name(path) is not None for path in model.parameters)
        else:
            plain.setdefault(old, (position, new))
            is_used = old in model.parameters
        if not is_used:
            raise AddressError(f"--rename: {model.name} has no parameter with this name", repr(old))

    def new_name(path: str) -> str:
        end, plain_name = plain.get(path, (len(rules), path))
        for rule in patterns:
            if rule.position > end:
                break
            if (name := rule.new_name(path)) is not None:
                return name
        return plain_name

    names = {path: new_name(path) for path in model.parameters} if rules else {}
    path_of: dict[str, str] = {}
    for path, name in names.items():
        # Two parameters under one name would overwrite each other in the new file.
        other = path_of.setdefault(name, path)
        if other != path:
            raise AddressError(f"{other} and {path} would have the same name", repr(name))
    return lambda path: names[path] if path in names else new_name(path)


def _parse_rule(text: str) -> tuple[str, str]:
    """Return the pattern and the new name of a rule."""
    old, equals, new = text.partition("=")
    old, new = old.strip(), new.strip()
    if not equals or not old or not new:
        raise AddressError("a renaming must have the form PATTERN=NAME", repr(text))
    if _WILDCARD.findall(old) != _WILDCARD.findall(new):
        raise AddressError("the name must have the wildcards of the pattern, in the same order", repr(text))
    if "***" in old:
        raise AddressError("a renaming may not have two wildcards without a text between them", repr(text))
    return old, new


def _compile(pattern: str, separator: str) -> re.Pattern[str]:
    """Return a pattern as a regular expression for reversed paths, whose groups are the wildcards from the last on.

    The first wildcards match as much as possible, as in a regular expression with ``(.*)``. Every text between two of
    them is thus at its last possible place, which is the first one in the reversed path. From there it never moves,
    so it is in an atomic group ``(?>...)``, and no number of wildcards takes exponential time.
    """
    one = f"[^{re.escape(separator)}]"
    pieces, stars = [""], []
    for part in reversed(re.split(r"(\*\*|\*|\?)", pattern)):
        if part in ("*", "**"):
            stars.append(part)
            pieces.append("")
        else:
            pieces[-1] += f"({one})" if part == "?" else re.escape(part[::-1])
    first, *later = pieces
    if not later:
        return re.compile(first, re.DOTALL)
    last_run = max((number for number, star in enumerate(stars) if star == "**"), default=0)
    expression, is_open = first, False
    for number, (star, piece) in enumerate(zip(stars, later, strict=True)):
        if star == "**":  # a run of texts that single stars join: it moves as a whole
            expression += ")" if is_open else ""
            is_open = number < last_run
            expression += "(?>" if is_open else ""
        is_last = number == len(stars) - 1
        if star == "**":
            expression += f"(.*){piece}" if is_last else f"(.*?){piece}"
        else:
            expression += f"({one}*){piece}" if is_last else f"(?>({one}*?){piece})"
    return re.compile(expression, re.DOTALL)
