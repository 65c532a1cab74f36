"""Rename parameters by rules of the form ``PATTERN=NAME``.

Each wildcard of the pattern appears again in the name, in the same order, and is replaced by the text it matched:
``model.**=**`` removes a prefix, and ``*/w=*/kernel`` replaces the last name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from paramctl.address.tree import NamedTree
from paramctl.errors import AddressError

_WILDCARD = re.compile(r"\*\*|\*|\?")


def renamer(rules: Sequence[str], model: NamedTree) -> Callable[[str], str]:
    """Return the function from the path of a parameter to its new name. The first matching rule applies.

    Raises AddressError if a rule is malformed or matches nothing, or if two parameters would have the same name.
    """
    compiled = [_compile_rule(text, model) for text in rules]

    def new_name(path: str) -> str:
        for pattern, template in compiled:
            if match := pattern.fullmatch(path):
                return _fill(template, match.groups())
        return path

    path_of: dict[str, str] = {}
    for path in model.parameters if rules else ():
        # Two parameters under one name would overwrite each other in the new file.
        other = path_of.setdefault(new_name(path), path)
        if other != path:
            raise AddressError(f"{other} and {path} would have the same name", repr(new_name(path)))
    return new_name


def _fill(template: str, matched: Sequence[str]) -> str:
    """Replace the wildcards of a name in order."""
    remaining = iter(matched)
    return _WILDCARD.sub(lambda _: next(remaining), template)


def _compile_rule(text: str, model: NamedTree) -> tuple[re.Pattern[str], str]:
    """Return the pattern and the new name of a rule."""
    old, equals, new = text.partition("=")
    old, new = old.strip(), new.strip()
    if not equals or not old or not new:
        raise AddressError("a renaming must have the form PATTERN=NAME", repr(text))
    if _WILDCARD.findall(old) != _WILDCARD.findall(new):
        raise AddressError("the name must have the wildcards of the pattern, in the same order", repr(text))
    separator = re.escape(model.separator)
    groups = {"**": "(.*)", "*": f"([^{separator}]*)", "?": f"([^{separator}])"}
    # odd parts of the split are the wildcards; all else is literal
    pattern = re.compile("".join(groups.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*|\?)", old)))
    if not any(map(pattern.fullmatch, model.parameters)):
        raise AddressError(f"--rename: {model.name} has no parameter with this name", repr(old))
    return pattern, new
