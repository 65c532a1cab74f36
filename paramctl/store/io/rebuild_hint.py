"""The advice to index the files of a set again. Every command imports it, so it imports nothing heavy."""

from __future__ import annotations

import os
import shlex

from paramctl.errors import InputError, message
from paramctl.store.location import Location
from paramctl.store.urls import is_url

NOT_REBUILT = (".bin.index.json", ".msgpack.index.json")
"""The suffixes of the indexes of formats that are only read."""


def rebuild_hint(folder: str) -> str:
    """Return the hint of an error about an index that is missing or does not fit its files; "" for a URL's."""
    if is_url(folder):
        return ""
    return f"Index the files again with: paramctl save {shlex.quote(folder or '.')} --rebuild-index"


def misfit(index: Location, problem: str, advice: str = "") -> InputError:
    """Return the error for an index that does not fit its files.

    advice: what to do before the files are indexed again, because a new index would leave arrays out.
    """
    hint = "" if index.name.endswith(NOT_REBUILT) else rebuild_hint(os.path.dirname(index.name))
    return InputError(
        message(f"{index.name}: {problem}", hint=f"{advice}. {hint}" if advice and hint else advice or hint)
    )
