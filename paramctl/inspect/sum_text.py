"""Lists of hashes as text, as sha256sum writes them, and their parser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from paramctl.errors import InputError
from paramctl.inspect.sums import SumRow

LINE = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
ESCAPED = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
CONTROL = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""A backslash, and the characters that move a terminal's cursor or turn its text around."""


def sum_lines(rows: Iterable[SumRow]) -> Iterator[str]:
    """Yield ``HEX  PATH`` for each row. A path with a backslash or a control character is escaped, and so is marked."""
    for row in rows:
        path = CONTROL.sub(lambda match: ESCAPED.get(match[0], f"\\u{ord(match[0]):04x}"), row.path)
        yield f"{'' if path == row.path else chr(92)}{row.sha256}  {path}"


def parse_sums(text: str, place: str) -> dict[str, str]:
    """Return the hashes by path in a list: lines, or the JSON or JSON lines of ``paramctl sum``. Raises InputError."""
    start = text.lstrip()[:1]
    try:
        pairs = list(_from_json(text) if start in ("[", "{") else _from_lines(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = str(error) or "malformed"
        raise InputError(f"{place}: must be the output of paramctl sum: {reason}") from error
    sums: dict[str, str] = {}
    for path, digest in pairs:
        if sums.setdefault(path, digest) != digest:
            raise InputError(f"{place}: {path} has two hashes")
    if not sums:
        raise InputError(f"{place}: must have at least one hash")
    return sums


def _from_json(text: str) -> Iterator[tuple[str, str]]:
    is_list = text.lstrip().startswith("[")
    rows: list[Any] = json.loads(text) if is_list else [json.loads(line) for line in text.splitlines() if line.strip()]
    if len({str(row["file"]) for row in rows if isinstance(row, dict) and "file" in row}) > 1:
        raise ValueError("it has the hashes of several files")
    for row in rows:
        path, digest = row["path"], row["sha256"]
        if not isinstance(path, str) or not isinstance(digest, str) or not re.fullmatch("[0-9a-fA-F]{64}", digest):
            raise ValueError("an item must have a path and a sha256 of 64 hexadecimal digits")
        yield path, digest.lower()


def _from_lines(text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.rstrip("\r"):
            continue
        match = LINE.fullmatch(line.removesuffix("\r"))
        if match is None:
            raise ValueError(f"line {number} must be 64 hexadecimal digits, two spaces and a path (got {line[:80]!r})")
        yield _unescaped(match[3]) if match[1] else match[3], match[2].lower()


def _unescaped(text: str) -> str:
    plain = {escape: character for character, escape in ESCAPED.items()}

    def character(match: re.Match[str]) -> str:
        return plain[match[0]] if match[0] in plain else chr(int(match[1], 16))

    return re.sub(r"\\(?:[\\nr]|u([0-9a-f]{4}))", character, text)
