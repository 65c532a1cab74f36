"""The renaming options that save --suggest-renames prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramctl.cli.render import emit, tell
from paramctl.core.text import abbreviate

if TYPE_CHECKING:
    from paramctl.conversion.suggest import Suggestion


def print_suggestion(suggestion: Suggestion, like: str) -> int:
    """Print options to paste, and on standard error the names without a clear match. Returns the exit code."""
    from paramctl.address.quoting import shell_quoted

    options = [f"--rename {shell_quoted(rule)}" for rule in suggestion.rules]
    # a backslash at the end of each line but the last, so that all lines can be pasted at once
    emit(f"{option} \\" if option is not options[-1] else option for option in options)
    for names, others in suggestion.ambiguous:
        tell(f"ambiguous: {abbreviate(names)} could be {abbreviate(others)}")
    if suggestion.unmatched:
        tell(f"not in {like}: {abbreviate(suggestion.unmatched)}")
    if suggestion.missing:
        tell(f"missing: {abbreviate(suggestion.missing)}")
    return 0 if suggestion.is_complete else 1
