"""Inputs and options to compare layers with, generated from the options that they declare."""

import json
import random
from collections.abc import Iterator
from functools import singledispatch
from itertools import permutations
from typing import Any, NamedTuple

from paramctl.declare.located import Located
from paramctl.declare.option_types import (
    ChoiceType,
    FlagType,
    IntegerType,
    ListType,
    NumberType,
    OptionType,
    SchemeType,
)
from paramctl.declare.options import Option
from paramctl.errors import DocumentError
from paramctl.model.layers import FUNCTIONS, LAYERS, Layer
from paramctl.model.layers.activations import ActivationType
from paramctl.model.layers.array_parser import FormulaType
from paramctl.model.layers.base import PerAxisType, ReferenceType
from paramctl.model.layers.expression import ParametersType
from paramctl.model.layers.padding import MarginsType
from paramctl.model.layers.recurrent import Recurrent
from paramctl.model.layers.relative_position import RelativePositionType
from paramctl.model.layers.scaling import NumbersType
from paramctl.model.layers.wrapping import InnerLayerType
from tests.interop.facts import Shape

COMBINATIONS = 60
SIZES = {"depth": 7, "height": 8, "width": 9, "steps": 5, "positions": 5, "features": 6, "channels": 6}
ANY_AXES: tuple[Shape, ...] = ((4,), (4, 6), (4, 6, 2), ())


class Case(NamedTuple):
    """Inputs by name, their shapes without the batch; and options as a document has them."""

    inputs: dict[str, Shape]
    options: dict[str, Any]


# What an option may be, by its kind


def choices(option: Option) -> list[Any]:
    """Values for an option, as a document has them; the first is a good one."""
    kind = option.type
    values = [f"{option.name}_input"] if isinstance(kind, ReferenceType) else written(kind)
    return [*values, *([None] if option.nullable else [])]


@singledispatch
def written(kind: OptionType) -> list[Any]:
    raise AssertionError(f"no values are known for an option of the kind {type(kind).__name__}")


@written.register
def _(kind: FlagType) -> list[Any]:
    return [True, False]


@written.register
def _(kind: ChoiceType) -> list[Any]:
    return list(kind.choices)


@written.register
def _(kind: IntegerType) -> list[Any]:
    return readable(kind, [2, 1, 3, 0, -1, -2])


@written.register
def _(kind: NumberType) -> list[Any]:
    return readable(kind, [0.5, 0, 1, 2.5, -1.5])


@written.register
def _(kind: SchemeType) -> list[Any]:
    return ["he_normal", "zeros"]


@written.register
def _(kind: ListType) -> list[Any]:
    """Axes, sizes of a shape of 24 values, or counts: by what the item may be."""
    assert isinstance(kind.item, IntegerType)
    assert kind.length in (None, 2)
    if kind.item.minimum is None:
        ordered = [list(axes) for length in (2, 1, 3) for axes in permutations((1, 2, 3), length)]
        return [*ordered, -1, 2, [-1], [0], [-2, -1], [1, 1], [-1, 2]]
    if kind.item.minimum < 0:
        return [[6, 4], 24, -1, [-1], [24], [4, 3, 2], [2, -1, 3], [8, -1], [5], [5, -1], [-1, -1], [48]]
    return [3, [3], [2, 3], [1, 2, 3]]


@written.register
def _(kind: NumbersType) -> list[Any]:
    """Arrays that may be a mean or a variance, of one axis or of two."""
    return [2, [1, 2, 3, 4, 5, 6], [0.5], [[2], [3], [4], [5]], [[1, 2]]]


@written.register
def _(kind: FormulaType) -> list[Any]:
    return ["relu(x)", "x1 + x2"]


@written.register
def _(kind: ParametersType) -> list[Any]:
    return [{}]


@written.register
def _(kind: PerAxisType) -> list[Any]:
    rank = kind.length or 1
    return [2, 1, 3, [2, 1, 3][:rank], [1, 3, 2][:rank]]


@written.register
def _(kind: MarginsType) -> list[Any]:
    rank = kind.length or 1
    if rank == 1:
        return [2, 0, [1, 3], [0, 2]]
    return [2, 0, [2, 1, 0][:rank], [[1, 3], [0, 2], [2, 0]][:rank]]


@written.register
def _(kind: ActivationType) -> list[Any]:
    """Every function by its name, and with each value of each of its options."""
    values: list[Any] = []
    for name, function in FUNCTIONS.items():
        if not (function.keeps_shape or kind.any_shape):
            continue
        base = required(function.signature)
        values.append({name: base} if base else name)
        for option in function.signature.values():
            values += [{name: base | {option.name: value}} for value in choices(option)]
    return values


INNER: list[dict[str, dict[str, Any]]] = [
    {"dense": {"units": 3}},
    {"dense": {"units": 3, "name": "own", "activation": "relu", "use_bias": False}},
    {"conv2d": {"filters": 3, "kernel_size": 2, "padding": "same"}},
    {"conv1d": {"filters": 3, "kernel_size": 2, "name": "own"}},
    {"max_pooling1d": {"pool_size": 2}},
    {"flatten": {}},
    {"reshape": {"target_shape": [-1, 2]}},
    {"lstm": {"units": 3}},
    {"gru": {"units": 3, "return_sequences": True, "name": "own"}},
    {"layer_normalization": {}},
    {"layer_normalization": {"center": False, "name": "own"}},
    {"batch_normalization": {}},
    {"dropout": {"rate": 0.5}},
]
"""Layers with one input, to be put within others."""


@written.register
def _(kind: InnerLayerType) -> list[Any]:
    """Each recurrent layer with its options, if it may be one alone; otherwise some of every kind."""
    if kind.allows(LAYERS["dense"]):
        return INNER
    values: list[Any] = []
    for name in sorted(name for name, cls in LAYERS.items() if issubclass(cls, Recurrent)):
        assert kind.allows(LAYERS[name])
        more: list[dict[str, Any]] = [
            {},
            {"return_sequences": True},
            {"name": "own"},
            {"name": "forward_own"},
            {"return_sequences": True, "name": "own", "use_bias": False, "activation": "relu"},
            {"go_backwards": True},
        ]
        values += [{name: {"units": 3} | options} for options in more]
    return values


@written.register
def _(kind: RelativePositionType) -> list[Any]:
    """None that Keras could be compared with."""
    return []


def readable(kind: OptionType, values: list[Any]) -> list[Any]:
    """The values that an option of this kind may have."""
    return [value for value in values if reads(kind, value)]


def reads(kind: OptionType, value: Any) -> bool:
    try:
        kind.read(Located(value), "value")
    except DocumentError:
        return False
    return True


def required(signature: dict[str, Option]) -> dict[str, Any]:
    return {option.name: choices(option)[0] for option in signature.values() if option.required}


# Cases


def cases(layer: type[Layer]) -> list[Case]:
    """Each input, each value of each option over inputs that are known, then random combinations; every case once."""
    values = {name: choices(option) for name, option in layer.signature.items()}
    grid = {name: each for name, each in values.items() if each != [None]} | {"trainable": [True, False]}
    base = required(layer.signature)
    inputs = list(all_inputs(layer))
    found = [Case(given, base) for given in inputs]
    all_known = [given for given in inputs if known(given)]
    some_known = all_known if layer.arity == 2 else all_known[:3]
    found += [Case(given, base | {name: value}) for name in grid for value in grid[name] for given in some_known]
    draw = random.Random(layer.type)  # noqa: S311
    for _ in range(COMBINATIONS):
        some = {name: draw.choice(values) for name, values in grid.items() if name in base or draw.random() < 0.5}
        found.append(Case(draw.choice(inputs), some))
    return list({json.dumps(case): case for case in found}.values())


def all_inputs(layer: type[Layer]) -> Iterator[dict[str, Shape]]:
    """Inputs of every rank that the layer takes: all sizes known, then one not known."""
    for shape in shapes(layer.input_axes):
        if layer.arity != 1:
            yield from ({"x": shape, "y": other} for other in partners(shape))
            if layer.arity is None:
                yield {"x": shape, "y": shape, "z": shape}
        elif layer.references:
            for length in (shape[:-1], (3,) * (len(shape) - 1)):
                yield {"x": shape} | {f"{name}_input": (*length, 3 + i) for i, name in enumerate(layer.references)}
        else:
            yield {"x": shape}


def known(inputs: dict[str, Shape]) -> bool:
    """Return whether the size of every axis is known."""
    return all(None not in shape for shape in inputs.values())


def shapes(input_axes: str) -> list[Shape]:
    names = input_axes.split(", ")[1:]
    expansions = ANY_AXES if "..." in names else [()]
    whole = [
        tuple(size for name in names for size in (some if name == "..." else (SIZES[name],))) for some in expansions
    ]
    return whole + [(*shape[:axis], None, *shape[axis + 1 :]) for shape in whole for axis in range(len(shape))]


def partners(shape: Shape) -> list[Shape]:
    """Shapes to merge with this one: itself, itself reversed, and those that differ in one size or in their rank."""
    found = [shape, shape[::-1]]
    for axis in range(len(shape)):
        found += [(*shape[:axis], size, *shape[axis + 1 :]) for size in (1, 5, None)]
    return [*found, shape[1:]] if shape else found
