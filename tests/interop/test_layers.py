"""Every layer and every activation function that Keras has too is Keras': options, defaults, shapes, parameters.

The comparisons are generated from the declared options. Each layer is built in a document and in Keras
with the same options over the same inputs: with each value of each option by itself, then with random
combinations of them. Both must give the same facts, or both must refuse. Keras' layer also computes: the
sizes that count are those of what comes out, and whoever cannot compute refuses.
"""

import inspect
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.utils.naming import to_snake_case

from paramctl.errors import DocumentError
from paramctl.kinds import Several
from paramctl.model import build
from paramctl.model.document import parse, parse_value
from paramctl.model.layers import FUNCTIONS, LAYERS, Layer, ShapeError
from paramctl.model.layers.activations import Function, IsActivation
from paramctl.node import Node
from paramctl.options import Option
from tests.interop.cases import Case, cases, choices, known, required
from tests.interop.facts import Facts, Shape, of_keras, of_paramctl

NOT_IN_KERAS = {"residual", "parallel", "reuse", "position_embedding", "halve_while", "reduce_sum", "take"}
IN_KERAS = sorted(LAYERS.keys() - NOT_IN_KERAS)

FAULTS_OF_KERAS = {"layer_normalization": "Given normalized_shape="}
"""What Keras says where it should compute. With torch it takes any adjacent axes for the last ones."""

FORGETS_SIZES = {"add", "average", "maximum", "multiply", "concatenate"}
"""Where one input's size is not known, these report none in Keras; paramctl takes it from the other inputs."""

ALWAYS_IN_KERAS = {("multi_head_attention", "value")}
"""Options that a document may leave out, for the input itself, and a call in Keras may not."""

REFUSALS = (ValueError, TypeError, IndexError, RuntimeError, ZeroDivisionError, AttributeError, NotImplementedError)
BATCH = 2
UNKNOWN = 9  # what a size that is not known is when a layer computes


# Both sides


def by_paramctl(layer: type[Layer], case: Case) -> Facts | str:
    """What paramctl says of a case, or why it refuses."""
    main = [name for name in case.inputs if not name.endswith("_input")]
    entry = {layer.type: case.options | {"name": "subject", "from": main}}
    try:
        model = build(parse(json.dumps({"inputs": case.inputs, "layers": [entry]}), "case"))
    except DocumentError as error:
        return f"refused: {error.rule}"
    return of_paramctl("subject", model.blocks[0].output, list(model.parameters.values()))


def by_keras(layer: type[Layer], case: Case) -> tuple[Facts, list[Shape]] | str:
    """What Keras says of a case and the shapes of what it computes, or why it refuses.

    Sizes that are not known are made up, as the other inputs' and otherwise; no refusal to compute with these counts.
    """
    options, call_options = divided(layer, case)
    try:
        subject = getattr(keras.layers, layer.__name__)(name="subject", **options)
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
            if FAULTS_OF_KERAS.get(layer.type, "no fault") in str(error):
                computed.append(facts.output)
            elif settled:
                return refusal(error)
    return facts, computed


def refusal(error: Exception) -> str:
    return f"refused: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def divided(layer: type[Layer], case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a case that Keras takes when a layer is made, and those that it takes when it is called."""
    at_call = inspect.signature(getattr(keras.layers, layer.__name__).call).parameters
    of_call = {name: "x" for type_name, name in ALWAYS_IN_KERAS if type_name == layer.type}
    of_layer = {}
    for name, value in case.options.items():
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


def agree(layer: type[Layer], ours: Facts | str, theirs: tuple[Facts, list[Shape]] | str) -> bool:
    """Whether both refuse, or both give the same parameters and a shape that holds, known as far as Keras knows it."""
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
    """Whether each size is the computed one, or unknown where Keras reports it unknown; the batch always is."""
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
    """A document's value for Keras: functions with options made, one value that stands for a list put in one."""
    kind = option.kind
    if isinstance(kind, IsActivation) and isinstance(value, dict):
        ((name, options),) = value.items()
        return partial(getattr(keras.activations, name), **options)
    if isinstance(kind, Several) and kind.length is None and value is not None and not isinstance(value, list):
        return [value]
    return value


def channels_first(case: Case) -> Case:
    """The case with its inputs' channels moved to the front, if that is where its layer looks for them."""
    if case.options.get("data_format") != "channels_first":
        return case
    return case._replace(inputs={name: (*shape[-1:], *shape[:-1]) for name, shape in case.inputs.items()})


# Layers


def test_every_layer_is_compared_or_known_not_to_be_in_keras() -> None:
    assert LAYERS.keys() > NOT_IN_KERAS
    assert {name for name, layer in LAYERS.items() if not hasattr(keras.layers, layer.__name__)} == NOT_IN_KERAS


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_type_is_named_as_keras_names_its_class(name: str) -> None:
    assert to_snake_case(LAYERS[name].__name__) == name


@pytest.mark.parametrize("name", IN_KERAS)
def test_layer(name: str) -> None:
    layer = LAYERS[name]
    compared = [channels_first(case) for case in cases(layer)]
    assert len(compared) >= 20
    disagreements = []
    agreed = 0
    for case in compared:
        ours, theirs = by_paramctl(layer, case), by_keras(layer, case)
        if agree(layer, ours, theirs):
            agreed += not isinstance(ours, str)
        else:
            disagreements.append(f"{case}\n    paramctl: {ours}\n    Keras:    {theirs}")
    assert not disagreements, f"{len(disagreements)} of {len(compared)}\n" + "\n".join(disagreements)
    assert agreed >= 10


@pytest.mark.parametrize("name", IN_KERAS)
def test_options_and_defaults(name: str) -> None:
    """Each option is an argument of Keras' layer or of its call, has its default, and stands in its order."""
    layer = LAYERS[name]
    cls = getattr(keras.layers, layer.__name__)
    at_init, at_call = inspect.signature(cls).parameters, inspect.signature(cls.call).parameters
    for option in layer.signature.values():
        argument = at_init.get(option.name) or at_call[option.name]
        if (name, option.name) not in ALWAYS_IN_KERAS:
            assert_same_default(option, argument.default)
    ours = [option for option in layer.signature if option in at_init]
    assert ours == [argument for argument in at_init if argument in ours]


def assert_same_default(option: Option, theirs: Any) -> None:
    assert option.required == (theirs is inspect.Parameter.empty), option.name
    if option.required:
        return
    if option.name == "data_format" and theirs is None:
        theirs = keras.config.image_data_format()
    read = option.read(parse_value(json.dumps(theirs), "Keras"))
    assert comparable(option.default) == comparable(read), option.name


def comparable(value: Any) -> Any:
    """An option's value so that equals are equal: an initializer or a function as Keras understands it."""
    if isinstance(value, Function):
        return value.name, vars(value)
    if isinstance(value, Node):
        initializer = keras.initializers.get(str(value.value))
        return type(initializer), initializer.get_config()
    return value


@pytest.mark.parametrize("name", IN_KERAS)
def test_other_arguments_of_keras_are_refused_by_name(name: str) -> None:
    """An argument of Keras that is no option is said to be unsupported, never taken for a slip of the pen."""
    layer = LAYERS[name]
    arguments = inspect.signature(getattr(keras.layers, layer.__name__)).parameters.values()
    others = [each.name for each in arguments if each.kind is not each.VAR_KEYWORD]
    unexplained = []
    for other in sorted(set(others) - layer.signature.keys() - {"name"}):
        said = by_paramctl(layer, Case({"x": (4,), "y": (4,)}, required(layer.signature) | {other: None}))
        if "this option of Keras is not supported" not in str(said):
            unexplained.append((other, said))
    assert not unexplained


# Activation functions


def test_functions_are_those_of_keras() -> None:
    public = {name for name in dir(keras.activations) if callable(getattr(keras.activations, name))}
    assert FUNCTIONS.keys() == public - {"deserialize", "get", "serialize"}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_function_options_and_defaults(name: str) -> None:
    function = FUNCTIONS[name]
    _, *arguments = inspect.signature(getattr(keras.activations, name)).parameters.values()
    assert list(function.signature) == [argument.name for argument in arguments]
    for argument in arguments:
        assert_same_default(function.signature[argument.name], argument.default)
    assert getattr(keras.activations, name) is getattr(keras.activations, function.name)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_function_shape(name: str) -> None:
    """With each value of each option, what a function gives has Keras' shape, or both refuse."""
    function = FUNCTIONS[name]
    base = required(function.signature)
    given = [base, *(base | {each.name: value} for each in function.signature.values() for value in choices(each))]
    disagreements = []
    for options in given:
        ours, theirs = function_by_paramctl(function, options), function_by_keras(name, options)
        if ours != theirs:
            disagreements.append(f"{options}: paramctl {ours or 'refuses'}, Keras {theirs or 'refuses'}")
    assert not disagreements


def function_by_paramctl(function: type[Function], options: dict[str, Any]) -> Shape | None:
    defaults = {option.name: option.default for option in function.signature.values()}
    try:
        return function(**defaults | options).output((BATCH, 4, 6))
    except ShapeError:
        return None


def function_by_keras(name: str, options: dict[str, Any]) -> Shape | None:
    try:
        return tuple(getattr(keras.activations, name)(np.zeros((BATCH, 4, 6), "float32"), **options).shape)
    except REFUSALS:
        return None
