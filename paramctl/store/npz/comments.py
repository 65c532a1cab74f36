"""What the comments of an npz say beside its values, of which NumPy knows nothing: JSON in what a zip has for words.

A comment has 65,535 bytes. What the archive's has no room for is cut over those of the members, a piece in each, which
the archive's says the length of; none is taken for whole if one is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from paramctl.store.io.json_limits import parse_json

MOST_COMMENT = 65_535
MOST_SAID = 32
"""Tokens in a member's comment."""
MOST_REST = 16_000_000
REST = "rest"
"""In the archive's comment, how long the text is that is cut; in a member's, a piece of it."""


def read(comment: bytes, most: int = MOST_COMMENT) -> dict[str, Any]:
    """What a comment says, of so many tokens at most; nothing if it is not what it must be."""
    try:
        return dictionary(parse_json(comment.decode(), most)) if comment else {}
    except ValueError:
        return {}


def dictionary(said: object) -> dict[str, Any]:
    return said if isinstance(said, dict) else {}


def written(said: Mapping[str, Any]) -> bytes:
    """What is to be said, as a comment."""
    return json.dumps(said, separators=(",", ":")).encode() if said else b""


def fitting(*parts: dict[str, Any]) -> dict[str, Any]:
    """As many of these as a comment has room for; the first are the most wanted."""
    kept: dict[str, Any] = {}
    for part in parts:
        if len(written(kept | part)) <= MOST_COMMENT:
            kept |= part
    return kept


def cut(text: str, told: Sequence[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """What members say, each with as much of a text as it has room for; None if that is not all of it."""
    made, place = [], 0
    for each in told:
        room = MOST_COMMENT - len(written(each | {REST: ""}))
        size = max(0, min(room, len(text) - place))
        size -= max(0, len(json.dumps(text[place : place + size])) - 2 - room)  # quotes in it take two bytes
        made.append(each | {REST: text[place : place + size]} if size > 0 else each)
        place += max(0, size)
    return made if place == len(text) <= MOST_REST else None


def joined(own: Mapping[str, Any], told: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What the pieces say together, which are taken from what the members say; nothing unless all are there."""
    pieces, length = [], 0
    for each in told:
        piece = each.pop(REST, None)
        if isinstance(piece, str) and length <= MOST_REST:
            pieces.append(piece)
            length += len(piece)
    if not pieces or own.get(REST) != length or length > MOST_REST:
        return {}
    try:
        return dictionary(parse_json("".join(pieces)))
    except ValueError:
        return {}
