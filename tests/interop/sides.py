"""A case on both sides: what paramctl says of it and what Keras does with it, and whether they agree.

What they are known to differ in stands in the tables at the top, each with its reason.
"""

import inspect
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from paramctl.declare.option_types import ListType
from paramctl.declare.options import Option
from paramctl.errors import DocumentError
from paramctl.model import build
from paramctl.model.document import parse
from paramctl.model.layers import LAYERS, Layer
from paramctl.model.layers.activations import ActivationType
from paramctl.model.layers.attention import AttentionLayer
from paramctl.model.layers.wrapping import InnerLayerType
from tests.interop.cases import Case, known
from tests.interop.facts import Facts, Shape, of_keras, of_paramctl

EXPORTED_AS = {"GroupedQueryAttention": "GroupQueryAttention"}
"""The public names of classes that Keras exports under another name than their own."""

OPTIONS_NOT_IN_KERAS = {"rope_theta", "relative_position"}
"""Keras' layer is compared without them."""

FAULTS_OF_KERAS = {
    # With torch it takes any adjacent axes for the last ones.
    "layer_normalization": ("Given normalized_shape=",),
    # The same; and on every backend it does not align its scale with axes other than the last ones.
    "rms_normalization": ("Given normalized_shape=", "must match the size of tensor"),
    # With torch it has no such interpolation.
    "up_sampling2d": ("Resizing with Lanczos interpolation is not supported by the PyTorch backend",),
}
"""Keras' errors for an unsupported computation."""

FORGETS_SIZES = {"add", "average", "maximum", "minimum", "multiply", "subtract", "concatenate"}
"""If one input's size is unknown, these report none in Keras; paramctl takes it from the other inputs."""

ALWAYS_IN_KERAS = {("multi_head_attention", "value"), ("grouped_query_attention", "value")}
"""Options that a document may leave out, for the input itself, and a call in Keras may not."""

WITHOUT_TRAINABLE = {"spatial_dropout1d", "spatial_dropout2d", "spatial_dropout3d"}
"""Keras' classes pass no further options to Layer; having no parameters, they are the same with and without it."""

TAKE_ONE = {"axes"}
"""Options with which Keras tells one value from a list of one."""

REFUSALS = (ValueError, TypeError, IndexError, RuntimeError, ZeroDivisionError, AttributeError, NotImplementedError)
BATCH = 2
UNKNOWN = 9  # what a size that is not known is when a layer computes


def in_keras(layer: type[Layer]) -> type[keras.layers.Layer] | None:
    """Keras' class of this type, by its public name."""
    cls: type[keras.layers.Layer] | None = getattr(keras.layers, EXPORTED_AS.get(layer.__name__, layer.__name__), None)
    return cls


def class_of(layer: type[Layer]) -> type[keras.layers.Layer]:
    cls = in_keras(layer)
    assert cls is not None
    return cls


def by_paramctl(layer: type[Layer], case: Case) -> Facts | str:
    """Return paramctl's facts about a case, or the reason why it refuses the case."""
    main = [name for name in case.inputs if not name.endswith("_input")]
    entry = {layer.type: case.options | {"name": "subject", "from": main}}
    try:
        model = build(parse(json.dumps({"inputs": case.inputs, "layers": [entry]}), "case"))
    except DocumentError as error:
        return f"refused: {error.rule}"
    return of_paramctl("subject", model.blocks[0].output, list(model.parameters.values()))


def by_keras(layer: type[Layer], case: Case) -> tuple[Facts, list[Shape]] | str:
    """Return Keras' facts about a case and the shapes that it computes, or the reason why it refuses the case.

    Sizes that are not known are made up, as the other inputs' and otherwise; no refusal to compute with these counts.
    """
    options, call_options = divided(layer, case)
    try:
        subject = class_of(layer)(name="subject", **options)
        facts = of_keras(subject, called(subject, case, call_options, keras.Input))
    except REFUSALS as error:
        return refusal(error)
    computed = []
    settled = known(case.inputs)
    for alike in [True] if settled or layer.type not in FORGETS_SIZES else [True, False]:
        try:
            result = called(subject, case, call_options, partial(zeros, case, alike))
            computed.append(tuple(result.shape))
        except REFUSALS as error:
            if any(fault in str(error) for fault in FAULTS_OF_KERAS.get(layer.type, ())):
                computed.append(facts.output)
            elif settled:
                return refusal(error)
    return facts, computed


def refusal(error: Exception) -> str:
    return f"refused: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def divided(layer: type[Layer], case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a case that Keras takes when a layer is made, and those that it takes when it is called."""
    at_call = inspect.signature(class_of(layer).call).parameters
    of_call = {name: "x" for type_name, name in ALWAYS_IN_KERAS if type_name == layer.type}
    of_layer = {}
    for name, value in case.options.items():
        if name in OPTIONS_NOT_IN_KERAS or (name == "trainable" and layer.type in WITHOUT_TRAINABLE):
            continue
        if name not in at_call:
            of_layer[name] = keras_value(layer.signature[name], value) if name in layer.signature else value
        elif value is not None:
            of_call[name] = value
    return of_layer, of_call


def called(subject: keras.layers.Layer, case: Case, options: dict[str, Any], make: Callable[[Shape], Any]) -> Any:
    """The layer called with inputs made from their shapes; an option that names an input is that input."""
    tensors = {name: make(shape) for name, shape in case.inputs.items()}
    main = [tensor for name, tensor in tensors.items() if not name.endswith("_input")]
    named = {name: tensors[value] if isinstance(value, str) else value for name, value in options.items()}
    return subject(main if len(main) > 1 else main[0], **named)


def zeros(case: Case, alike: bool, shape: Shape) -> Any:
    """An input to compute with; alike: a size that is not known is as another input has it."""
    sizes = []
    for axis, size in enumerate(shape):
        others = (other[axis] for other in case.inputs.values() if alike and len(other) == len(shape) and other[axis])
        sizes.append(size or next(others, UNKNOWN))
    return np.zeros((BATCH, *sizes), "float32")


def only_keras_takes(layer: type[Layer], case: Case) -> bool:
    """Return whether Keras reads a case in a way that its author cannot mean, so that paramctl should refuse it."""
    if layer.type == "p_re_lu":
        # It counts from 1 by taking 1 off: its 0 is the last axis, and its -1 the last but one.
        return min(listed(case.options.get("shared_axes"), 1)) < 1
    if layer.type == "multi_head_attention":
        # It looks for axes in the queries of all heads, which have one axis more than the input.
        return max(listed(case.options.get("attention_axes"), 1)) > len(case.inputs["x"])
    return False


def listed(value: Any, default: int) -> list[int]:
    return value if isinstance(value, list) else [default if value is None else value]


def matched(layer: type[Layer], case: Case) -> Case:
    """The case with sizes that must be equal known if one is: Keras refuses None beside a number, where it computes."""
    inputs = {name: list(shape) for name, shape in case.inputs.items()}
    for (one, i), (other, j) in equal_sizes(layer, case):
        if i < len(inputs[one]) and j < len(inputs[other]):
            inputs[one][i] = inputs[one][i] or inputs[other][j]
            inputs[other][j] = inputs[other][j] or inputs[one][i]
    return case._replace(inputs={name: tuple(shape) for name, shape in inputs.items()})


def equal_sizes(layer: type[Layer], case: Case) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    """The axes that Keras wants to have equal sizes, each with its input; the first after the batch is 0."""
    if layer.type == "dot":
        axes = listed(case.options["axes"], -1)
        x, y = (
            axis - 1 if axis > 0 else axis + len(case.inputs[name])
            for name, axis in zip("xy", (axes * 2)[:2], strict=True)
        )
        return [(("x", x), ("y", y))] if min(x, y) >= 0 else []
    if issubclass(layer, AttentionLayer) and case.options.get("key"):
        value, key = case.options.get("value") or "x", case.options["key"]
        return [((value, axis), (key, axis)) for axis in range(len(case.inputs[key]) - 1)]
    return []


def refines(known_less: Facts | str, known_more: Facts | str) -> bool:
    """Return whether facts are equal, except for sizes that are unknown in the first, or both are refusals."""
    if isinstance(known_less, str) or isinstance(known_more, str):
        return isinstance(known_less, str) and isinstance(known_more, str)
    pairs = zip(known_less.output or (), known_more.output or (), strict=True)
    return known_less.parameters == known_more.parameters and all(less in (None, more) for less, more in pairs)


def agree(layer: type[Layer], ours: Facts | str, theirs: tuple[Facts, list[Shape]] | str) -> bool:
    """Return whether both refuse, or both give the same parameters and a correct shape, as known as Keras'."""
    if isinstance(theirs, str):
        return isinstance(ours, str)
    reported, computed = theirs
    if isinstance(ours, str):
        return not computed
    return ours.parameters == reported.parameters and all(
        holds(ours.output, reported.output, result, layer.type in FORGETS_SIZES)
        for result in computed or [reported.output]
    )


def holds(ours: Shape | None, reported: Shape | None, computed: Shape | None, forgetful: bool) -> bool:
    """Return whether each size is the computed one, or unknown where Keras reports it unknown, as the batch always."""
    assert ours is not None
    assert reported is not None
    assert computed is not None
    if len(ours) != len(reported) or len(ours) != len(computed) or ours[0] is not None or reported[0] is not None:
        return False
    return all(
        size == result if said is not None else size is None or (forgetful and size == result)
        for size, said, result in zip(ours[1:], reported[1:], computed[1:], strict=True)
    )


def keras_value(option: Option, value: Any) -> Any:
    """A document's value for Keras: functions and layers made, one value that stands for a list put in one."""
    kind = option.type
    if isinstance(kind, InnerLayerType):
        return inner_layer(value)
    if isinstance(kind, ActivationType) and isinstance(value, dict):
        ((name, options),) = value.items()
        return partial(getattr(keras.activations, name), **options)
    several = isinstance(kind, ListType) and kind.length is None and option.name not in TAKE_ONE
    return [value] if several and value is not None and not isinstance(value, list) else value


def inner_layer(written: dict[str, dict[str, Any]]) -> keras.layers.Layer:
    """A layer within another; its name is its type's, which in Keras might have a number after it."""
    ((type_name, options),) = written.items()
    layer = LAYERS[type_name]
    given = {name: keras_value(layer.signature[name], options[name]) for name in options if name != "name"}
    return class_of(layer)(name=options.get("name", type_name), **given)


def channels_first(case: Case) -> Case:
    """The case with its inputs' channels moved to the front, if that is where its layer looks for them."""
    if case.options.get("data_format") != "channels_first":
        return case
    return case._replace(inputs={name: (*shape[-1:], *shape[:-1]) for name, shape in case.inputs.items()})
