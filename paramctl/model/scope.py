"""Which earlier output a name means, and which names a list has given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from paramctl.declare.located import MAX_NODES, Located
from paramctl.errors import DocumentError, suggest
from paramctl.model.layers import Sizes
from paramctl.model.names import normalized


@dataclass(slots=True)
class Output:
    """What a name stands for: where it comes from, its shape, and what can be done with it.

    scope: the names inside it, for ``block/layer``. recipe: how to apply it again, which only
    the builder understands; None for an input of the model. order: how many came before it.
    number: which output of the model it is, for a path may be that of several; inputs are below 0.
    """

    path: str
    shape: Sizes | None
    scope: Scope | None = None
    recipe: Any = None
    order: int = 0
    number: int = 0


class Scope:
    """The names of one list of layers, and the scope around it.

    ``later`` gives the names that the list holds in all, each with its node, for errors. ``born``
    is how many outputs there were when the list was begun.
    """

    def __init__(self, outer: Scope | None, later: dict[str, Located] | None = None, born: int = 0) -> None:
        self.outer = outer
        self.later = later or {}
        self.born = born
        self.outputs: dict[str, Output] = {}
        self.left_out: dict[str, tuple[Located, int]] = {}
        self._claimed: dict[str, Located] = {}
        self._numbers: dict[str, int] = {}

    def automatic(self, type_name: str) -> str:
        """The next name for a layer of this type that has none: dense, dense_1, dense_2."""
        number = self._numbers.get(type_name, 0)
        self._numbers[type_name] = number + 1
        return f"{type_name}_{number}" if number else type_name

    def claim(self, name: str, node: Located) -> None:
        """Take a name, or say who has it."""
        first = self._claimed.get(normalized(name))
        if first is not None:
            where = f"the first is on line {first.line}" if first.place else "it is a part of the block's own"
            raise node.error(f"two layers of one list have one name; {where}", repr(name))
        self._claimed[normalized(name)] = node

    def put(self, name: str, output: Output) -> None:
        """From here on the name means this output."""
        self.outputs[normalized(name)] = output

    def leave_out(self, name: str, when: Located, order: int) -> None:
        """The name is that of an entry which its ``when`` leaves out, after so many outputs."""
        self.left_out[normalized(name)] = when, order

    def outward(self) -> Iterator[Scope]:
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer

    def find(self, node: Located, as_of: int | None = None) -> Output:
        """The nearest earlier output of this name: in this list, then in those around it.

        as_of: of lists begun before so many outputs were made, only those outputs count.
        """
        first, *rest = (normalized(name) for name in str(node.value).split("/"))
        for scope in self.outward():
            since = as_of if as_of is not None and scope.born <= as_of else MAX_NODES
            output = scope.outputs.get(first)
            if output and output.order <= since:
                return self._inside(output, rest, node)
            when, order = scope.left_out.get(first, (node, MAX_NODES))
            if order < since:
                raise node.error(f"this layer is left out: its 'when', on line {when.line}, is false")
        raise self._missing(first, node)

    def _inside(self, output: Output, rest: list[str], node: Located) -> Output:
        for name in rest:
            names = output.scope.outputs if output.scope else {}
            if name not in names:
                rule = f"{output.path} holds no output named {name!r}"
                raise node.error(rule, hint=suggest(name, names))
            output = names[name]
        return output

    def _missing(self, name: str, node: Located) -> DocumentError:
        names: list[str] = []
        for scope in self.outward():
            if name in scope.later:
                line = scope.later[name].line
                return node.error(f"only an earlier output can be named; this one comes on line {line}")
            names.extend(scope.outputs)
            for output in scope.outputs.values():
                if output.scope and name in output.scope.outputs:
                    hint = f"There is {output.scope.outputs[name].path}."
                    return node.error("no earlier output has this name", hint=hint)
        hint = suggest(name, names)
        if not hint and names:
            hint = f"Earlier are {', '.join(names[-10:])}."
        return node.error("no earlier output has this name", hint=hint)
