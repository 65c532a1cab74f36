"""Node: a value together with where somebody wrote it.

Model documents, ``-D`` values and schemes are all made of nodes, so that an error found
late, in a shape or in a scheme's option, still points at the character to change. A node
without a place was written by nobody: it is a default.
"""

from __future__ import annotations

from typing import TypeAlias

from paramctl.errors import DocumentError, Place

Scalar: TypeAlias = "bool | int | float | str | None"
Plain: TypeAlias = "Scalar | list[Plain] | dict[str, Plain]"

MAX_INTEGER = 2**63 - 1
"""The largest whole number a document may hold, or an expression give; and the largest axis."""

MAX_DEPTH = 64
"""How deep lists and mappings may nest, and blocks of layers."""

MAX_NODES = 1_000_000
"""How many values a document may come to, whatever its aliases and variables multiply."""


class Located:
    """One value: a scalar, a list of nodes, or a mapping from text to nodes.

    ``keys`` holds a mapping's keys as nodes of their own. ``size`` counts the values in it,
    itself included, as often as they stand there; ``height`` how deep it nests. ``dynamic``
    says that a ``${...}`` stands somewhere inside.
    """

    __slots__ = ("column", "dynamic", "height", "keys", "line", "size", "source", "value")

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
        self.size = 1
        self.height = 0
        self.dynamic = type(value) is str and "${" in value
        if isinstance(value, (list, dict)):
            self.height = 1
            for item in value if isinstance(value, list) else value.values():
                self.size += item.size
                self.height = max(self.height, item.height + 1)
                self.dynamic = self.dynamic or item.dynamic

    @property
    def place(self) -> Place | None:
        return Place(self.source, self.line, self.column) if self.source is not None else None

    def at(self, place: Located) -> Located:
        """The same value, as if written where another node stands."""
        return Located(self.value, place.source, place.line, place.column, self.keys)

    def key(self, name: str) -> Located:
        """A mapping's key as a node: where an error about the key itself points."""
        if self.keys and name in self.keys:
            return self.keys[name]
        return Located(name, self.source, self.line, self.column)

    def plain(self) -> Plain:
        """The value without places: what ``json`` would load."""
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        return self.value

    def error(self, rule: str, received: str | None = None, hint: str = "") -> DocumentError:
        """An error here; what was received is this value unless said otherwise."""
        return DocumentError(rule, self.place, preview(self) if received is None else received, hint)

    def __repr__(self) -> str:
        return f"Node({preview(self)})"


def preview(node: Located, longest: int = 60) -> str:
    """A value as its writer would know it again, cut when long: ``-3``, ``'relu'``, ``a list of 3``."""
    value = node.value
    if isinstance(value, list):
        text = f"[{', '.join(preview(item, longest) for item in value)}]" if node.size <= 9 else ""
        return text if 0 < len(text) <= longest else f"a list of {len(value):,}"
    if isinstance(value, dict):
        keys = ", ".join(repr(key)[1:-1] for key in list(value)[:5])
        return f"a mapping with {truncate(keys, longest)}" if value else "an empty mapping"
    if value is None:
        return "nothing (null)"
    return truncate(repr(value) if isinstance(value, str) else scalar_text(value), longest)


def scalar_text(value: Scalar) -> str:
    """A scalar as a document would have it: ``true``, ``null``, ``0.5``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def truncate(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."


def parse_call(node: Located) -> tuple[Located, Located | None] | None:
    """The name and the arguments of a call, or None if the node is not one."""
    value = node.value
    if isinstance(value, str) and value:
        return node, None
    if isinstance(value, dict) and len(value) == 1:
        name, arguments = next(iter(value.items()))
        return node.key(name), (None if arguments.value is None else arguments)
    return None
