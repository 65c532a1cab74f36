"""JSON from untrusted files, parsed within limits: json.loads would take gigabytes for a few megabytes of brackets."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_TOKENS = 1_000_000
"""About 100 MB once parsed. The configuration of a network of 30,000 layers has as many."""
MAX_DEPTH = 300
MAX_DIGITS = 400
"""Digits of an integer; no finite number of a computer has more before its point."""

_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)|[\[\]{},]', re.DOTALL)
"""Strings and the marks between values. Without closing brackets, they are about as many as the values.

The quantifiers are possessive: a string without an end must not be searched again from each of its characters.
"""


def parse_json(text: str, max_tokens: int = MAX_TOKENS) -> Any:
    """Parse JSON. Raises ValueError for a text that is not JSON, has too many tokens, or nests too deep."""
    tokens = depth = 0
    for match in _TOKENS.finditer(text):
        mark = text[match.start()]
        if mark in "]}":
            depth -= 1
            continue
        tokens += 1
        depth += mark in "[{"
        if tokens > max_tokens:
            raise ValueError(f"more than {max_tokens:,} names, values and commas")
        if depth > MAX_DEPTH:  # json.loads recurses once for each level
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return json.loads(text, parse_int=parse_integer)


def parse_integer(digits: str) -> int:
    """Parse an integer of JSON. Raises ValueError for one with more digits than any size or offset has."""
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number may have at most {MAX_DIGITS} digits (got {len(digits):,})")
    return int(digits)
