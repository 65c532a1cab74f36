"""The context in which a list of entries is expanded, and the results of expanding an entry."""

from __future__ import annotations

from typing import NamedTuple

from paramctl.declare.located import Located
from paramctl.model.entry import Entry, literal_names
from paramctl.model.expressions import Variables
from paramctl.model.scope import Output, Scope
from paramctl.model.tree import Block


class Context(NamedTuple):
    """Where a list of entries is expanded.

    path: the path of the block that holds the list.
    scope, variables: the names and variables visible there.
    trainable: whether the blocks around it are trainable.
    depth: how many blocks are around it.
    as_of: in a block that is applied again, the order at which it was first applied. See Scope.find.
    """

    path: str
    scope: Scope
    variables: Variables
    trainable: bool
    depth: int
    as_of: int | None = None

    def inside(self, path: str, entries: Located | None, begun: int) -> Context:
        """Return the context of a list inside this one. begun: see Scope."""
        scope = Scope(self.scope, literal_names(entries) if entries else {}, begun)
        return self._replace(path=path, scope=scope, depth=self.depth + 1)

    def find(self, node: Located) -> Output:
        """Return the earlier output that a name refers to. Raises DocumentError if there is none."""
        return self.scope.find(node, self.as_of)


class Blueprint(NamedTuple):
    """How to apply an entry again.

    entry, context: what was expanded, and where.
    block: the result of the first use.
    parameters_at: the path of the block that holds its parameters.
    templates: the names of the custom blocks around the first use.
    as_of: the order at which it was first applied. See Scope.find.
    """

    entry: Entry
    context: Context
    block: Block
    parameters_at: str
    templates: tuple[str, ...]
    as_of: int


class Expanded(NamedTuple):
    """The block that an entry becomes, and its output."""

    block: Block
    output: Output
