"""Paths as addresses to type: quoted for the address syntax, and then for a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from itertools import islice

from paramctl.errors import MAX_COMPARED, suggest

_SPECIAL = re.compile(r"[\[*?='\"]|^[\s-]|^re:|\s$")
"""Text with a meaning in the address syntax; - at the beginning would be an option, = ends an address in set."""

_SHELL_SPECIAL = re.compile(r'["$`\\!]')
"""Characters that a shell interprets inside double quotes."""

LISTED = 3


def address_of(path: str, separator: str = "/") -> str:
    """Return the address that matches exactly this path: ``'x[0]'/w`` for the path ``x[0]/w``."""
    names = path.split(separator)
    if path.isprintable():
        if "" in names and (quote := _quote_for(path)):  # an empty name needs quotes around more than itself
            return f"{quote}{path}{quote}"
        quotes = [_quote_for(name) for name in names]
        if all(quotes) and "" not in names:
            return separator.join(
                f"{quote}{name}{quote}" if _SPECIAL.search(name) else name
                for name, quote in zip(names, quotes, strict=True)
            )
    # No quotes can hold such a name. As a regular expression, every character can be escaped.
    return "re:" + "".join(map(_escaped, path))


def _escaped(character: str) -> str:
    """Return a character as a regular expression in an assignment, where = and quotes have a meaning too."""
    if not character.isprintable():
        return character.encode("unicode_escape").decode()
    return f"\\{character}" if character in "='\"" else re.escape(character)


def partition_address(text: str) -> tuple[str, str, str]:
    """Split a text at the first ``=`` that is not within the quotes or brackets of an address, as str.partition does.

    A quote opens only at the beginning of a name: the path don't/kernel has none. In a regular expression, a backslash
    takes the meaning from the next character, and parentheses are brackets too: ``re:a(?=b)=c``.
    """
    quote, depth, groups, is_expression, escaped = "", 0, 0, text.lstrip().startswith("re:"), False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\" and is_expression:
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and (text[position - 1] in "/." or not text[:position].strip()):
            quote = character
        elif character in "[]":
            depth += 1 if character == "[" else -1
        elif character in "()" and is_expression and depth <= 0:
            groups += 1 if character == "(" else -1
        elif character == "=" and depth <= 0 and groups <= 0:
            return text[:position], "=", text[position + 1 :]
    return text, "", ""


def _quote_for(name: str) -> str:
    """Return the quotation mark that can enclose a name, or "" if it contains both."""
    return next((quote for quote in "'\"" if quote not in name), "")


def shell_quoted(text: str) -> str:
    """Return a text as an argument to type in a shell, always in quotes: ``'a b'``, or ``"'x[0]'"``."""
    if "'" not in text:
        return f"'{text}'"
    return shlex.quote(text) if _SHELL_SPECIAL.search(text) else f'"{text}"'


def similar_address_hint(text: str, paths: Iterable[str], separator: str) -> str:
    """Return a hint with the most similar path as typed in a shell, or ""."""
    return suggest(text, paths, lambda path: shell_quoted(address_of(path, separator)))


def _inner_hint(text: str, paths: Iterable[str], separator: str) -> str:
    """Return a hint with the block or parameter that has this name inside another block, or "".

    ``encoder`` for the paths ``module.encoder.weight`` and ``module.encoder.bias``: ``module.encoder``.
    """
    inner = f"{separator}{text}{separator}"
    for path in paths:
        before, is_inside, _ = f"{path}{separator}".partition(inner)
        if text and is_inside:
            return f"Did you mean {shell_quoted(address_of(f'{before}{separator}{text}', separator))}?"
    return ""


def nearest_address_hint(text: str, paths: Iterable[str], separator: str) -> str:
    """Return a hint with the most similar path as typed in a shell, or with the first paths, or ""."""
    known = list(islice(paths, MAX_COMPARED))
    hint = _inner_hint(text, known, separator) or similar_address_hint(text, known, separator)
    if hint or not known:
        return hint
    first = ", ".join(_typed(path, separator) for path in known[:LISTED])
    return f"Known names: {first}, and others." if len(known) > LISTED else f"Known names: {first}."


def _typed(path: str, separator: str) -> str:
    """Return a path as typed in a shell, in quotes only if it needs them."""
    address = address_of(path, separator)
    return path if shlex.quote(address) == path else shell_quoted(address)
