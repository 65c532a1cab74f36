"""Text that a file may have chosen, made safe to print; lists of names made short; values and sizes for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def quantity(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 array``, ``2,000 arrays``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def abbreviate(names: Sequence[str]) -> str:
    """Return the first names, and the number of the others: ``a, b, c, d, e and 3 more``."""
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def plain(value: Any) -> str:
    """Return a value for people: with thousands separators, a shape as Keras prints it, None as empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:,}"
    if isinstance(value, tuple):  # the shape of an array: () for one number
        return str(value)
    if isinstance(value, list):
        if value and all(item is None or isinstance(item, int) for item in value):
            return str(tuple(value))
        return ", ".join(map(str, value))
    return str(value)


def number(value: float | None) -> str:
    """Return a float with four significant digits, an int with all of its digits, None as empty."""
    return "" if value is None else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def decimal(size: int) -> str:
    """Return a size in the largest unit of a power of 1,000 that it reaches: ``24 GB``, ``22.9 GB``, ``512 bytes``."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "KB")):
        if size >= 1000**power:
            return f"{f'{size / 1000**power:,.1f}'.removesuffix('.0')} {unit}"
    return quantity(size, "byte")


def binary(size: int) -> str:
    """Return a size in the largest unit that it reaches, as `` (97.8 MiB)``, and nothing below 1 KiB."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            return f" ({size / 1024**power:.1f} {unit})"
    return ""
