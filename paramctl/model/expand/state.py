"""State that the expansion of one document shares: templates, caches, counters, and the budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from paramctl.declare.located import Located
from paramctl.model.budget import Budget, resolve_cost
from paramctl.model.context import Context, Expanded
from paramctl.model.entry import Entry, read_entry
from paramctl.model.expressions import Variables
from paramctl.model.layers import Layer
from paramctl.model.scope import Output
from paramctl.model.template import Template
from paramctl.model.tree import Block


class Application(NamedTuple):
    """An entry, applied to inputs at a path."""

    entry: Entry
    context: Context
    inputs: list[Output]
    path: str


class Numbers(NamedTuple):
    """The numbers of outputs in a block, in the order of its arguments."""

    input_ids: tuple[int, ...]
    output_id: int
    inner_ids: tuple[int, ...]


class State:
    """The templates, caches, counters, and budget of one expansion.

    completed: the number of layers and blocks that are complete. See Output.step.
    active_templates: the custom blocks around the current entry, outermost first.
    active_reuses: the reuses in progress, as pairs of the new path and the path that holds the parameters.
    layers: the layers of entries without variables, by the identity of the entry's node. A repeated or reused entry
        reads its options once.
    entries: filled with the entry of each block by its path, for an editor of the document; None to leave them out.
    """

    def __init__(
        self, templates: Mapping[str, Template], variables: Variables, entries: dict[str, Entry] | None = None
    ) -> None:
        self.templates = templates
        self.variables = variables
        self.budget = Budget()
        self.completed = 0
        self.active_templates: tuple[str, ...] = ()
        self.active_reuses: list[tuple[str, str]] = []
        self.layers: dict[int, Layer] = {}
        self.entries = entries
        self._entries: dict[int, Entry] = {}
        self._numbered = 0

    def entry(self, node: Located) -> Entry:
        """Return the parts of an entry, which are read once."""
        # by identity: a repeated entry, or one in a block that is used again, is the same node
        return self._entries.get(id(node)) or self._entries.setdefault(id(node), read_entry(node))

    def resolve(self, context: Context, node: Located) -> Located:
        """Return a node with its expressions resolved, and charge the cost."""
        if node.dynamic:
            self.budget.charge(node, resolve_cost(node))
        return context.variables.resolve(node)

    def numbers(self, output: Output, inputs: Iterable[Output], inner: Iterable[Output] = ()) -> Numbers:
        """Give an output a number, and return the numbers of its block. inner: the outputs that the block merges."""
        self._numbered += 1
        output.number = self._numbered
        return Numbers(_numbers(inputs), output.number, _numbers(inner))


class Expander(Protocol):
    """The recursion that branches, templates, and reuse call."""

    state: State

    def expand(self, entries: Located, context: Context, previous: Output | None) -> tuple[list[Block], Output | None]:
        """Return the blocks of a list, and the output of the last one, or ``previous`` for an empty list."""

    def make(self, application: Application) -> Expanded:
        """Return the block of one entry."""


def _numbers(outputs: Iterable[Output]) -> tuple[int, ...]:
    return tuple([output.number for output in outputs])
