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

MAX_WHOLE = 2**63 - 1
"""The largest whole number a document may hold, or an expression give."""


class Node:
    """One value: a scalar, a list of nodes, or a mapping from text to nodes.

    ``keys`` holds a mapping's keys as nodes of their own. ``size`` counts the values in it,
    itself included, with whatever an alias repeats. ``dynamic`` says that a ``${...}``
    stands somewhere inside.
    """

    __slots__ = ("column", "dynamic", "keys", "line", "size", "source", "value")

    def __init__(
        self,
        value: Scalar | list[Node] | dict[str, Node],
        source: str | None = None,
        line: int = 0,
        column: int = 0,
        keys: dict[str, Node] | None = None,
    ) -> None:
        self.value = value
        self.source = source
        self.line = line
        self.column = column
        self.keys = keys
        self.size: int
        self.dynamic: bool
        if isinstance(value, list):
            self.size = 1 + sum(item.size for item in value)
            self.dynamic = any(item.dynamic for item in value)
        elif isinstance(value, dict):
            self.size = 1 + sum(item.size for item in value.values())
            self.dynamic = any(item.dynamic for item in value.values())
        else:
            self.size = 1
            self.dynamic = isinstance(value, str) and "${" in value

    @property
    def place(self) -> Place | None:
        return Place(self.source, self.line, self.column) if self.source is not None else None

    def at(self, place: Node) -> Node:
        """The same value, as if written where another node stands."""
        return Node(self.value, place.source, place.line, place.column, self.keys)

    def key(self, name: str) -> Node:
        """A mapping's key as a node: where an error about the key itself points."""
        if self.keys and name in self.keys:
            return self.keys[name]
        return Node(name, self.source, self.line, self.column)

    def plain(self) -> Plain:
        """The value without places: what ``json`` would load."""
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        return self.value

    def error(self, rule: str, received: str | None = None, hint: str = "") -> DocumentError:
        """An error here; what was received is this value unless said otherwise."""
        return DocumentError(rule, self.place, show(self) if received is None else received, hint)

    def __repr__(self) -> str:
        return f"Node({self.plain()!r})"


def show(node: Node, longest: int = 60) -> str:
    """A value as its writer would know it again, cut when long: ``-3``, ``'relu'``, ``a list of 3``."""
    value = node.value
    if isinstance(value, list):
        items = [show(item, longest) for item in value[:8]]
        text = f"[{', '.join(items)}]"
        return text if len(text) <= longest and len(value) <= 8 else f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"a mapping with {', '.join(list(value)[:5])[:longest]}" if value else "an empty mapping"
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}..."


def call(node: Node) -> tuple[Node, Node | None] | None:
    """The name and the arguments of a call, or None if the node is not one."""
    value = node.value
    if isinstance(value, str) and value:
        return node, None
    if isinstance(value, dict) and len(value) == 1:
        name, arguments = next(iter(value.items()))
        return node.key(name), (None if arguments.value is None else arguments)
    return None
