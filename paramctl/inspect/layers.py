"""The types a document may name: every layer and activation function, with its options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paramctl.declare.located import Located, Scalar
from paramctl.errors import AddressError, suggest
from paramctl.model.layers import FUNCTIONS, LAYERS
from paramctl.model.layers.activations import Function
from paramctl.model.layers.base import Layer


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
    """An option of a type: whether it is required, its default otherwise, and what it must be, in words."""

    type: str
    option: str
    required: bool
    default: Scalar
    rule: str


def type_rows() -> list[TypeRow]:
    """Every type, layers first, in the order in which they are declared."""
    layers = [
        TypeRow(name, "layer", cls.input_axes, tuple(cls.signature), first_paragraph(cls))
        for name, cls in LAYERS.items()
    ]
    functions = [
        TypeRow(name, "activation", "batch, ...", tuple(cls.signature), first_paragraph(cls))
        for name, cls in FUNCTIONS.items()
    ]
    return layers + functions


def option_rows(names: Sequence[str]) -> list[OptionRow]:
    """The options of these types. Raises AddressError for a type that there is not."""
    declared: dict[str, type[Layer] | type[Function]] = {**FUNCTIONS, **LAYERS}
    found = []
    for name in names:
        if name not in declared:
            raise AddressError("no layer or activation function has this type", repr(name), suggest(name, declared))
        for option in declared[name].signature.values():
            default = None if option.required else default_text(option.default)
            found.append(OptionRow(name, option.name, option.required, default, option.type.rule))
    return found


def first_paragraph(declared: object) -> str:
    """The first paragraph of the docstring of a class or a function."""
    return " ".join((declared.__doc__ or "").strip().partition("\n\n")[0].split())


def default_text(default: Any) -> Scalar:
    """A default as a document would have it: a function and a scheme by name, one for each axis as one."""
    if isinstance(default, Located):
        return str(default.value)
    if isinstance(default, Function):
        return default.name
    while isinstance(default, tuple):
        default = default[0]
    return default  # type: ignore[no-any-return]
