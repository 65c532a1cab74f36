"""Every activation function that Keras has too is Keras': options, defaults, shapes."""

import inspect
from typing import Any

import keras
import numpy as np
import pytest

from paramctl.compute.space import NUMPY
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


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_function_values(name: str) -> None:
    """From where exp underflows to where it overflows, and where pieces of functions meet, with each option's values.

    Keras' sparsemax sums the partial sums of its support, so that its outputs do not sum to 1. Those here do.
    """
    function = FUNCTIONS[name]
    ends = [-1e4, -6, -3, -1, -0.5, 0, 0.5, 1, 2.5, 3, 6, 1e4]
    x = np.concatenate([np.linspace(-120, 120, 604), np.linspace(-4, 4, 600), ends]).astype("float32").astype("float64")
    x = np.random.default_rng(0).permutation(x).reshape(-1, 4)
    base = required(function.signature)
    for each in (None, *function.signature.values()):
        for value in [None] if each is None else choices(each):
            options = base if each is None else base | {each.name: value}
            if function_by_paramctl(function, options) is None:
                continue
            defaults = {option.name: option.default for option in function.signature.values()}
            compute = function(**defaults | options).compute
            array = x.reshape(2, -1, 4) if "axis" in options else x
            ours = compute(NUMPY, array)
            theirs = keras.ops.convert_to_numpy(getattr(keras.activations, name)(array, **options))
            assert theirs.dtype == np.float64
            if name == "sparsemax":
                axis = options.get("axis", -1)
                assert np.allclose(ours.sum(axis=axis), 1)
                assert not np.allclose(theirs.sum(axis=axis), 1)
            else:
                assert np.allclose(ours, theirs, rtol=1e-8, atol=1e-11, equal_nan=True), options
            with np.errstate(over="ignore"):
                single = compute(NUMPY, array.astype("float32"))
                assert single.dtype == np.float32
                assert np.allclose(single, ours.astype("float32"), rtol=1e-5, atol=1e-6, equal_nan=True), options


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
