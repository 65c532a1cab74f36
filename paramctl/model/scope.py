"""Which earlier output a name means, and which names a list has given."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from paramctl.errors import DocumentError, suggest
from paramctl.model.layers import Sizes
from paramctl.node import Node


@dataclass(slots=True)
class Output:
    """What a name stands for: where it comes from, its shape, and what can be done with it.

    scope: the names inside it, for ``block/layer``. recipe: how to apply it again, which only
    the builder understands; None for an input of the model.
    """

    path: str
    shape: Sizes | None
    scope: Scope | None = None
    recipe: Any = None


class Scope:
    """The names of one list of layers, and the scope around it.

    ``later`` gives the names that the list holds in all, each with its node, for errors.
    """

    def __init__(self, outer: Scope | None, later: dict[str, Node] | None = None) -> None:
        self.outer = outer
        self.later = later or {}
        self.outputs: dict[str, Output] = {}
        self.left_out: dict[str, Node] = {}
        self._normal: dict[str, Node] = {}
        self._numbers: dict[str, int] = {}

    def automatic(self, type_name: str) -> str:
        """The next name for a layer of this type that has none: dense, dense_1, dense_2."""
        number = self._numbers.get(type_name, 0)
        self._numbers[type_name] = number + 1
        return f"{type_name}_{number}" if number else type_name

    def claim(self, name: str, node: Node) -> None:
        """Take a name, or say who has it: names that Unicode normalizes to one are one."""
        normal = name if name.isascii() else unicodedata.normalize("NFC", name)
        if normal in self._normal:
            line = self._normal[normal].line
            raise node.error(f"two layers of one list have one name; the first is on line {line}", repr(name))
        self._normal[normal] = node

    def outward(self) -> Iterator[Scope]:
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer

    def find(self, node: Node) -> Output:
        """The nearest earlier output of this name: in this list, then in those around it."""
        text = str(node.value)
        first, *rest = text.split("/")
        for scope in self.outward():
            if first in scope.outputs:
                return self._inside(scope.outputs[first], rest, node)
            if first in scope.left_out:
                line = scope.left_out[first].line
                raise node.error(f"this layer is left out: its 'when', on line {line}, is false")
        raise self._missing(first, node)

    def _inside(self, output: Output, rest: list[str], node: Node) -> Output:
        for name in rest:
            names = output.scope.outputs if output.scope else {}
            if name not in names:
                rule = f"{output.path} holds no output named {name!r}"
                raise node.error(rule, hint=suggest(name, names))
            output = names[name]
        return output

    def _missing(self, name: str, node: Node) -> DocumentError:
        names: list[str] = []
        for scope in self.outward():
            if name in scope.later:
                line = scope.later[name].line
                return node.error(f"only an earlier output can be named; this one comes on line {line}")
            names.extend(scope.outputs)
        hint = suggest(name, names)
        if not hint and names:
            hint = f"Earlier are {', '.join(names[-10:])}."
        return node.error("no earlier output has this name", hint=hint)
