"""The context in which a list of entries is expanded, and the results of expanding an entry."""

from __future__ import annotations

from typing import NamedTuple

from paramctl.declare.located import Located
from paramctl.model.entry import Entry, literal_names
from paramctl.model.expressions import Variables
from paramctl.model.scope import Output, Scope
from paramctl.model.tree import Block


class Context(NamedTuple):
    """The surroundings in which a list of entries is expanded.

    path: the path of the block that holds the list.
    scope, variables: the visible names and variables.
    trainable: True if the blocks around it are trainable.
    dtype: of the parameters.
    depth: the number of blocks around it.
    as_of: in a block that is applied again, the last step before it was first applied. See Scope.find.
    """

    path: str
    scope: Scope
    variables: Variables
    trainable: bool
    dtype: str
    depth: int
    as_of: int | None = None

    def inside(self, path: str, entries: Located | None, begun: int) -> Context:
        """Return the context of a list inside this one. begun: see Scope."""
        scope = Scope(self.scope, literal_names(entries) if entries else {}, begun)
        return self._replace(path=path, scope=scope, depth=self.depth + 1)

    def find(self, node: Located) -> Output:
        """Return the earlier output with a name. Raises DocumentError if no earlier output has it."""
        return self.scope.find(node, self.as_of)


class Blueprint(NamedTuple):
    """The record of an expanded entry, for applying it again.

    entry, context: the entry, and the context in which it was expanded.
    block: the result of the first use.
    parameters_at: the path of the block that holds its parameters.
    templates: the names of the custom blocks around the first use.
    as_of: the last step before it was first applied. See Scope.find.
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
