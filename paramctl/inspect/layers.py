"""The types that a document may name: layers and activation functions, with their options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paramctl.declare.located import Located, Scalar, parse_call, preview
from paramctl.errors import AddressError
from paramctl.model.layers import FUNCTIONS, LAYERS
from paramctl.model.layers.activations import Function
from paramctl.model.layers.base import Layer
from paramctl.model.layers.other_names import layer_elsewhere, type_hint


@dataclass(frozen=True, slots=True)
class TypeRow:
    """A layer or an activation: its kind, the axes of its input, its options, and its description."""

    type: str
    kind: str
    axes: str
    options: tuple[str, ...]
    about: str


@dataclass(frozen=True, slots=True)
class OptionRow:
    """An option of a type: its default, or None if it is required, and its rule in words."""

    type: str
    option: str
    required: bool
    default: Scalar
    rule: str


def type_rows() -> list[TypeRow]:
    """Return every type, layers first, in the order of their declarations."""
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
    """Return the options of these types. Raises AddressError for an unknown type."""
    declared: dict[str, type[Layer] | type[Function]] = {**FUNCTIONS, **LAYERS}
    rows = []
    for name in names:
        if name not in LAYERS and (meant := layer_elsewhere(name, LAYERS)):
            rule = f"{name} is an activation function, and no layer" if name in FUNCTIONS else "no layer has this type"
            raise AddressError(rule, repr(name), f"Did you mean {meant!r}?")
        if name not in declared:
            hint = type_hint(name, LAYERS, FUNCTIONS)
            raise AddressError("no layer or activation function has this type", repr(name), hint)
        for option in declared[name].signature.values():
            default = None if option.required else default_text(option.default)
            rows.append(OptionRow(name, option.name, option.required, default, option.type.rule))
    return rows


def first_paragraph(declared: object) -> str:
    """Return the first paragraph of the docstring of a class or a function, in one line."""
    return " ".join((declared.__doc__ or "").strip().partition("\n\n")[0].split())


def default_text(default: Any) -> Scalar:
    """Return a default as a document writes it: a function or a scheme by name, and one number for all axes."""
    if isinstance(default, Located):
        call = parse_call(default)
        name, arguments = call or (default, None)
        return f"{name.value}: {preview(arguments)}" if arguments else str(name.value)
    if isinstance(default, Function):
        return default.name
    while isinstance(default, tuple):
        default = default[0]
    return default  # type: ignore[no-any-return]
