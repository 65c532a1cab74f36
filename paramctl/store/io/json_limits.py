"""JSON that somebody else wrote: read unless it is many times larger in memory, or nests deeper than honest ones."""

from __future__ import annotations

import json
import re
from typing import Any

MOST_TOKENS = 1_000_000
"""About 100 MB in memory: the configuration of a network of 30,000 layers has as many."""
MOST_DEPTH = 300


def parse_json(text: str, most: int = MOST_TOKENS) -> Any:
    """What a text says. Raises ValueError if it is no JSON, has more than so many tokens, or nests too deep."""
    count = depth = 0
    for found in _TOKENS.finditer(text):
        first = text[found.start()]
        if first in "]}":
            depth -= 1
            continue
        count += 1
        depth += first in "[{"
        if count > most:
            raise ValueError(f"it has more than {most:,} names, values and commas")
        if depth > MOST_DEPTH:
            raise ValueError(f"it nests deeper than {MOST_DEPTH}")
    return json.loads(text)


_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)|[\[\]{},]', re.DOTALL)
"""Texts, and what comes between values: but for closing brackets, their number is about that of the values."""
