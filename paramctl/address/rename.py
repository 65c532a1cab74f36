"""Names under which parameters go to another file, or are looked for in one: ``PATTERN=NAME``.

Each wildcard of the pattern stands in the name, in order, for what it matches: ``model.**=**``, ``*/w=*/kernel``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from paramctl.address.tree import NamedTree
from paramctl.errors import AddressError

_WILD = re.compile(r"\*\*|\*|\?")


def renamer(rules: Sequence[str], model: NamedTree) -> Callable[[str], str]:
    """The new name of each parameter of a model; the first rule that matches counts.

    Raises AddressError for a rule that is malformed or matches nothing, and where two get one name.
    """
    made = [_rule(text, model) for text in rules]

    def new(path: str) -> str:
        for pattern, name in made:
            if found := pattern.fullmatch(path):
                return _filled(name, found.groups())
        return path

    taken: dict[str, str] = {}
    for path in model.parameters if rules else ():
        other = taken.setdefault(new(path), path)
        if other != path:
            raise AddressError(f"{other} and {path} would both be named", repr(new(path)))
    return new


def _filled(name: str, parts: Sequence[str]) -> str:
    """The name with its wildcards replaced, in order."""
    left = iter(parts)
    return _WILD.sub(lambda _: next(left), name)


def _rule(text: str, model: NamedTree) -> tuple[re.Pattern[str], str]:
    old, equals, new = text.partition("=")
    old, new = old.strip(), new.strip()
    if not equals or not old or not new:
        raise AddressError("a renaming is written PATTERN=NAME", repr(text))
    wild, placed = _WILD.findall(old), _WILD.findall(new)
    if wild != placed:
        raise AddressError("the name must have the wildcards of the pattern, in their order", repr(text))
    one = re.escape(model.separator)
    kinds = {"**": "(.*)", "*": f"([^{one}]*)", "?": f"([^{one}])"}
    pattern = re.compile("".join(kinds.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*|\?)", old)))
    if not any(map(pattern.fullmatch, model.parameters)):
        raise AddressError(f"--rename: {model.name} has no parameter of this name", repr(old))
    return pattern, new
