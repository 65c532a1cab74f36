"""The tree of a report: layers, and arrays as leaves, with long runs of alike ones folded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, groupby

from paramctl.inspect.report.facts import ArrayFacts
from paramctl.inspect.summary import Summary
from paramctl.inspect.summary_rows import LayerRow, ParameterRow
from paramctl.model import shape_text

FOLDED_GROUPS, FOLDED_ARRAYS = 4, 16
"""The least numbers of alike siblings that are folded: of groups, and of arrays."""
DEEPEST = 60
"""The deepest level with nodes. Arrays below are leaves of it, so that no name can exceed a limit of recursion."""


@dataclass(frozen=True, slots=True)
class Node:
    """A layer, a group, a run of alike siblings, or an array.

    key: its name in the page: ``p3`` for the fourth array, ``g5`` for a group; empty for a run.
    label: its name in its parent. path: the whole name; empty for a run.
    type: of the layer, or a description of a run. output: the shape of a layer's output as text; empty if unknown.
    parameters, bytes: of the arrays that are counted here and below; parameters is None if a shape is unknown.
    array: the number of the array, for a leaf.
    """

    key: str
    label: str
    path: str
    type: str
    output: str
    parameters: int | None
    bytes: int
    children: tuple[Node, ...] = ()
    array: int | None = None

    def arrays(self) -> Iterator[int]:
        """Yield the numbers of the arrays here and below."""
        if self.array is not None:
            yield self.array
        for child in self.children:
            yield from child.arrays()


def build_tree(summary: Summary, arrays: Sequence[ArrayFacts]) -> list[Node]:
    """Return the outermost nodes. The arrays of an optimizer follow in a group."""
    leaves = {array.row.path: (array.row, number) for number, array in enumerate(arrays)}
    nodes: list[Node] = []
    groups = count()
    # the rows are in the order of a walk: those of a deeper level belong to the last row above them
    stack: list[tuple[LayerRow, list[Node]]] = []

    def close(depth: int) -> None:
        while stack and stack[-1][0].depth >= depth:
            layer, children = stack.pop()
            (stack[-1][1] if stack else nodes).append(_layer(layer, children, summary, f"g{next(groups)}"))

    for row in summary.layers:
        if row.depth <= DEEPEST:
            close(row.depth)
            stack.append((row, []))
        above, held = stack[-1]
        held += [_array(*leaves[path], f"{above.path}{summary.separator}") for path in row.holds if path in leaves]
    close(0)
    # outside the layers, since no layer has them: a path such as optimizer/vars/3 names none
    state = tuple(_array(*leaves[row.path], "") for row in summary.optimizer if row.path in leaves)
    if state:
        size = sum(node.bytes for node in state)
        nodes.append(Node(f"g{next(groups)}", "optimizer state", "", "not parameters", "", 0, size, state))
    return nodes


def _layer(row: LayerRow, children: list[Node], summary: Summary, key: str) -> Node:
    if len(children) == 1 and children[0].path == row.path:  # an array at the root of a file of arrays
        return children[0]
    kind = "" if row.type == "group" else row.type
    label = row.path.rpartition(summary.separator)[2]
    if not kind and len(children) == 1 and children[0].children and not children[0].type:
        # names that only lead to each other, such as model.layers, are one line
        return replace(children[0], label=f"{label}{summary.separator}{children[0].label}")
    return Node(
        key=key,
        label=label,
        path=row.path,
        type=f"{kind}, the same as {row.reuse_of}" if row.reuse_of is not None else kind,
        output=shape_text(row.output_shape) if summary.inputs else "",
        parameters=_sum(child.parameters for child in children) if row.expanded else row.parameters,
        bytes=sum(child.bytes for child in children),
        children=tuple(children),
    )


def _array(row: ParameterRow, number: int, prefix: str) -> Node:
    counts = row.counted_at == row.path  # another name of a shared array adds nothing, as in a summary
    return Node(
        key=f"p{number}",
        label=row.path.removeprefix(prefix),
        path=row.path,
        type=row.dtype,
        output=str(row.shape),
        parameters=row.parameters if counts and row.kind != "optimizer" else 0,
        bytes=row.bytes if counts else 0,
        array=number,
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    """Return the sum of counts; None if one of them is unknown."""
    known = list(counts)
    return None if None in known else sum(each or 0 for each in known)


def fold(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Return siblings with each long run of alike ones as one node: ``block-0 … block-11``."""
    folded: list[Node] = []
    # from the inside out, so that blocks of folded blocks are still alike
    inner = [replace(node, children=fold(node.children)) if node.children else node for node in nodes]
    for _, members in groupby(inner, _alike):
        run = list(members)
        folded += [_run(run)] if len(run) >= (FOLDED_GROUPS if run[0].children else FOLDED_ARRAYS) else run
    return tuple(folded)


def _alike(node: Node) -> object:
    """Return a key that is equal for siblings with the same structure, whose names differ in numbers only."""
    # not the structure alone: query, key and value are alike, but "query … value" would hide their names
    return re.sub(r"\d+", "#", node.label), _structure(node)


def _structure(node: Node) -> object:
    return node.type, node.output, tuple((child.label, _structure(child)) for child in node.children)


def _run(run: Sequence[Node]) -> Node:
    return Node(
        key="",
        label=f"{run[0].label} … {run[-1].label}",
        path="",
        type=f"{len(run):,} alike" + (f": {run[0].type}" if run[0].type else ""),
        output=run[0].output,
        parameters=_sum(node.parameters for node in run),
        bytes=sum(node.bytes for node in run),
        children=tuple(run),
    )
