"""The errors that paramctl raises. Each is also the matching builtin exception.

    ParamctlError
    ├── DocumentError (ValueError)     a model document, or a value written like one, is wrong
    ├── AddressError (LookupError)     an address, a pattern, or a type is malformed or matches nothing
    ├── InputError (OSError)           a file cannot be read or has unexpected contents
    └── OutputError (OSError)          a file cannot be written; an existing file is unchanged

The message is one line: the place, the rule, and the value received. Foreign errors are
converted to these where they are raised. The command line prints them.
"""

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

MAX_COMPARED = 1_000
"""The number of known words from which a suggestion is chosen."""

MAX_COMPARED_LENGTH = 64
"""Longer words are not suggested."""


class Place(NamedTuple):
    """The place of a value: a document, a line, and a column, counted from 1; or a command-line option alone."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class ParamctlError(Exception):
    """The root of all errors except defects of paramctl itself. A URL in its message is without credentials."""

    def __init__(self, text: str) -> None:
        super().__init__(without_credentials(text))


class DocumentError(ParamctlError, ValueError):
    """An error at a position in a document: ``place: rule (got received). hint``. Only the rule is required."""

    def __init__(self, rule: str, place: Place | None = None, received: str | None = None, hint: str = "") -> None:
        self.rule, self.place, self.received, self.hint = rule, place, received, hint
        super().__init__(message(f"{place}: {rule}" if place else rule, received, hint))


class AddressError(ParamctlError, LookupError):
    """A malformed address, or one that matches nothing: ``rule (got received). hint``."""

    def __init__(self, rule: str, received: str, hint: str = "") -> None:
        self.rule, self.received, self.hint = rule, received, hint
        super().__init__(message(rule, received, hint))


class InputError(ParamctlError, OSError):
    """A file that cannot be read or has unexpected contents. The message begins with its name."""


class OutputError(ParamctlError, OSError):
    """A file that cannot be written. The message begins with its name; ``errno`` is the system's reason, if any."""

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


def without_credentials(text: str) -> str:
    """Return a text in which no URL has a user, a password or a query, which may be a signature.

    The @ of hf://ORG/MODEL@REVISION is no user's.
    """
    if "://" not in text:
        return text
    text = re.sub(r"((?!hf:)\b[A-Za-z][A-Za-z0-9+.-]*://)[^/\s?#]*@", r"\1", text)
    # a password with an unescaped slash: http://user:pa/ss@host/, but not http://host:80/package@1/file
    text = re.sub(r"(://)[^/\s:@]*:(?!\d+[/?#])[^\s@]*@", r"\1", text)
    # of the brackets in a query, only those at the end may be an address: from:http://host/w.h5?a[]=b[path]
    text = re.sub(r"(://[^\s?'\"]*)\?[^\s'\"]*?(?=(?:\[[^\[\]=&]*\])?(?:[\s'\"]|$))", r"\1", text)
    # a path may have spaces and quotes, after which only ?name=value is a query
    return re.sub(r"(://[^?]*)\?[^\s'\"\[\]=]*=[^\s'\"\[\]]*", r"\1", text)


def message(rule: str, received: str | None = None, hint: str = "") -> str:
    """Return the text of an error: ``rule (got received). hint``."""
    text = rule if received is None else f"{rule} (got {received})"
    return f"{text}. {hint}" if hint else text


def suggest(word: str, known: Iterable[str], show: Callable[[str], str] = repr) -> str:
    """Return ``Did you mean 'x'?`` for the known word most similar to ``word``, or an empty string.

    show: how to print a known word, such as in the quotes that a shell needs.
    Comparing is slow, so only the first MAX_COMPARED known words, and no long ones, are considered.
    """
    from difflib import get_close_matches  # deferred: most runs need no suggestion

    candidates = {name.lower(): name for name in islice(known, MAX_COMPARED) if len(name) <= MAX_COMPARED_LENGTH}
    nearest = get_close_matches(word[:MAX_COMPARED_LENGTH].lower(), candidates, n=1, cutoff=0.6)
    return f"Did you mean {show(candidates[nearest[0]])}?" if nearest else ""
