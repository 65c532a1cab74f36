"""Layers over sequences give exact numbers: recurrent layers, their wrappers, and attention."""

from typing import Any

import numpy as np
import pytest

from paramctl.compute.space import DERIVATIVES, NUMPY
from paramctl.model.layers import FUNCTIONS, LAYERS, Layer
from paramctl.model.layers.attending import rotate
from paramctl.model.layers.call import Call, NotComputed
from paramctl.model.layers.wrapping import Wrapped

LINEAR = FUNCTIONS["linear"]()
STEPS = np.array([1, 2, 3], "f").reshape(1, 3, 1)
"""One example of three steps with one feature each."""
GAP = np.array([[True, False, True]])
"""A mask that skips the second step."""


def arrays(**values: Any) -> dict[str, np.ndarray]:
    """Parameters in float32; two underscores are a slash."""
    return {name.replace("__", "/"): np.array(value, "f") for name, value in values.items()}


def applied(layer: Layer, parameters: dict[str, np.ndarray], x: np.ndarray, *masks: Any, **options: Any) -> np.ndarray:
    """The output of a layer, which has the dtype of its input. options: of the call, and references."""
    references = {name: options.pop(name) for name in layer.references if name in options}
    call = Call(NUMPY, parameters, masks=masks, random=np.random.default_rng(0), **options)
    output: np.ndarray = layer.compute(call, x, **references)
    assert output.dtype == x.dtype
    return output


def recurrent(name: str, **options: Any) -> Layer:
    functions = {"activation": LINEAR} | ({} if name == "simple_rnn" else {"recurrent_activation": LINEAR})
    return LAYERS[name](**{"units": 1, "return_sequences": True} | functions | options)


def simple(prefix: str = "simple_rnn_cell/") -> dict[str, np.ndarray]:
    """A cell that gives x + 2 * state + 1."""
    cell = arrays(kernel=[[1]], recurrent_kernel=[[2]], bias=[1])
    return {f"{prefix}{name}": array for name, array in cell.items()}


LSTM = arrays(
    # carry = 1 * carry + x * x, output = 1 * carry
    lstm_cell__kernel=[[1, 0, 1, 0]], lstm_cell__recurrent_kernel=[[0, 0, 0, 0]], lstm_cell__bias=[0, 1, 0, 1]
)  # fmt: skip
GRU = arrays(gru_cell__kernel=[[0, 0, 1]], gru_cell__recurrent_kernel=[[0, 0, 1]])


@pytest.mark.parametrize(
    ("options", "mask", "expected"),
    [
        ({}, None, [2, 7, 18]),
        ({"return_sequences": False}, None, 18),
        ({"go_backwards": True}, None, [4, 11, 24]),
        ({}, GAP, [2, 2, 8]),
        ({"go_backwards": True}, GAP, [4, 4, 10]),
        ({"return_sequences": False}, ~GAP, 3),
        ({"return_sequences": False}, np.zeros((1, 3), bool), 0),
        ({"use_bias": False}, None, [1, 4, 11]),
    ],
)
def test_simple_rnn(options: dict[str, Any], mask: Any, expected: Any) -> None:
    """A masked step keeps the state, and repeats the output."""
    layer = recurrent("simple_rnn", **options)
    output = applied(layer, simple(), STEPS, mask)
    assert np.array_equal(output.reshape(np.shape(expected)), expected)
    call = Call(NUMPY, {}, masks=[mask])
    assert layer.output_mask(call, STEPS) is (None if options.get("return_sequences") is False else mask)


def test_lstm() -> None:
    layer = recurrent("lstm")
    assert applied(layer, LSTM, STEPS).ravel().tolist() == [1, 5, 14]
    assert applied(layer, LSTM, STEPS, GAP).ravel().tolist() == [1, 1, 10]


def test_lstm_applies_its_functions() -> None:
    """carry = sigmoid(1) * tanh(x), then the same plus sigmoid(1) * carry; output = sigmoid(1) * tanh(carry)."""
    parameters = LSTM | arrays(lstm_cell__kernel=[[0, 0, 1, 0]], lstm_cell__bias=[1, 1, 0, 1])
    gate = 1 / (1 + np.exp(-1))
    carry = gate * np.tanh(STEPS[0, 0, 0])
    expected = [gate * np.tanh(carry)]
    carry = gate * carry + gate * np.tanh(STEPS[0, 1, 0])
    expected.append(gate * np.tanh(carry))
    layer = LAYERS["lstm"](units=1, return_sequences=True)
    assert np.allclose(applied(layer, parameters, STEPS[:, :2]).ravel(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "bias", "expected"),
    [
        # x + 2 * (state + 1)
        ({}, [[0, 2, 0], [0, 0, 1]], [3, 10, 25]),
        # x + (2 * state)
        ({"reset_after": False}, [0, 2, 0], [1, 4, 11]),
        # half of the state, and half of x + 0 * state
        ({"reset_after": False}, [0.5, 0, 0], [0.5, 1.25, 2.125]),
        ({}, [[0.25, 0, 0], [0.25, 0, 0]], [0.5, 1.25, 2.125]),
        ({"use_bias": False}, None, [1, 2, 3]),
    ],
)
def test_gru(options: dict[str, Any], bias: Any, expected: list[float]) -> None:
    """With reset_after, the reset gate applies to the product with the state and its bias."""
    parameters = GRU if bias is None else GRU | arrays(gru_cell__bias=bias)
    assert applied(recurrent("gru", **options), parameters, STEPS).ravel().tolist() == expected


@pytest.mark.parametrize("name", ["simple_rnn", "lstm", "gru"])
def test_a_recurrent_layer_needs_steps_and_a_mask_of_steps(name: str) -> None:
    layer = recurrent(name)
    with pytest.raises(NotComputed, match="at least one step"):
        applied(layer, {}, STEPS[:, :0])
    with pytest.raises(NotComputed, match=r"a mask must have the axes \(batch, steps\) of its input"):
        applied(layer, {}, STEPS, np.ones((1, 3, 1), bool))
    with pytest.raises(NotComputed, match=r"got \(1, 2\) for \(1, 3, 1\)"):
        applied(layer, {}, STEPS, np.ones((1, 2), bool))


def test_dropout_in_a_cell_is_the_same_at_each_step() -> None:
    """As in Keras; a step gives 2 for a kept value and 0 for another."""
    units = 200
    parameters = arrays(simple_rnn_cell__kernel=np.eye(units), simple_rnn_cell__recurrent_kernel=np.zeros((units,) * 2))
    layer = recurrent("simple_rnn", units=units, use_bias=False, dropout=0.5)
    x = np.ones((2, 3, units), "f")
    output = applied(layer, parameters, x, training=True)
    assert set(np.unique(output)) == {0, 2}
    assert 0.4 < np.mean(output == 0) < 0.6
    assert np.array_equal(output, np.broadcast_to(output[:, :1], output.shape))
    assert not np.array_equal(output[0], output[1])
    assert np.array_equal(applied(layer, parameters, x), x)


@pytest.mark.parametrize("name", ["simple_rnn", "lstm", "gru"])
def test_recurrent_dropout_drops_the_state_alone(name: str) -> None:
    """At a rate near 1, every step is as the first one of a sequence; Keras takes a rate of 1 for none with gates."""
    rng = np.random.default_rng(1)
    layer = LAYERS[name](units=2, return_sequences=True, recurrent_dropout=1 - 1e-9, use_bias=False)
    cell, gates = f"{name}_cell", {"simple_rnn": 1, "lstm": 4, "gru": 3}[name]
    parameters = {f"{cell}/{kind}": rng.random((2, 2 * gates), "f") for kind in ("kernel", "recurrent_kernel")}
    x = rng.random((1, 1, 2), "f").repeat(2, axis=1)
    states = {**parameters, f"{cell}/recurrent_kernel": np.zeros_like(parameters[f"{cell}/recurrent_kernel"])}
    assert np.allclose(applied(layer, parameters, x, training=True), applied(layer, states, x), rtol=1e-5)
    assert not np.allclose(applied(layer, parameters, x), applied(layer, states, x), rtol=1e-5)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("concat", [[2, 24], [7, 11], [18, 4]]),
        ("sum", [26, 18, 22]),
        ("ave", [13, 9, 11]),
        ("mul", [48, 77, 72]),
    ],
)
def test_bidirectional(mode: str, expected: list[Any]) -> None:
    parameters = simple("forward_r/simple_rnn_cell/") | simple("backward_r/simple_rnn_cell/")
    layer = LAYERS["bidirectional"](layer=Wrapped("r", recurrent("simple_rnn")), merge_mode=mode)
    assert np.array_equal(applied(layer, parameters, STEPS)[0].squeeze(), expected)
    last = LAYERS["bidirectional"](
        layer=Wrapped("r", recurrent("simple_rnn", return_sequences=False)), merge_mode="concat"
    )
    assert applied(last, parameters, STEPS).tolist() == [[18, 24]]


def test_bidirectional_gives_zeros_at_masked_steps() -> None:
    """As in Keras, where a recurrent layer alone repeats its output."""
    parameters = simple("forward_r/simple_rnn_cell/") | simple("backward_r/simple_rnn_cell/")
    layer = LAYERS["bidirectional"](layer=Wrapped("r", recurrent("simple_rnn")))
    assert applied(layer, parameters, STEPS, GAP)[0].tolist() == [[2, 10], [0, 0], [8, 4]]


def test_time_distributed() -> None:
    dense = LAYERS["dense"](units=1)
    layer = LAYERS["time_distributed"](layer=Wrapped("d", dense))
    output = applied(layer, arrays(d__kernel=[[2]], d__bias=[1]), STEPS, GAP)
    assert output.tolist() == [[[3], [5], [7]]]
    inner = LAYERS["time_distributed"](layer=Wrapped("r", recurrent("simple_rnn")))
    batch = np.concatenate([STEPS, STEPS + 1])[:, None]
    mask = np.array([[[True, False, True]], [[True, True, True]]])
    output = applied(inner, simple("r/simple_rnn_cell/"), batch, mask)
    assert output.reshape(2, 3).tolist() == [[2, 2, 8], [3, 10, 25]]


def test_time_distributed_normalizes_each_step_of_a_batch() -> None:
    """In training, as Keras: by the statistics of each step, which the moving averages take one after another."""
    inner = LAYERS["batch_normalization"](momentum=0.5, epsilon=1e-12)
    layer = LAYERS["time_distributed"](layer=Wrapped("n", inner))
    parameters = arrays(n__gamma=[1], n__beta=[0], n__moving_mean=[0], n__moving_variance=[1])
    x = np.array([[0, 4], [2, 8]], "f")[..., None]
    call = Call(NUMPY, parameters, training=True)
    assert np.allclose(layer.compute(call, x)[..., 0], [[-1, -1], [1, 1]])
    assert {name: value.tolist() for name, value in call.updates.items()} == {
        "n/moving_mean": [3.25],
        "n/moving_variance": [2.5],
    }


# Attention: with queries of 0, each query has the mean of the values that it attends to


def attention(features: int = 1, **options: Any) -> tuple[Layer, dict[str, np.ndarray]]:
    zeros, one = np.zeros((features, 1, 1)), np.eye(features, 1)[:, None]
    parameters = arrays(query__kernel=zeros, key__kernel=one, value__kernel=one, attention_output__kernel=[[[1]]])
    return LAYERS["multi_head_attention"](**{"num_heads": 1, "key_dim": 1, "use_bias": False} | options), parameters


@pytest.mark.parametrize(
    ("options", "masks", "expected"),
    [
        ({}, [], [3, 3, 3]),
        ({"use_causal_mask": True}, [], [1, 2, 3]),
        ({"sliding_window": 1}, [], [1, 3, 5]),
        ({"sliding_window": 2}, [], [2, 3, 4]),
        ({"sliding_window": 2, "use_causal_mask": True}, [], [1, 2, 4]),
        # a masked query attends to no key, and so to all of them in Keras' fused kernel, which dropout switches off
        ({}, [[[True, True, False]]], [2, 2, 3]),
        ({"dropout": 0.5}, [[[True, True, False]]], [2, 2, 0]),
        ({"use_causal_mask": True}, [[[False, True, True]]], [3, 3, 4]),
    ],
)
def test_attention_attends_to_what_the_masks_leave(options: Any, masks: list[Any], expected: list[float]) -> None:
    layer, parameters = attention(**options)
    x = np.array([1, 3, 5], "f").reshape(1, 3, 1)
    output = applied(layer, parameters, x, *map(np.array, masks))
    assert np.allclose(output.ravel(), expected, rtol=1e-6)


def test_attention_to_other_outputs() -> None:
    """Masks of value and key apply both, and the mask of the query to its own positions."""
    layer, parameters = attention(value="v", key="k", dropout=0.5)
    x, value = np.zeros((1, 2, 1), "f"), np.array([2, 4, 12], "f").reshape(1, 3, 1)
    assert np.allclose(applied(layer, parameters, x, value=value).ravel(), [6, 6])
    masks = [np.array([[True, False]]), np.array([[True, True, False]]), np.array([[True, False, True]])]
    assert applied(layer, parameters, x, *masks, value=value, key=value).ravel().tolist() == [2, 0]
    assert applied(layer, parameters, x, None, masks[1], value=value).ravel().tolist() == [3, 3]


def test_attention_weights_are_a_softmax_of_scaled_products() -> None:
    """Large scores do not overflow; key_dim 4 scales by 1/2."""
    x = np.array([[[1], [2]]], "f")
    layer = LAYERS["multi_head_attention"](num_heads=1, key_dim=4, value_dim=1, use_bias=False)
    kernels = {"query/kernel": np.full((1, 1, 4), 1e4, "f"), "key/kernel": np.ones((1, 1, 4), "f")}
    parameters = kernels | arrays(value__kernel=[[[1]]], attention_output__kernel=[[[1]]])
    assert applied(layer, parameters, x).ravel().tolist() == [2, 2]
    parameters["query/kernel"] = np.full((1, 1, 4), 0.25, "f")
    weight = 1 / (1 + np.exp(-0.5))  # the scores of the first query are 0.5 and 1
    assert np.allclose(applied(layer, parameters, x).ravel()[0], 1 + weight, rtol=1e-6)


def test_groups_of_query_heads_share_a_head_of_keys_and_values() -> None:
    layer = LAYERS["grouped_query_attention"](head_dim=1, num_query_heads=4, num_key_value_heads=2, use_bias=False)
    value = np.zeros((4, 2, 1))
    value[0, :, 0] = 1, 10  # of the first feature
    parameters = arrays(
        query__kernel=np.zeros((4, 4, 1)),
        key__kernel=np.ones((4, 2, 1)),
        value__kernel=value,
        attention_output__kernel=np.eye(4)[:, None],
    )
    x = np.arange(8, dtype="f").reshape(1, 2, 4)
    assert applied(layer, parameters, x).tolist() == [[[2, 2, 20, 20]] * 2]


def test_attention_axes() -> None:
    """Positions along the attended axes are one sequence; with the others the values stay apart."""
    x = np.arange(1, 7, dtype="f").reshape(1, 2, 3, 1)
    for axes, expected in {
        (1,): [[2.5, 3.5, 4.5]] * 2,
        (2,): [[2] * 3, [5] * 3],
        (1, 2): [[3.5] * 3] * 2,
        None: [[3.5] * 3] * 2,
    }.items():
        layer, parameters = attention(attention_axes=axes)
        assert np.allclose(applied(layer, parameters, x)[0, ..., 0], expected)
    layer, parameters = attention(attention_axes=(2,))
    with pytest.raises(NotComputed, match="at least one position"):
        applied(layer, parameters, x[:, :, :0])
    with pytest.raises(NotComputed, match="must have the sizes of the input"):
        applied(LAYERS["multi_head_attention"](num_heads=1, key_dim=1, value="v"), parameters, STEPS, value=x)
    with pytest.raises(NotComputed, match="requires attention_axes: 1"):
        applied(layer, parameters, x, np.ones((1, 2), bool))
    with pytest.raises(NotComputed, match=r"a mask must have the axes \(batch, steps\) of its input"):
        applied(layer, parameters, x, np.ones((1, 2, 3), bool))


def test_rotation() -> None:
    """A vector turns by its position, so products depend only on distances."""
    turned = rotate(NUMPY, np.array([[1, 0]] * 4, "f"), 10000)
    assert turned.dtype == np.float32
    assert np.allclose(turned, [[np.cos(position), np.sin(position)] for position in range(4)], atol=1e-6)
    x = np.random.default_rng(0).random((1, 4))
    turned = rotate(NUMPY, x.repeat(6, axis=0), 100)
    products = turned @ turned.T
    assert np.allclose(products[0, 1:5], products[1, 2:6])
    # the second pair of four values turns by 100^(-1/2) of a radian a position
    assert np.allclose(turned[1, 1], x[0, 1] * np.cos(0.1) - x[0, 3] * np.sin(0.1))


def test_attention_with_rotation_needs_pairs() -> None:
    layer, parameters = attention(rope_theta=100)
    with pytest.raises(NotComputed, match=r"rope_theta requires keys of an even size \(got 1\)"):
        applied(layer, parameters, STEPS)
    with pytest.raises(
        NotComputed, match=r"rope_theta requires that one axis is attended to \(got the axes \[1, 2\]\)"
    ):
        applied(layer, parameters, STEPS[..., None])


def test_linear_keeps_float32_and_is_one_product() -> None:
    x, kernel, bias = np.ones((2, 3, 4), "f"), np.ones((4, 5), "f"), np.ones(5, "f")
    assert NUMPY.linear(x, kernel, bias).tolist() == np.full((2, 3, 5), 5).tolist()
    assert NUMPY.linear(x.astype(int), kernel).dtype == np.float32
    assert bias.tolist() == [1] * 5


def difference(name: str, arguments: list[np.ndarray], number: int, vector: np.ndarray) -> np.ndarray:
    """The product of a vector with the derivative by one argument, by central differences in float64."""
    operation, step = getattr(NUMPY, name), 1e-6
    x = arguments[number]
    result = np.empty_like(x)
    for index in np.ndindex(x.shape):
        sides = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            sides.append(operation(*arguments[:number], moved, *arguments[number + 1 :]))
        result[index] = np.sum((sides[0] - sides[1]) * vector) / (2 * step)
    return result


def test_lstm_skips_masked_steps() -> None:
    """The others give what they give alone, and a masked one repeats the output before it, 0 before the first."""
    rng = np.random.default_rng(0)
    inputs, kernel = rng.standard_normal((5, 1, 8)), rng.standard_normal((2, 8))
    kept = np.array([False, True, False, True, False])
    output = NUMPY.lstm(inputs, kernel, kept.reshape(5, 1, 1))
    assert np.array_equal(output[kept], NUMPY.lstm(inputs[kept], kernel))
    assert np.array_equal(output[[0, 2, 4]], [np.zeros((1, 2)), output[1], output[3]])


SKIP = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], bool)[..., None]


@pytest.mark.parametrize(
    ("name", "shapes", "more"),
    [
        ("linear", [(2, 3, 4), (4, 5), (5,)], []),
        ("lstm", [(4, 2, 12), (3, 12)], []),
        ("lstm", [(4, 2, 12), (3, 12)], [SKIP]),
    ],
)
def test_derivatives(name: str, shapes: list[tuple[int, ...]], more: list[np.ndarray]) -> None:
    """Products with the derivatives are those of central differences."""
    rng = np.random.default_rng(0)
    arguments = [*(rng.standard_normal(shape) for shape in shapes), *more]
    output = getattr(NUMPY, name)(*arguments)
    vector = rng.standard_normal(output.shape)
    assert len(DERIVATIVES[name]) == len(shapes)
    for number, product in enumerate(DERIVATIVES[name]):
        expected = difference(name, arguments, number, vector)
        assert np.allclose(product(output, *arguments)(vector), expected, rtol=1e-5, atol=1e-7)
