"""Where a list of entries is expanded, what an entry makes there, and how to make it again."""

from __future__ import annotations

from typing import NamedTuple

from paramctl.declare.located import Located
from paramctl.model.entry import Entry, literal_names
from paramctl.model.expressions import Variables
from paramctl.model.scope import Output, Scope
from paramctl.model.tree import Block


class Context(NamedTuple):
    """Where a list of entries is expanded: the path above it, its names, its variables.

    as_of: in a block that is applied again, how many outputs there were when it was first.
    """

    path: str
    scope: Scope
    env: Variables
    trainable: bool
    depth: int
    as_of: int | None = None

    def inside(self, path: str, entries: Located | None, born: int) -> Context:
        """The site of a list within this one."""
        scope = Scope(self.scope, literal_names(entries) if entries else {}, born)
        return self._replace(path=path, scope=scope, depth=self.depth + 1)

    def find(self, node: Located) -> Output:
        return self.scope.find(node, self.as_of)


class Blueprint(NamedTuple):
    """How to make an entry again: what it was, where, and what came of it.

    stands_at: the path under which its parameters stand. using: the blocks of one's own within
    which it stood. as_of: how many outputs there were.
    """

    entry: Entry
    site: Context
    block: Block
    stands_at: str
    using: tuple[str, ...]
    as_of: int


class Expanded(NamedTuple):
    block: Block
    output: Output
