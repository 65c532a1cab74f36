"""The names of arrays that files can hold. The rule here is for every format; each format adds its own."""

from __future__ import annotations

from collections.abc import Iterable

from paramctl.errors import OutputError, message

SHOWN = 60
"""Characters of a name in an error."""


def bad_name(target: str, rule: str, name: str, hint: str = "") -> OutputError:
    """Return the error for a name that a file at ``target`` cannot hold."""
    shown = name[:SHOWN].encode("utf-8", "backslashreplace").decode()
    return OutputError(f"{target}: {message(rule, repr(shown), hint)}")


def check_unicode(names: Iterable[str], target: str) -> None:
    """Raise OutputError for a name with half of a surrogate pair, which UTF-8 cannot encode."""
    for name in names:
        if not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
            raise bad_name(target, "a name must be valid Unicode", name)
