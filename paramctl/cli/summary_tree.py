"""A summary as a tree of layers, and of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from paramctl.cli.render import Column, branches, plain, table
from paramctl.cli.summary_columns import count_note, count_text, shape_text, size_note, size_text, times_note

if TYPE_CHECKING:
    from paramctl.inspect.summary import Summary


class TreeRow(NamedTuple):
    """A line of the tree: a layer, or a parameter of one."""

    depth: int
    name: str
    type: str
    shape: str
    parameters: str
    note: str


TREE_COLUMNS = [
    Column("name", "Layer", lambda row: row.name),
    Column("type", "Type", lambda row: row.type),
    Column("shape", "Shape", lambda row: row.shape),
    Column("count", "Parameters", lambda row: row.parameters, None, True, lambda row: row.note, priority=0),
]


def tree_lines(facts: Summary, parameters: bool) -> Iterator[str]:
    """Yield the lines of a tree of layers; with parameters, these are its leaves and have the counts."""
    tree = list(_tree_rows(facts, parameters))
    stems = branches([row.depth for row in tree])
    return table([row._replace(name=stem + row.name) for stem, row in zip(stems, tree, strict=True)], TREE_COLUMNS)


def _tree_rows(facts: Summary, parameters: bool) -> Iterator[TreeRow]:
    by_path = {row.path: row for row in facts.parameters} if parameters else {}
    for layer in facts.layers:
        leaves = [by_path[path] for path in layer.holds if path in by_path]
        count, note = ("", "") if leaves else (count_text(layer), count_note(layer))
        name = f"{layer.name}{times_note(layer)}"
        yield TreeRow(layer.depth, name, layer.type, shape_text(layer.output_shape), count, note)
        for leaf in leaves:
            name = leaf.path[len(layer.path) + 1 :] + times_note(leaf)
            yield TreeRow(layer.depth + 1, name, leaf.dtype, plain(leaf.shape), size_text(leaf), size_note(leaf))
    if facts.optimizer:
        yield TreeRow(1, "optimizer state", "", "", "", "")
    for row in facts.optimizer:
        yield TreeRow(2, row.path + times_note(row), row.dtype, plain(row.shape), size_text(row), "")
