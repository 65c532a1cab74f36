"""Layers that a document writes as an expression: values, shapes, roles, and what an expression may not say."""

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import paramctl as pc
from paramctl.compute.gradient_space import GRADIENTS, gradient
from paramctl.compute.graph import graph_of
from paramctl.compute.space import NUMPY
from paramctl.errors import DocumentError
from paramctl.model import Model
from paramctl.model.layers import FUNCTIONS, ShapeError
from paramctl.model.layers.array_parser import ARRANGING, ELEMENTWISE, REDUCTIONS
from paramctl.model.layers.call import Call
from tests.conftest import model

W, V, S = np.arange(6.0).reshape(3, 2), np.array([1.0, -1.0, 2.0]), np.array(2.0)
PARAMS = {"w": {"shape": [3, 2], "initializer": "ones"}, "v": [3], "s": []}
X = np.arange(24.0).reshape(2, 4, 3) - 10
Y = X[:, 0] / 4


def built(formula: str, *shapes: Any, params: Any = None) -> Model:
    """A model of one expression, with those of the parameters that it names."""
    used = (
        {name: each for name, each in PARAMS.items() if re.search(rf"\b{name}\b", formula)}
        if params is None
        else params
    )
    inputs = {f"i{place}": shape for place, shape in enumerate(shapes)}
    entry = {"formula": formula, "params": used, "from": list(inputs), "name": "e"}
    return model(json.dumps({"inputs": inputs, "layers": [{"expression": entry}]}))


def computed(formula: str, *inputs: np.ndarray) -> np.ndarray:
    """The output, whose shape is the one that was inferred without arrays, with and without the sizes known."""
    known = built(formula, *(list(each.shape[1:]) for each in inputs))
    unknown = built(formula, *([None] * (each.ndim - 1) for each in inputs)) if "reshape" not in formula else known
    (step,) = graph_of(known).steps
    held = {name: {"w": W, "v": V, "s": S}[name].astype(inputs[0].dtype) for name in step.parameters}
    output = np.asarray(step.layer.compute(Call(NUMPY, held), *inputs))
    assert step.layer.output(*(each.shape for each in inputs)) == output.shape
    for built_model in (known, unknown):
        shape = built_model.blocks[0].output
        assert shape is not None
        assert len(shape) == output.ndim
        assert all(size in (None, actual) for size, actual in zip(shape, output.shape, strict=True))
    return output


VALUES = {
    "relu(x @ w)": np.maximum(X @ W, 0),
    "x * v + s": X * V + 2,
    "-x / (1 + 3)": -X / 4,
    "+x ** 2 - 2 ** -1": X**2 - 0.5,
    "x @ v": X @ V,
    "x @ transpose(x, (0, 2, 1))": X @ X.transpose(0, 2, 1),
    "transpose(w) @ transpose(x, [0, 2, 1])": W.T @ X.transpose(0, 2, 1),
    "x - mean(x, axis=-1, keepdims=True)": X - X.mean(-1, keepdims=True),
    "x - mean(x)": X - X.mean(),
    "sum(x, axis=(1, 2))": X.sum((1, 2)),
    "max(x, 1) - min(x, 1)": X.max(1) - X.min(1),
    "exp(x / 10) + abs(x) + sqrt(x ** 2) + log(x ** 2 + 1)": np.exp(X / 10) + 2 * abs(X) + np.log(X**2 + 1),
    "x[:, 0]": X[:, 0],
    "x[:, 1:3, ::-1]": X[:, 1:3, ::-1],
    "x[..., -1]": X[..., -1],
    "x[:, None] * v": X[:, None] * V,
    "x[1:]": X[1:],
    "w[0] * s + 0 * mean(x)": W[0] * 2,
    "reshape(x, (2, -1))": X.reshape(2, 2, 6),
    "reshape(x, 12)": X.reshape(2, 12),
    "concatenate(x, 2 * x)": np.concatenate([X, 2 * X], -1),
    "concatenate(x, x, x, axis=1)": np.concatenate([X, X, X], 1),
    "leaky_relu(x, negative_slope=0.5)": np.where(X > 0, X, X / 2),
    "softmax(x, -1)[..., 0]": (np.exp(X) / np.exp(X).sum(-1, keepdims=True))[..., 0],
    "threshold(x, 1.0, -7)": np.where(X > 1, X, -7),
}


@pytest.mark.parametrize("formula", VALUES)
def test_values_are_those_of_numpy(formula: str) -> None:
    """In the dtype of the input, and in the shape that the operations on shapes give."""
    assert np.allclose(computed(formula, X), VALUES[formula])
    assert computed(formula, X.astype("f")).dtype == "float32"


def test_several_inputs_are_numbered() -> None:
    assert np.allclose(computed("x1 * x2[:, None] + x3", X, Y, X), X * Y[:, None] + X)


def test_integers_become_floating_point() -> None:
    output = computed("x / 2", np.array([[1, 2, 3]], "int32"))
    assert output.dtype == "float32"
    assert output.tolist() == [[0.5, 1.0, 1.5]]


MIXES = {
    "x * v": False, "x @ w": False, "x[:, 0]": False, "softmax(x)": False, "sum(x, axis=1)": False,
    "x @ transpose(x, (0, 2, 1))": False, "reshape(x, (3, 4))": False, "concatenate(x, x)": False,
    "x - mean(x)": True, "x[0]": True, "x[::-1]": True, "softmax(x, axis=0)": True, "softmax(x, axis=-3)": True,
    "sum(x, axis=(0, 1))": True, "transpose(x)": True, "concatenate(x, x, axis=0)": True,
    "transpose(x[:, 0]) @ x[:, 1]": True, "x[:, 0] @ transpose(x[:, 0])": True, "x[:, 0] @ transpose(x, (0, 2, 1))": True,
}  # fmt: skip


@pytest.mark.parametrize("formula", MIXES)
def test_an_expression_says_whether_it_mixes_examples(formula: str) -> None:
    """Compared with the outputs of the examples one by one: they are equal unless it mixes examples."""
    x = np.random.default_rng(0).random((4, 4, 3))
    (step,) = graph_of(built(formula, [4, 3])).steps
    assert step.mixes_examples is MIXES[formula]
    held = {name: {"w": W, "v": V}[name] for name in step.parameters}
    whole = np.asarray(step.layer.compute(Call(NUMPY, held), x))
    parts = np.concatenate([np.atleast_1d(step.layer.compute(Call(NUMPY, held), x[i : i + 1])) for i in range(4)])
    assert (whole.shape == parts.shape and np.allclose(whole, parts)) is not MIXES[formula]


def test_the_defaults_of_parameters() -> None:
    """The roles of axes follow from matrix products with the input, and the fans from the roles."""
    shapes = {"a": [4, 3], "b": [3, 2], "c": [5, 3], "d": [3]}
    weights = built(
        "concatenate(x @ a @ b, x @ transpose(c)[:4]) + 0 * sum(d)",
        [4],
        params=shapes | {"c": {"shape": [5, 4], "initializer": "ones"}},
    )
    by_name = {path.removeprefix("e/"): each for path, each in weights.parameters.items()}
    assert {name: [axis.role for axis in each.axes] for name, each in by_name.items()} == {
        "a": ["in", "out"], "b": ["in", "out"], "c": ["unknown", "unknown"], "d": ["unknown"],
    }  # fmt: skip
    assert [str(each.initializer.value) for each in by_name.values() if each.path[-1] != "c" and each.initializer] == [
        "glorot_uniform", "glorot_uniform", "zeros",
    ]  # fmt: skip
    assert [each.kind for each in by_name.values()] == ["weight", "weight", "weight", "bias"]
    options = {"shape": [3, 3], "axes": ["out", "in"], "trainable": False, "kind": "norm"}
    (declared,) = built("x * sum(p)", [4], params={"p": options}).parameters.values()
    assert (declared.kind, declared.trainable, declared.fans) == ("norm", False, (3, 3))


def test_macs_count_matrix_products() -> None:
    """For one example; a product of examples with each other has no number."""
    assert [
        pc.summary(built(formula, [4, 3])).layers[0].macs
        for formula in ("x @ w + x @ w", "x @ transpose(x, (0, 2, 1))", "x * 2", "transpose(x[:, 0]) @ x[:, 0]")
    ] == [2 * 4 * 3 * 2, 4 * 4 * 3, 0, None]


def test_a_layer_of_the_book_in_a_model() -> None:
    """D2L's MyLinear: the same numbers as a dense layer with the same arrays, also its gradients."""
    texts = {
        "own": "{expression: {name: l, formula: relu(x @ kernel + bias), params: {kernel: ['${input[-1]}', 3], bias: [3]}}}",
        "dense": "{dense: {name: l, units: 3, activation: relu}}",
    }
    x, y = np.random.default_rng(1).random((2, 8, 4), "f")
    outputs, gradients = {}, {}
    for name, entry in texts.items():
        document = model(f"input: [4]\nlayers: [{entry}, {{dense: 4}}]")
        weights = pc.initialize(document, seed=3)
        outputs[name] = np.asarray(next(iter(pc.run(weights, x).values())))
        gradients[name] = {path: np.asarray(array) for path, array in pc.gradients(weights, {"x": x, "y": y}).items()}
    assert np.array_equal(outputs["own"], outputs["dense"])
    assert gradients["own"].keys() == gradients["dense"].keys()
    assert all(np.allclose(gradients["own"][path], gradients["dense"][path]) for path in gradients["own"])


def test_variables_and_several_lines() -> None:
    """A repeated expression has variables, and a text of several lines is one expression."""
    text = "input: [3]\nvars: {c: 3}\nlayers:\n  - expression: {formula: 'x * ${c} + ${i}', repeat: 2}\n"
    text += "  - expression:\n      formula: |\n        x\n        - 4\n"
    output = next(iter(pc.run(model(text), np.ones((1, 3), "f")).values()))
    assert np.asarray(output).tolist() == [[6.0] * 3]


HEAD = "input: [4, 3]\nlayers:\n  - expression:\n      formula: "
WRONG = {
    "relu(x @ weigth)": "4:25: the expression has no input or parameter of this name (got 'weigth'). Did you mean 'weight'?",
    "'relu(x @ weigth)'": "4:26: the expression has no input or parameter of this name (got 'weigth'). Did you mean 'weight'?",
    "x @ weight + rleu(x)": "4:29: no function has this name (got 'rleu'). Did you mean 'relu'?",
    "x.shape": "4:16: an expression of arrays supports numbers, names, + - * / ** @, indices, and calls of functions (got 'x.shape')",
    "x if x else x": "4:16: an expression of arrays supports numbers, names, + - * / ** @, indices, and calls of functions",
    "mean(x": "indices, and calls of functions (got 'mean(x'). Inside { }, put it in quotes.",
    "x @": "4:16: an expression of arrays supports numbers, names, + - * / ** @, indices, and calls of functions (got 'x @')",
    "'x # + 1'": "an expression of arrays supports",
    "x // 2": "an expression of arrays supports",
    "'(lambda: x)()'": "an expression of arrays supports",
    "x('y')": "no function has this name (got 'x')",
    "__import__('os')": "no function has this name",
    "'[x for x in x]'": "an expression of arrays supports",
    "x + 'text'": "4:20: an expression of arrays supports",
    "x + True": "4:20: an expression of arrays supports",
    "x + 1j": "4:20: an expression of arrays supports",
    "x * (1 / 0)": "4:21: the number must be finite (got '1 / 0')",
    "x * 9 ** 9 ** 9 ** 9": "the number must be finite",
    "x * (-8) ** 0.5": "an expression of arrays supports",
    "x * 1e999": "the number must be finite",
    "exp(2) * x": "exp requires an array (got 'exp(2)')",
    "relu()": "relu requires an array",
    "relu(x, x)": "an option must be a number, a list of numbers, True, False or None (got 'x')",
    "exp(x, 1)": "exp takes one array",
    "mean(x, axes=1)": "mean has no such option, or has it twice: axes (got 'mean(x, axes=1)'). Did you mean 'axis'?",
    "mean(x, 1, axis=1)": "mean has no such option, or has it twice: axis",
    "mean(x, **x)": "mean has no such option",
    "mean(x, axis=1.5)": "axes, sizes and indices must be whole numbers",
    "mean(x, keepdims=1)": "keepdims must be True or False",
    "softmax(x, axis=abc)": "an option must be a number",
    "relu(x, max_value=-1)": "max_value must be a non-negative finite number",
    "reshape(x)": "reshape requires the sizes after the batch axis, of which one may be -1",
    "reshape(x, (-1, -1))": "reshape requires the sizes after the batch axis, of which one may be -1",
    "x[x]": "an option must be a number",
    "x[::0]": "the step of a slice may not be 0",
    "x[..., ...]": "an index may have one ..., and at most 64 items",
    "2[0] * x": "a number has no items",
    "3": "the expression must use its input x",
    "mean(x, axis=3)": "e: mean(x, axis=3): axis 3 is out of range: (None, 4, 3) (got input (None, 4, 3))",
    "x[:, 4]": "x[:, 4]: index 4 is out of range for an axis of size 4: (None, 4, 3)",
    "x[0, 0, 0, 0]": "4 indices are too many for 3 axes",
    "x @ x": "x @ x: the last axis of the first must have the size of the last but one of the second: (None, 4, 3) and (None, 4, 3)",
    "x + x[:, 0]": "the batch is the first axis, so an array may not have more axes than an input",
    "x + x[:, :3]": "x + x[:, :3]: the shapes do not broadcast: (None, 4, 3) and (None, 3, 3)",
    "reshape(x, (5, -1))": "12 values of an example do not fit the shape (5, -1)",
    "transpose(x, (0, 1))": "transpose requires all 3 axes",
    "transpose(x, (0, 1, 1))": "must not repeat",
    "concatenate(x, x[:, :2])": "the sizes must be equal except along axis 2",
    "x1 + x2": "e: the expression must use x, and no other inputs (got input (None, 4, 3))",
    "weight @ transpose(weight)": "weight requires an initializer",
    "sum(x1)": "e: the expression must use x, and no other inputs",
    "-" * 70 + "x": "an expression of arrays may have at most 200 parts, and nest at most 64 deep",
    "max(" + "abs(x)+" * 120 + "x)": "an expression of arrays may have at most 200 parts",
    "(" * 150 + "x" + ")" * 150: "",
    "(" * 250 + "x" + ")" * 250: "an expression of arrays supports",
    "x" + " + x" * 300: "an expression of arrays may have at most 1,000 characters (got 1,201)",
}


@pytest.mark.parametrize("formula", WRONG)
def test_a_mistake_is_named_with_its_place(formula: str) -> None:
    """In one line: the line and the column, the rule, and what was received."""
    params = "      params: {weight: [3, 2]}\n" if "weig" in formula else ""
    text = f"{HEAD}{formula}\n{params}      name: e\n"
    if not WRONG[formula]:
        assert model(text)
        return
    with pytest.raises(DocumentError) as caught:
        model(text)
    assert WRONG[formula] in str(caught.value)
    assert "\n" not in str(caught.value)


PARAMETERS = {
    "{w: [3, 2], v: [3]}": "the expression does not use this parameter (got 'v')",
    "{w: {shape: [3, 2], axes: [in]}}": "axes must have a role for each of the 2 axes",
    "{w: {initializer: zeros}}": "w requires the option 'shape'",
    "{w: [3, 0]}": "shape must be a positive integer or a list of them",
    "{w: {shape: [3, 2], shpe: 1}}": "w has no such option (got 'shpe'). Did you mean 'shape'?",
    "{w: [3, 2], x: [3]}": "a parameter may not have the name of an input",
    "{w: [3, 2], relu: [3]}": "a parameter may not have the name of an input, as x and x1, or of a function",
    "{w: [3, 2], a/b: [3]}": "a parameter's name must have letters, digits and _",
    "{w: [3, 2], __class__: [3]}": "a parameter's name must have letters, digits and _",
    "[w]": "params must be a mapping from names to shapes",
    "{w: ['${input[5]}', 2]}": "the index must be a whole number from -2 to 1 (got 5)",
}


@pytest.mark.parametrize("params", PARAMETERS)
def test_a_mistake_in_the_parameters_is_named(params: str) -> None:
    with pytest.raises(DocumentError) as caught:
        model(f"input: [4, 3]\nlayers: [{{expression: {{formula: x @ w, params: {params}}}}}]")
    assert PARAMETERS[params] in str(caught.value)


def test_axes_whose_roles_are_unknown_require_an_initializer() -> None:
    """Fans are not guessed: glorot_uniform has none here."""
    with pytest.raises(DocumentError, match="p requires an initializer, or axes with the role of each"):
        built("x * p", [4, 3], params={"p": [4, 3]})


def test_a_parameter_may_not_have_the_axis_of_the_batch() -> None:
    with pytest.raises(DocumentError, match="a parameter may not have the axis of the batch; give it the size 1"):
        built("x * p", [3], params={"p": {"shape": [5, 3], "initializer": "ones"}})


def test_a_parameter_is_no_example() -> None:
    """Its first axis is not the batch, so it cannot be beside examples; a transposed batch can, and mixes them."""
    with pytest.raises(DocumentError, match="with the batch as their first axis, or none of them"):
        built("concatenate(x, p)", [3], params={"p": {"shape": [5, 3], "initializer": "ones"}})
    assert np.array_equal(computed("concatenate(x, transpose(transpose(x)))", Y), np.concatenate([Y, Y], 1))


@pytest.mark.parametrize("formula", VALUES)
def test_derivatives_are_those_of_differences(formula: str) -> None:
    """By the input and every parameter, along a direction, in float64; the dtype of float32 is kept."""
    (step,) = graph_of(built(formula, [4, 3])).steps
    rng = np.random.default_rng(0)
    arrays = {"x": X + 0.25} | {name: {"w": W + 0.5, "v": V, "s": S}[name] for name in step.parameters}
    weights = rng.random(step.layer.output(X.shape))

    def total(arrays: Any) -> Any:
        held = {name: array for name, array in arrays.items() if name != "x"}
        return GRADIENTS.sum(step.layer.compute(Call(GRADIENTS, held), arrays["x"]) * weights)

    direction = {name: rng.random(np.shape(array)) for name, array in arrays.items()}
    ahead, behind = (
        total({name: array + sign * 1e-6 * direction[name] for name, array in arrays.items()}) for sign in (1, -1)
    )
    _, slopes = gradient(total, arrays)
    assert sum(np.sum(slopes[name] * direction[name]) for name in arrays) == pytest.approx((ahead - behind) / 2e-6)
    weights = weights.astype("f")
    _, slopes = gradient(total, {name: array.astype("f") for name, array in arrays.items()})
    assert {array.dtype.name for array in slopes.values()} == {"float32"}


def test_no_function_has_two_meanings() -> None:
    assert FUNCTIONS.keys().isdisjoint((*ELEMENTWISE, *REDUCTIONS, *ARRANGING))


words = st.sampled_from(
    ["x", "w", "x1", "2", "-1", "0.5", "1e999", "'a'", "None", "...", ":", "9" * 30, "axis", "x[0]"]
)
grammar = st.recursive(
    words,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "*", "/", "@", "**", "//", ",", "if", "="]), inner).map(" ".join),
        st.tuples(st.sampled_from(["mean", "abs", "glu", "reshape", "transpose", "softmax", "concatenate"]), inner).map(
            lambda call: f"{call[0]}({call[1]})"
        ),
        st.tuples(inner, inner).map(lambda pair: f"{pair[0]}[{pair[1]}]"),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=8,
)


@given(st.one_of(st.text(max_size=40), grammar))
def test_no_text_causes_anything_but_an_error_with_a_place_or_an_output_of_its_shape(text: str) -> None:
    try:
        built_model = built(text, [4, 3])
    except DocumentError as error:
        assert error.place is not None
        return
    (step,) = graph_of(built_model).steps
    try:
        inferred = step.layer.output(X.shape)
    except ShapeError:  # of an index that the size of this batch does not have
        return
    with np.errstate(all="ignore"):
        output = step.layer.compute(Call(NUMPY, dict.fromkeys(step.parameters, W)), X)
    assert np.shape(output) == inferred
    assert output.dtype == X.dtype
