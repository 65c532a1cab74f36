"""Rename parameters by rules of the form ``PATTERN=NAME``.

Each wildcard of the pattern appears again in the name, in the same order, and is replaced by the text it matched:
``model.**=**`` removes a prefix, and ``*/w=*/kernel`` replaces the last name. Names in quotes are taken literally, as
in addresses: ``'a=b'/w=c/w``.

``re:EXPRESSION=REPLACEMENT`` replaces every match of a regular expression in a name, as ``re.sub`` does:
``re:^module\\.=`` removes a prefix, and ``re:layer(\\d+)=blocks.\\1`` keeps the number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from paramctl.address.expressions import compile_expression
from paramctl.address.quoting import partition_address, shell_quoted, similar_address_hint
from paramctl.address.tree import NamedTree
from paramctl.errors import AddressError

_TOKEN = re.compile(r"""((?:^|(?<=[/.]))(?:'[^']*'|"[^"]*")(?=[/.]|$))|(\*\*|\*|\?)""")
"""One or several names in quotes, or a wildcard."""


class _Substitution(NamedTuple):
    """A rule with a regular expression. position: among all rules."""

    position: int
    expression: re.Pattern[str]
    replacement: str

    def new_name(self, path: str) -> str | None:
        """Return the new name of a path, or None if the expression does not occur in it."""
        name, count = self.expression.subn(self.replacement, path)
        if count and not name:
            raise AddressError(f"--rename: {path} would have an empty name", repr(f"re:{self.expression.pattern}"))
        return name if count else None


class _Rule(NamedTuple):
    """A rule with wildcards. position: among all rules. backward: matches the reversed path; see _compile."""

    position: int
    backward: re.Pattern[str]
    template: list[str]

    def new_name(self, path: str) -> str | None:
        """Return the new name of a path, or None if the pattern does not match it."""
        match = self.backward.fullmatch(path[::-1])
        if match is None:
            return None
        matched = [text[::-1] for text in reversed(match.groups())]
        texts = self.template[::2]
        return "".join(text + wild for text, wild in zip(texts, [*matched, ""], strict=True))


def renamer(rules: Sequence[str], model: NamedTree) -> Callable[[str], str]:
    """Return the function from the path of a parameter to its new name. The first matching rule applies.

    Raises AddressError if a rule is malformed or matches nothing, or if two parameters would have the same name.
    """
    plain: dict[str, tuple[int, str]] = {}
    patterns: list[_Rule | _Substitution] = []
    for position, text in enumerate(rules):
        rule = _parse_expression(position, text) or _parse_wildcards(position, text, model.separator)
        if isinstance(rule, _Plain):
            plain.setdefault(rule.old, (position, rule.new))
            is_used = rule.old in model.parameters
        else:
            patterns.append(rule)
            is_used = any(rule.new_name(path) is not None for path in model.parameters)
        if not is_used:
            pattern = _partition(text)[0].strip()
            hint = _hint(model, rule.old, rule.new) if isinstance(rule, _Plain) else ""
            raise AddressError(f"--rename: {model.name} has no parameter with this name", repr(pattern), hint)

    def new_name(path: str) -> str:
        end, plain_name = plain.get(path, (len(rules), path))
        for rule in patterns:
            if rule.position > end:
                break
            if (name := rule.new_name(path)) is not None:
                return name
        return plain_name

    names = {path: new_name(path) for path in model.parameters} if rules else {}
    # a substitution may map many names to one: re:\d=0
    path_of: dict[str, str] = {}
    for path, name in names.items():
        # Two parameters under one name would overwrite each other in the new file.
        other = path_of.setdefault(name, path)
        if other != path:
            raise AddressError(f"{other} and {path} would have the same name", repr(name))
    return lambda path: names[path] if path in names else new_name(path)


def _hint(model: NamedTree, old: str, new: str) -> str:
    """Return a hint for a name that no parameter has: it may be a block's, in quotes, or another's misspelled."""
    separator = model.separator
    if any(path.startswith(f"{old}{separator}") for path in model.parameters) and not re.search("[*?=]", old + new):
        rule = shell_quoted(f"{old}{separator}**={new}{separator}**")
        return f"It is a block: {rule} renames all parameters in it."
    return similar_address_hint(old, model.parameters, separator)


class _Plain(NamedTuple):
    """A rule for one name."""

    old: str
    new: str


def _partition(text: str) -> tuple[str, str, str]:
    """Split a rule into its pattern, the equals sign, and the new name."""
    parts = partition_address(text)
    # a[b=c has no closing bracket, but one equals sign
    return parts if parts[1] else text.partition("=")  # a bracket of a name may have no other


def _parse_expression(position: int, text: str) -> _Substitution | None:
    """Return a rule with a regular expression; None for a rule without one."""
    if not text.lstrip().startswith("re:"):
        return None
    # the new name may be empty, which removes a prefix: re:^module\.=
    old, equals, new = _partition(text)
    if not equals or not old.strip().removeprefix("re:"):
        raise AddressError("a renaming must have the form re:EXPRESSION=REPLACEMENT", repr(text))
    expression = compile_expression(old.strip())
    try:
        expression.sub(new.strip(), "")  # reads the replacement, whatever matches
    except (re.error, IndexError) as error:
        raise AddressError(f"invalid replacement: {error}", repr(text)) from None
    return _Substitution(position, expression, new.strip())


def _parse_wildcards(position: int, text: str, separator: str) -> _Rule | _Plain:
    """Return a rule with wildcards, or for one name."""
    old, equals, new = (part.strip() for part in _partition(text))
    if not equals or not old or not new:
        raise AddressError("a renaming must have the form PATTERN=NAME", repr(text))
    old_parts, new_parts = _parts(old), _parts(new)
    if old_parts[1::2] != new_parts[1::2]:
        raise AddressError("the name must have the wildcards of the pattern, in the same order", repr(text))
    pairs = zip(old_parts[1::2], old_parts[2::2], old_parts[3::2], strict=False)
    if any(first == "**" and not text and second != "?" for first, text, second in pairs):
        raise AddressError("a renaming may not have two wildcards without a text between them", repr(text))
    if len(old_parts) == 1:
        return _Plain(old_parts[0], new_parts[0])
    return _Rule(position, _compile(old_parts, separator), new_parts)


def _parts(pattern: str) -> list[str]:
    """Return the texts of a pattern, without quotes, and the wildcards between them."""
    parts = [""]
    end = 0
    for match in _TOKEN.finditer(pattern):
        parts[-1] += pattern[end : match.start()]
        end = match.end()
        if match[1]:
            parts[-1] += match[1][1:-1]
        else:
            parts += [match[2], ""]
    parts[-1] += pattern[end:]
    return parts


def _compile(parts: Sequence[str], separator: str) -> re.Pattern[str]:
    """Return the parts of a pattern as a regular expression for reversed paths, whose groups are the wildcards from the
    last on.

    The first wildcards match as much as possible, as in a regular expression with ``(.*)``. Every text between two of
    them is thus at its last possible place, which is the first one in the reversed path. From there it never moves,
    so it is in an atomic group ``(?>...)``, and no number of wildcards takes exponential time.
    """
    one = f"[^{re.escape(separator)}]"
    pieces, stars = [re.escape(parts[-1][::-1])], []
    for text, wildcard in zip(parts[-3::-2], parts[-2::-2], strict=True):
        if wildcard == "?":
            pieces[-1] += f"({one})"
        else:
            stars.append(wildcard)
            pieces.append("")
        pieces[-1] += re.escape(text[::-1])
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
