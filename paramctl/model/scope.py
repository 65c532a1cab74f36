"""Scopes: the names of a list of layers, and the outputs they refer to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

from paramctl.declare.located import Located
from paramctl.errors import DocumentError, suggest
from paramctl.model.layers import Sizes
from paramctl.model.names import normalized


@dataclass(slots=True)
class Output:
    """The output of a layer, a block, or an input of the model.

    path: the path of the layer or block.
    shape: its shape, or None if unknown.
    scope: the names inside a block, for references such as ``block/layer``.
    blueprint: the Blueprint for applying the layer or block again; None for an input of the model.
    step: its position in the order in which layers and blocks are completed, from 1; 0 for an input of the model.
    number: unique to this output, because the outputs of a reused layer share one path. Inputs have negative numbers.
    """

    path: str
    shape: Sizes | None
    scope: Scope | None = None
    blueprint: Any = None
    step: int = 0
    number: int = 0


class Scope:
    """The names of one list of layers, and the scope around it.

    declared: all names written in the list, including those of later layers, for errors.
    begun: the last completed step when the list began.
    omitted: names of entries that a false ``when`` omits, with that node and the step that they would have had.
    """

    def __init__(self, outer: Scope | None, declared: dict[str, Located] | None = None, begun: int = 0) -> None:
        self.outer = outer
        self.declared = declared or {}
        self.begun = begun
        self.outputs: dict[str, Output] = {}
        self.omitted: dict[str, tuple[Located, int]] = {}
        self._claimed: dict[str, Located] = {}
        self._numbers: dict[str, int] = {}

    def automatic(self, type_name: str) -> str:
        """Return the next automatic name for a type: dense, dense_1, dense_2."""
        number = self._numbers.get(type_name, 0)
        self._numbers[type_name] = number + 1
        return f"{type_name}_{number}" if number else type_name

    def claim(self, name: str, node: Located) -> None:
        """Reserve a name for a node. Raises DocumentError if the list already has it."""
        first = self._claimed.get(normalized(name))
        if first is not None:
            where = f"the first is on line {first.line}" if first.place else "the block itself uses it"
            raise node.error(f"duplicate name in this list; {where}", repr(name))
        self._claimed[normalized(name)] = node

    def put(self, name: str, output: Output) -> None:
        """Make a name refer to an output from here on."""
        self.outputs[normalized(name)] = output

    def omit(self, name: str, when: Located, step: int) -> None:
        """Record the name of an entry that a false ``when`` omits."""
        self.omitted[normalized(name)] = when, step

    def outward(self) -> Iterator[Scope]:
        """Yield this scope and those around it, innermost first."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer

    def find(self, node: Located, as_of: int | None = None) -> Output:
        """Return the nearest earlier output with a name, in this list or those around it.

        as_of: in a block that is applied again, the last step before it was first applied. Outputs of later steps in
            the lists around the block are not visible, so that the name refers to the same output as before.
        Raises DocumentError if no output has the name.
        """
        first, *rest = (normalized(name) for name in str(node.value).split("/"))
        for scope in self.outward():
            last = inf if as_of is None or scope.begun > as_of else as_of  # inside the block, all are visible
            output = scope.outputs.get(first)
            if output and output.step <= last:
                return self._inside(output, rest, node)
            # An omitted layer hides outer names: otherwise a ``when`` would silently change the connection.
            when, step = scope.omitted.get(first, (None, inf))
            if when and step <= last:
                raise node.error(f"this layer is omitted because its 'when' on line {when.line} is false")
        raise self._missing(first, node)

    def _inside(self, output: Output, rest: list[str], node: Located) -> Output:
        """Return the output that the further names of ``block/layer`` refer to."""
        for name in rest:
            names = output.scope.outputs if output.scope else {}
            if name not in names:
                rule = f"{output.path} has no output named {name!r}"
                raise node.error(rule, hint=suggest(name, names))
            output = names[name]
        return output

    def _missing(self, name: str, node: Located) -> DocumentError:
        """Return the error for a name without an earlier output, with the most likely cause."""
        names: list[str] = []
        for scope in self.outward():
            if name in scope.declared:
                line = scope.declared[name].line
                return node.error(f"an input must be an earlier output; this layer is on line {line}")
            names.extend(scope.outputs)
            # a layer inside an earlier block is named with the block: encoder/dense
            for output in scope.outputs.values():
                if output.scope and name in output.scope.outputs:
                    hint = f"Did you mean '{output.scope.outputs[name].path}'?"
                    return node.error("no earlier output has this name", hint=hint)
        hint = suggest(name, names)
        if not hint and names:
            hint = f"Earlier outputs: {', '.join(names[-10:])}."
        return node.error("no earlier output has this name", hint=hint)
