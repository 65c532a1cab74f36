"""Text that a file may have chosen, made safe to print, and lists of names made short."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN_NAMES = 5


def printable(text: str) -> str:
    """Return a text with every unprintable character as an escape: ``\\x1b``, ``\\u202e``."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def csv_field(text: str) -> str:
    """Return a text as a field of CSV, in quotes if it has a comma, a quote, or an end of a line (RFC 4180)."""
    if any(character in text for character in ',"\r\n'):
        return '"{}"'.format(text.replace('"', '""'))
    return text


def abbreviate(names: Sequence[str]) -> str:
    """Return the first names, and the number of the others: ``a, b, c, d, e and 3 more``."""
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more:,} more" if more > 0 else "")
