"""Each layer compared with Keras' layer of the same type: options, defaults, shapes, parameters.

The cases are generated from the declared options: each value of each option alone, then random combinations. Each case
builds the layer in a document and in Keras, with the same options and inputs. Both must give the same facts, or both
must refuse. Keras' layer also computes, so the sizes of its actual output count; a case that Keras cannot compute is
refused.
"""

import inspect

import pytest
from keras.src.utils.naming import to_snake_case

from paramctl.model.entry import COMMON_OPTIONS
from paramctl.model.layers import LAYERS
from tests.interop.cases import Case, all_inputs, cases, required
from tests.interop.defaults import assert_same_default
from tests.interop.sides import (
    ALWAYS_IN_KERAS,
    OPTIONS_NOT_IN_KERAS,
    agree,
    by_keras,
    by_paramctl,
    channels_first,
    class_of,
    in_keras,
    matched,
    only_keras_takes,
    refines,
)

NOT_IN_KERAS = {name for name, layer in LAYERS.items() if not layer.in_keras}
IN_KERAS = sorted(LAYERS.keys() - NOT_IN_KERAS)

FEWER_CASES = {"repeat_vector": 15}
"""The number of cases of layers with so few options that they have fewer than 20."""

MOVED_IN_KERAS = {"conv3d_transpose": "data_format"}
"""Options at another position in Keras: only Conv3DTranspose has data_format before output_padding."""


def test_a_layer_says_whether_keras_has_it() -> None:
    assert LAYERS.keys() > NOT_IN_KERAS
    assert {"residual", "class_token"} <= NOT_IN_KERAS
    assert {name for name, layer in LAYERS.items() if in_keras(layer) is None} == NOT_IN_KERAS


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_types_are_keras_class_names_in_snake_case(name: str) -> None:
    assert to_snake_case(LAYERS[name].__name__) == name


@pytest.mark.parametrize("name", IN_KERAS)
def test_layer(name: str) -> None:
    layer = LAYERS[name]
    compared = [channels_first(case) for case in cases(layer)]
    assert len(compared) >= FEWER_CASES.get(name, 20)
    disagreements = []
    agreed = 0
    for full_case in compared:
        case = matched(layer, full_case)
        ours, theirs = by_paramctl(layer, case), by_keras(layer, case)
        if case != full_case and not refines(unmatched := by_paramctl(layer, full_case), ours):
            disagreements.append(f"{full_case}\n    paramctl: {unmatched}\n    matched:  {ours}")
        if only_keras_takes(layer, case):
            theirs = "refused: Keras misreads the option"
        if agree(layer, ours, theirs):
            agreed += not isinstance(ours, str)
        else:
            disagreements.append(f"{case}\n    paramctl: {ours}\n    Keras:    {theirs}")
    assert not disagreements, f"{len(disagreements)} of {len(compared)}\n" + "\n".join(disagreements)
    assert agreed >= 10


@pytest.mark.parametrize("name", IN_KERAS)
def test_options_and_defaults(name: str) -> None:
    """Each option is an argument of Keras' constructor or call, with the same default and in the same order."""
    layer = LAYERS[name]
    cls = class_of(layer)
    at_init, at_call = inspect.signature(cls).parameters, inspect.signature(cls.call).parameters
    options = [option for option in layer.signature.values() if option.name not in OPTIONS_NOT_IN_KERAS]
    for option in options:
        argument = at_init.get(option.name) or at_call[option.name]
        if (name, option.name) not in ALWAYS_IN_KERAS:
            assert_same_default(option, argument.default)
    ours = [option.name for option in options if option.name in at_init and option.name != MOVED_IN_KERAS.get(name)]
    assert ours == [argument for argument in at_init if argument in ours]


@pytest.mark.parametrize("name", MOVED_IN_KERAS)
def test_moved_options_have_another_position_in_keras(name: str) -> None:
    ours, theirs = LAYERS[name].signature, inspect.signature(class_of(LAYERS[name])).parameters
    assert [argument for argument in theirs if argument in ours] != [option for option in ours if option in theirs]


@pytest.mark.parametrize("name", IN_KERAS)
def test_other_arguments_of_keras_are_reported_as_unsupported(name: str) -> None:
    """An argument of Keras that is not an option is reported as unsupported, not as a typo."""
    layer = LAYERS[name]
    arguments = inspect.signature(class_of(layer)).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)  # some versions of Python show *args
    others = [argument.name for argument in arguments if argument.kind not in variadic]
    inputs = next(all_inputs(layer))
    unexplained = []
    for other in sorted(set(others) - layer.signature.keys() - set(COMMON_OPTIONS)):
        result = by_paramctl(layer, Case(inputs, required(layer.signature) | {other: None}))
        if "this option of Keras is not supported" not in str(result):
            unexplained.append((other, result))
    assert not unexplained
