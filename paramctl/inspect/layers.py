"""The types a document may name: every layer and activation function, with its options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paramctl.errors import AddressError, suggest
from paramctl.model.layers import FUNCTIONS, LAYERS
from paramctl.model.layers.activations import Function
from paramctl.model.layers.base import Layer
from paramctl.node import Node


@dataclass(frozen=True, slots=True)
class TypeRow:
    """A type: layer or activation, the axes its input must have, its options, and what it does."""

    type: str
    kind: str
    axes: str
    options: tuple[str, ...]
    about: str


@dataclass(frozen=True, slots=True)
class OptionRow:
    """An option of a type: its default, None if it is required, and what it must be, in words."""

    type: str
    option: str
    default: str | None
    rule: str


def types() -> list[TypeRow]:
    """Every type, layers first, in the order in which they are declared."""
    layers = [TypeRow(name, "layer", cls.input_axes, tuple(cls.signature), about(cls)) for name, cls in LAYERS.items()]
    functions = [
        TypeRow(name, "activation", "batch, ...", tuple(cls.signature), about(cls)) for name, cls in FUNCTIONS.items()
    ]
    return layers + functions


def options(names: Sequence[str]) -> list[OptionRow]:
    """The options of these types. Raises AddressError for a type that there is not."""
    declared: dict[str, type[Layer] | type[Function]] = {**FUNCTIONS, **LAYERS}
    found = []
    for name in names:
        if name not in declared:
            raise AddressError("no layer or activation function has this type", repr(name), suggest(name, declared))
        found += [
            OptionRow(name, option.name, None if option.required else default_text(option.default), option.kind.words)
            for option in declared[name].signature.values()
        ]
    return found


def about(declared: object) -> str:
    """The first paragraph of the docstring of a class or a function."""
    return " ".join((declared.__doc__ or "").strip().partition("\n\n")[0].split())


def default_text(value: Any) -> str:
    """A default as a document would write it."""
    if isinstance(value, Node):
        return str(value.value)
    if isinstance(value, Function):
        return value.name
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        each = {default_text(item) for item in value}
        return each.pop() if len(each) == 1 else f"[{', '.join(map(default_text, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
