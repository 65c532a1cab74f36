"""Every activation function that Keras has too is Keras': options, defaults, shapes."""

import inspect
from typing import Any

import keras
import numpy as np
import pytest

from paramctl.model.layers import FUNCTIONS, ShapeError
from paramctl.model.layers.activations import Function
from tests.interop.cases import choices, required
from tests.interop.defaults import assert_same_default
from tests.interop.facts import Shape
from tests.interop.sides import BATCH, REFUSALS


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
