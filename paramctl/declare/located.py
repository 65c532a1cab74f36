"""Located: a value with its source position.

Model documents, ``-D`` values, and schemes are trees of located values. An error found late, such as in
the shape of a layer, can therefore still point at the character to change. A value without a position
is a default.
"""

from __future__ import annotations

from typing import TypeAlias

from paramctl.errors import DocumentError, Place

Scalar: TypeAlias = "bool | int | float | str | None"
Plain: TypeAlias = "Scalar | list[Plain] | dict[str, Plain]"

MAX_INTEGER = 2**63 - 1
"""The largest integer in a document, result of an expression, and size of an axis."""

MAX_DEPTH = 64
"""The depth to which lists, mappings, and blocks of layers may nest."""

MAX_NODES = 1_000_000
"""The number of values that a document may contain after aliases and variables are expanded."""


class Located:
    """A node of a document: a scalar, a list of nodes, or a mapping from text to nodes, with its position.

    line, column: where the value begins, counted from 1.
    start, end: the range of its characters in the text. Both are 0 where the text is not kept.
    keys: the keys of a mapping as nodes.
    size: the number of nodes in it, including itself, with repeated nodes counted again.
    height: how deep it nests; 0 for a scalar.
    dynamic: whether it contains a ``${...}``.
    """

    __slots__ = ("column", "dynamic", "end", "height", "keys", "line", "size", "source", "start", "value")

    start: int
    end: int
    size: int
    height: int
    dynamic: bool

    def __init__(
        self,
        value: Scalar | list[Located] | dict[str, Located],
        source: str | None = None,
        line: int = 0,
        column: int = 0,
        keys: dict[str, Located] | None = None,
    ) -> None:
        self.value = value
        self.source = source
        self.line = line
        self.column = column
        self.keys = keys
        self.start = self.end = 0
        # Computed once, from the items: an alias repeats a node, and walking all repetitions could take forever.
        size, height, dynamic = 1, 0, False
        if isinstance(value, str):
            dynamic = "${" in value
        elif isinstance(value, (list, dict)):
            height = 1
            for item in value if isinstance(value, list) else value.values():
                size += item.size
                height = max(height, item.height + 1)
                dynamic = dynamic or item.dynamic
        self.size, self.height, self.dynamic = size, height, dynamic

    @property
    def is_empty(self) -> bool:
        """True if nothing is written: ``key:``, but not ``key: null``."""
        return self.value is None and self.start == self.end

    @property
    def place(self) -> Place | None:
        return Place(self.source, self.line, self.column) if self.source is not None else None

    def at(self, other: Located) -> Located:
        """Return the same value at the position of another node."""
        return Located(self.value, other.source, other.line, other.column, self.keys)

    def key(self, name: str) -> Located:
        """Return a key of a mapping as a node, for errors about the key itself."""
        if self.keys and name in self.keys:
            return self.keys[name]
        return Located(name, self.source, self.line, self.column)

    def plain(self) -> Plain:
        """Return the value without positions, as ``json.loads`` would."""
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        return self.value

    def error(self, rule: str, received: str | None = None, hint: str = "") -> DocumentError:
        """Return an error at this position. ``received`` defaults to this value."""
        return DocumentError(rule, self.place, preview(self) if received is None else received, hint)

    def __repr__(self) -> str:
        return f"Located({preview(self)})"


def preview(node: Located, max_length: int = 60) -> str:
    """Return a value as its author would recognize it, cut if long: ``-3``, ``'relu'``, ``a list of 3``."""
    value = node.value
    if isinstance(value, list):
        # the text of more values would be longer than max_length, and a hostile document has a million
        text = f"[{', '.join(preview(item, max_length) for item in value)}]" if node.size <= 9 else ""
        return text if 0 < len(text) <= max_length else f"a list of {len(value):,}"
    if isinstance(value, dict):
        keys = ", ".join(repr(key)[1:-1] for key in list(value)[:5])  # repr escapes control characters
        return f"a mapping with {truncate(keys, max_length)}" if value else "an empty mapping"
    if value is None:
        return "null"
    return truncate(repr(value) if isinstance(value, str) else scalar_text(value), max_length)


def scalar_text(value: Scalar) -> str:
    """Return a scalar as a document writes it: ``true``, ``null``, ``0.5``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def truncate(text: str, max_length: int = 60) -> str:
    return text if len(text) <= max_length else f"{text[:max_length]}..."


def parse_call(node: Located) -> tuple[Located, Located | None] | None:
    """Return the name and the arguments of a call, or None if the node is not a call.

    ``relu``, ``{dense: 3}``, and ``{dense: {units: 3}}`` are calls.
    """
    value = node.value
    if isinstance(value, str) and value:
        return node, None
    if isinstance(value, dict) and len(value) == 1:
        name, arguments = next(iter(value.items()))
        return node.key(name), (None if arguments.value is None else arguments)
    return None
