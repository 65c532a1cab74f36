"""Regular expressions in addresses: compiled, and matched within a time limit.

Python's matcher may take exponential time, ``(a+)+`` on a name of 40 characters takes years, and a thread cannot stop
it. An expression that could do so is therefore matched in another process.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Iterable

from paramctl.errors import AddressError

MATCH_SECONDS = 5.0

_CHOICE = re.compile(r"[*+?{|]")
"""The characters that let an expression match a text in several ways."""

_MATCHER = (
    "import json, re, sys; text, paths = json.load(sys.stdin); match = re.compile(text).fullmatch;"
    "json.dump([path for path in paths if match(path)], sys.stdout)"
)


def compile_expression(text: str) -> re.Pattern[str]:
    """Return the regular expression in ``re:EXPRESSION``. Raises AddressError if it is malformed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as the FutureWarning for ``[[a-z]``
            return re.compile(text.removeprefix("re:"))
    except (OverflowError, RecursionError) as error:
        raise AddressError(f"invalid regular expression: {error}", repr(text)) from None
    except re.error as error:
        position = f" (character {error.pos + 4})" if error.pos is not None else ""
        raise AddressError(f"invalid regular expression: {error.msg}{position}", repr(text)) from None


def full_matches(expression: re.Pattern[str], paths: Iterable[str]) -> list[str]:
    """Return the paths that an expression matches as a whole. Raises AddressError if that takes too long."""
    # a single choice leaves as many ways as the text has characters
    if len(_CHOICE.findall(expression.pattern)) <= 1:
        return [path for path in paths if expression.fullmatch(path)]
    import subprocess  # slow to import

    command = [sys.executable, "-I", "-S", "-W", "ignore", "-c", _MATCHER]
    question = json.dumps([expression.pattern, [*paths]])
    try:
        answer = subprocess.run(  # noqa: S603  our own interpreter, our own code
            command, input=question, capture_output=True, text=True, check=True, timeout=MATCH_SECONDS
        )
    except subprocess.TimeoutExpired:
        rule = f"the regular expression takes longer than {MATCH_SECONDS:g} seconds"
        raise AddressError(rule, repr(f"re:{expression.pattern}"), "Repeat no group that repeats.") from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise AddressError(f"the regular expression failed: {error}", repr(f"re:{expression.pattern}")) from error
    matched: list[str] = json.loads(answer.stdout)
    return matched
