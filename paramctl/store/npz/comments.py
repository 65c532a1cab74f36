"""Metadata of an npz in the comments of its zip: JSON in the archive's comment and in those of the members.

NumPy ignores comments. A member with metadata would show up as an array in ``dict(np.load(file))``.

A comment holds 65,535 bytes. A text that does not fit the archive's comment is spread over the members' comments, a
piece in each under the key "rest", and the archive's comment records its length. It is ignored unless all pieces are
present.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from paramctl.store.io.json_limits import parse_json

MAX_COMMENT = 65_535
MAX_MEMBER_TOKENS = 32
MAX_REST = 16_000_000
REST = "rest"
"""The key of a spread text: its length in the archive's comment, a piece of it in a member's."""

SUM = "sha256"
"""The key of an array's hash, in the comment of its member."""
SUMS = "sums"
"""The key of the seal, in the archive's comment."""


def parse_comment(comment: bytes, max_tokens: int = MAX_COMMENT) -> dict[str, Any]:
    """Return the JSON object in a comment, empty if the comment is anything else."""
    try:
        return as_object(parse_json(comment.decode(), max_tokens)) if comment else {}
    except ValueError:
        return {}


def as_object(value: object) -> dict[str, Any]:
    """Return a value from JSON that must be an object, an empty one if it is not."""
    return value if isinstance(value, dict) else {}


def encode_comment(facts: Mapping[str, Any]) -> bytes:
    """Return facts as a comment."""
    return json.dumps(facts, separators=(",", ":")).encode() if facts else b""


def fit_comment(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts that fit one comment together, the first ones preferred."""
    facts: dict[str, Any] = {}
    for part in parts:
        if len(encode_comment(facts | part)) <= MAX_COMMENT:
            facts |= part
    return facts


def spread_text(text: str, members: Sequence[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Return the facts of members, each with a piece of a text. Return None if the text does not fit."""
    filled, place = [], 0
    for facts in members:
        room = MAX_COMMENT - len(encode_comment(facts | {REST: ""}))
        size = max(0, min(room, len(text) - place))
        # JSON escapes make a piece longer, as \" for a quote; a piece shortened by the excess fits
        size -= max(0, len(json.dumps(text[place : place + size])) - 2 - room)
        filled.append(facts | {REST: text[place : place + size]} if size > 0 else facts)
        place += max(0, size)
    return filled if place == len(text) <= MAX_REST else None


def join_text(archive: Mapping[str, Any], members: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the JSON object spread over members, empty unless every piece is present.

    The pieces are removed from the members' facts.
    """
    pieces, length = [], 0
    for facts in members:
        piece = facts.pop(REST, None)
        if isinstance(piece, str) and length <= MAX_REST:
            pieces.append(piece)
            length += len(piece)
    if not pieces or archive.get(REST) != length or length > MAX_REST:
        return {}
    try:
        return as_object(parse_json("".join(pieces)))
    except ValueError:
        return {}
