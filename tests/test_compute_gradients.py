"""The derivative of every function and layer by its input is that of finite differences, in float64."""

from collections.abc import Callable

import numpy as np
import pytest

from paramctl.compute.gradient_space import GRADIENTS, gradient
from paramctl.compute.graph import graph_of
from paramctl.compute.space import NUMPY
from paramctl.core.dtypes import Array
from paramctl.model.layers import FUNCTIONS
from paramctl.model.layers.call import Call
from tests.conftest import model
from tests.test_compute import arrays_for
from tests.test_layers import CASES

STEP = 1e-6
Compute = Callable[[object, Array], Array]


def slope_along(compute: Compute, x: Array, direction: Array) -> float:
    """The derivative along a direction, by autograd."""
    weights = np.random.default_rng(1).random(np.shape(compute(NUMPY, x))) + 0.5
    _, slopes = gradient(lambda arrays: GRADIENTS.sum(weights * compute(GRADIENTS, arrays["x"])), {"x": x})
    assert np.isfinite(slopes["x"]).all()
    return float((slopes["x"] * direction).sum())


def difference_along(compute: Compute, x: Array, direction: Array) -> float:
    """The same by a difference."""
    weights = np.random.default_rng(1).random(np.shape(compute(NUMPY, x))) + 0.5
    above, below = (np.sum(weights * compute(NUMPY, x + sign * STEP * direction)) for sign in (1, -1))
    return float((above - below) / (2 * STEP))


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions(name: str) -> None:
    """Also where exp overflows, and at 0, where pieces of many functions meet."""
    signature = FUNCTIONS[name].signature
    options = {option.name: 0.3 if option.required else option.default for option in signature.values()}
    function = FUNCTIONS[name](**options)
    rng = np.random.default_rng(0)
    for _ in range(3):
        x, direction = rng.standard_normal((2, 3, 4))
        expected = difference_along(function.compute, x, direction)
        assert slope_along(function.compute, x, direction) == pytest.approx(expected, rel=1e-6, abs=1e-7)
    large = 1 if name == "exponential" else 1e6
    slope_along(function.compute, np.array([[0.0, -large, large, 0.0]]), np.ones((1, 4)))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("document", CASES)
def test_layers(document: str, training: bool) -> None:
    """With the same random numbers in each of the calls."""
    built = model(CASES[document][0])
    (step,) = graph_of(built).steps
    if step.layer.categories() is not None:
        pytest.skip("its inputs are integers")
    inputs, arrays = arrays_for(built, "float64")
    held = {name: arrays[path] for name, path in step.parameters.items()}
    first, *others = (inputs[built.inputs[-1 - number].name] for number in step.inputs)
    count = len(others) - len(step.references)
    references = dict(zip(step.references, others[count:], strict=True))

    def compute(xp: object, x: Array) -> Array:
        call = Call(xp, held, training, [None] * (len(others) + 1), np.random.default_rng(0))
        output: Array = step.layer.compute(call, x, *others[:count], **references)
        return output

    direction = np.random.default_rng(2).standard_normal(first.shape)
    expected = difference_along(compute, first, direction)
    assert slope_along(compute, first, direction) == pytest.approx(expected, rel=1e-5, abs=1e-5)
