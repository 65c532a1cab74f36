"""The errors paramctl raises. Each is also the builtin that fits it.

    ParamctlError
    ├── DocumentError (ValueError)     a model document, or a value written like one, is wrong
    ├── AddressError (LookupError)     an address, a pattern or a type is malformed, or names nothing
    ├── InputError (OSError)           a file cannot be read, or is not what it should be
    └── OutputError (OSError)          a file cannot be written; what was there before is there still

An error says where, what the rule is and what was received, in one line. Foreign
errors are turned into these where they arise; the command line prints them.
"""

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

NEAREST_AMONG = 1_000
LONGEST_WORD = 64


class Place(NamedTuple):
    """The place of a value: a document with a line and a column counted from 1, or an option, which has no lines."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class ParamctlError(Exception):
    """The root: every error that is not a defect of paramctl itself."""


class DocumentError(ParamctlError, ValueError):
    """An error at a place of a document: ``place: rule (got received). hint``. All but the rule are optional."""

    def __init__(self, rule: str, place: Place | None = None, received: str | None = None, hint: str = "") -> None:
        self.rule, self.place, self.received, self.hint = rule, place, received, hint
        super().__init__(message(f"{place}: {rule}" if place else rule, received, hint))


class AddressError(ParamctlError, LookupError):
    """A malformed address, or one that matches nothing: ``rule (got received). hint``."""

    def __init__(self, rule: str, received: str, hint: str = "") -> None:
        self.rule, self.received, self.hint = rule, received, hint
        super().__init__(message(rule, received, hint))


class InputError(ParamctlError, OSError):
    """A file cannot be read, or is not what it should be; the message begins with its name."""


class OutputError(ParamctlError, OSError):
    """A file cannot be written; the message begins with its name. ``errno`` is the system's reason, if it was that."""

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


def message(rule: str, received: str | None = None, hint: str = "") -> str:
    """Return the text of an error: ``rule (got received). hint``."""
    text = rule if received is None else f"{rule} (got {received})"
    return f"{text}. {hint}" if hint else text


def suggest(word: str, known: Iterable[str]) -> str:
    """``Did you mean 'x'?`` for the known word nearest to this one, or nothing.

    Long words, and words beyond the first NEAREST_AMONG, are not compared: a hint must not cost
    more than the answer.
    """
    from difflib import get_close_matches  # here, for nearly every run makes no mistake

    among = {name.lower(): name for name in islice(known, NEAREST_AMONG) if len(name) <= LONGEST_WORD}
    nearest = get_close_matches(word[:LONGEST_WORD].lower(), among, n=1, cutoff=0.6)
    return f"Did you mean {among[nearest[0]]!r}?" if nearest else ""
