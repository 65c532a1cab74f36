"""Layers: read the options of an entry, infer the output shape, and create the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.declare.located import MAX_INTEGER
from paramctl.declare.option_types import MAX_AXES
from paramctl.declare.options import arguments_by_name
from paramctl.errors import DocumentError
from paramctl.model.budget import LAYER_COST
from paramctl.model.context import Context, Expanded
from paramctl.model.entry import Entry
from paramctl.model.expand.inputs import paths, single_input
from paramctl.model.expand.state import Application, State
from paramctl.model.layers import FUNCTIONS, KERAS_ONLY_LAYERS, LAYERS, Layer, ShapeError, Sizes
from paramctl.model.layers.base import snake_case
from paramctl.model.layers.core import Activation
from paramctl.model.layers.other_names import layer_elsewhere, type_hint
from paramctl.model.scope import Output
from paramctl.model.tree import Block, shape_text

MAX_BITS = 512
"""The number of values of a parameter must fit in this many bits, so that a float can hold it."""


def read_layer(state: State, entry: Entry, context: Context) -> Layer:
    """Return the layer of an entry. Raises DocumentError for an unknown type or an invalid option."""
    cached = state.layers.get(id(entry.node))
    if cached is not None:
        return cached
    type_name = str(entry.type.value)
    cls: Any = LAYERS.get(type_name) or FUNCTIONS.get(type_name)
    has_options = entry.arguments is not None and entry.arguments.value not in ({}, None)
    # linear alone is a function that changes nothing; with options it is torch's layer
    if cls is None or (has_options and type_name not in LAYERS and layer_elsewhere(type_name, LAYERS)):
        raise _unknown_type(state, entry, type_name)
    if type_name in LAYERS and cls.arity != 1 and entry.arguments and isinstance(entry.arguments.value, list):
        rule = f"{type_name} takes its inputs from 'from'"
        raise entry.arguments.error(rule, hint=f"Write {type_name}: {{from: [...]}}.")
    resolved = {
        # The layers inside a layer have variables of their own, so they are resolved when they are expanded.
        name: node if name in cls.signature and cls.signature[name].type.deferred else state.resolve(context, node)
        for name, node in arguments_by_name(type_name, entry.arguments, cls.signature).items()
    }
    instance = cls.read(type_name, entry.at, resolved)
    layer: Layer = instance if type_name in LAYERS else Activation(activation=instance)
    if not entry.node.dynamic:  # with a variable, each repetition may have other options
        state.layers[id(entry.node)] = layer
    return layer


def _unknown_type(state: State, entry: Entry, type_name: str) -> DocumentError:
    if type_name.lower() in KERAS_ONLY_LAYERS and not layer_elsewhere(type_name, LAYERS):
        rule = "this Keras layer is not supported in a model document"
        return entry.type.error(rule, hint="Run 'paramctl layers' for the supported layers.")
    hint = type_hint(snake_case(type_name), [*state.templates, *LAYERS], FUNCTIONS)
    return entry.type.error("no layer or block has this type", hint=hint)


def apply_layer(state: State, layer: Layer, application: Application) -> Expanded:
    """Return the block of a layer without inner layers."""
    entry, context, inputs, path = application
    state.budget.charge(entry.node, entry.node.size + LAYER_COST + layer.inference_cost())
    _check_input_count(layer, application)
    references = {name: context.find(node) for name in layer.references if (node := getattr(layer, name)) is not None}
    shape, parameters = infer(layer, application, inputs, references)
    held = tuple([parameter.in_layer(path, context.dtype, context.trainable) for parameter in parameters])
    all_inputs = [*inputs, *references.values()]
    output = Output(path, shape)
    numbers = state.numbers(output, all_inputs)
    return Expanded(Block(path, layer.type, shape, paths(all_inputs), held, (), layer, None, *numbers), output)


def _check_input_count(layer: Layer, application: Application) -> None:
    entry, _, inputs, path = application
    if layer.arity == 1:
        single_input(entry, inputs)
    elif len(inputs) != layer.arity if layer.arity else len(inputs) < layer.least_inputs:
        count = f"{layer.arity} inputs" if layer.arity else "two or more inputs"
        raise entry.at.error(f"{layer.type} requires {count}: name them with 'from'", path)


def infer(
    layer: Layer,
    application: Application,
    inputs: list[Output],
    references: Mapping[str, Output] = MappingProxyType({}),
) -> tuple[Sizes | None, list[Parameter]]:
    """Return the output shape and the parameters of a layer, or (None, []) if the shape of an input is unknown.

    references: further inputs by the names of their options.
    Raises DocumentError if the shapes do not fit the layer.
    """
    all_inputs = [*inputs, *references.values()]
    shapes = [output.shape for output in inputs if output.shape is not None]
    others = {name: output.shape for name, output in references.items() if output.shape is not None}
    if len(shapes) + len(others) < len(all_inputs):  # some input has an unknown shape
        return None, []
    try:
        for shape in (*shapes, *others.values()):
            layer.check_axes(shape)
        output = layer.output(*shapes, **others)
        parameters = list(layer.parameters(*shapes, **others))
        _check_sizes(output, parameters)
    except ShapeError as error:
        received = " and ".join(map(describe, all_inputs))
        raise application.entry.at.error(f"{application.path}: {error}", received) from None
    return output, parameters


def describe(output: Output) -> str:
    """Return an output as errors name it: ``dense (None, 4)``."""
    return f"{output.path} {shape_text(output.shape)}"


def _check_sizes(shape: Sizes, parameters: list[Parameter]) -> None:
    """Raise ShapeError for sizes that no array can have. Sizes are only numbers here; nothing is allocated."""
    if len(shape) > MAX_AXES:
        raise ShapeError(f"its output may have at most {MAX_AXES} axes, not {len(shape)}")
    largest = max((size or 0 for size in shape), default=0)
    if largest > MAX_INTEGER:
        raise ShapeError(f"an axis of its output would have the size {largest:,}, which does not fit in 64 bits")
    for parameter in parameters:
        if parameter.size.bit_length() > MAX_BITS:
            raise ShapeError(f"its {parameter.path} would have over 2^{MAX_BITS} values")
