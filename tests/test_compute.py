"""The outputs of layers: exact small numbers, stable large ones, dtypes, masks and noise.

tests/interop/test_forward.py compares every option of every layer with Keras.
"""

import json
import math
from typing import Any

import numpy as np
import pytest

import paramctl as pc
from paramctl.compute.graph import graph_of
from paramctl.compute.space import NUMPY
from paramctl.model import Model
from paramctl.model.layers import FUNCTIONS, Layer
from paramctl.model.layers.call import Call, NotComputed
from tests.conftest import model
from tests.test_layers import CASES

FULL = np.array([[[1.0, -2.0], [0.0, 0.0], [3.0, 4.0]]])
"""One example of three steps, the second of zeros."""


def layer_of(entry: Any, *shapes: list[int | None]) -> Layer:
    """The layer of an entry in a document, on inputs of these shapes."""
    inputs = dict(zip("xyz", shapes, strict=False))
    ((name, options),) = ({entry: {}} if isinstance(entry, str) else entry).items()
    layers = [{name: options | {"from": list(inputs)}}]
    (block,) = model(json.dumps({"inputs": inputs, "layers": layers})).blocks
    assert block.layer is not None
    return block.layer


def computed(entry: Any, *inputs: Any, parameters: dict[str, Any] | None = None, **options: Any) -> np.ndarray:
    arrays = [np.asarray(array) for array in inputs]
    layer = layer_of(entry, *(list(array.shape[1:]) for array in arrays))
    held = {name: np.asarray(value) for name, value in (parameters or {}).items()}
    return np.asarray(layer.compute(Call(NUMPY, held, **options), *arrays))


def mask_after(entry: Any, *inputs: Any, masks: list[Any]) -> Any:
    arrays = [np.asarray(array) for array in inputs]
    layer = layer_of(entry, *(list(array.shape[1:]) for array in arrays))
    mask = layer.output_mask(Call(NUMPY, {}, masks=[None if m is None else np.asarray(m) for m in masks]), *arrays)
    return None if mask is None else mask.tolist()


# Dtypes


def arrays_for(built: Model, dtype: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs and parameters of a model: positive numbers, and valid integers where a layer looks them up."""
    rng = np.random.default_rng(0)
    lookup = any(step.layer.categories() is not None for step in graph_of(built).steps)
    shapes = {each.name: (2, *(size or 3 for size in each.shape[1:])) for each in built.inputs if each.shape}
    inputs = {
        name: (rng.integers(0, 2, shape) if lookup else rng.random(shape)).astype(dtype)
        for name, shape in shapes.items()
    }
    return inputs, {path: rng.random(each.shape).astype(dtype) for path, each in built.parameters.items()}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("document", CASES)
def test_the_dtype_of_the_input_is_kept(document: str, training: bool) -> None:
    """Python's numbers have no dtype of their own, but NumPy's have: float32 stays float32 in every layer."""
    built = model(CASES[document][0])
    (step,) = graph_of(built).steps
    for dtype in ("float32", "float64"):
        inputs, arrays = arrays_for(built, dtype)
        held = {name: arrays[path] for name, path in step.parameters.items()}
        values = [inputs[built.inputs[-1 - number].name] for number in step.inputs]
        count = len(values) - len(step.references)
        references = dict(zip(step.references, values[count:], strict=True))
        call = Call(NUMPY, held, training, [None] * len(values), np.random.default_rng(0))
        output = step.layer.compute(call, *values[:count], **references)
        assert output.dtype == dtype
        assert all(value.dtype == dtype for value in call.updates.values())


# Functions


@pytest.mark.parametrize(("dtype", "most"), [("float32", 3e-7), ("float64", 1e-15)])
def test_the_error_function_is_that_of_the_c_library(dtype: str, most: float) -> None:
    """Over every piece of its approximation, at their ends, and at infinity."""
    ends = [0.46875, 4, 6, 1e-300, 1e30, np.inf, 0.0]
    x = np.concatenate([np.linspace(-7, 7, 40001), np.geomspace(1e-30, 1, 100), ends]).astype(dtype)
    x = np.concatenate([x, -x])
    expected = np.array([math.erf(value) for value in x.tolist()])
    result = NUMPY.erf(x)
    assert result.dtype == dtype
    assert np.all(np.abs(result - expected) <= most * np.abs(expected))
    assert np.isnan(NUMPY.erf(np.array([np.nan], dtype)))
    assert NUMPY.erf(np.zeros((0, 3), dtype)).shape == (0, 3)
    assert NUMPY.gelu(np.array([-1e30, -1e4, 1e4], dtype)).tolist() == [0, 0, 1e4]


VALUES: dict[str, tuple[Any, list[float], list[float]]] = {
    "threshold": ({"relu": {"threshold": 1, "negative_slope": 0.5, "max_value": 3}}, [0, 1, 2, 9], [-0.5, 0, 2, 3]),
    "relu6": ("relu6", [-1, 5, 7], [0, 5, 6]),
    "leaky_relu": ("leaky_relu", [-5, 0, 5], [-1, 0, 5]),
    "hard_sigmoid": ("hard_sigmoid", [-4, 0, 1.5, 4], [0, 0.5, 0.75, 1]),
    "glu": ("glu", [3, 4, 0, 0], [1.5, 2]),
    "softmax": ("softmax", [0, 0, 1e4, 1e4], [0, 0, 0.5, 0.5]),
    "log_softmax": ("log_softmax", [-1e4, 0], [-1e4, 0]),
    "sparsemax": ("sparsemax", [1e8, 0, 1e8], [0.5, 0, 0.5]),
    "sparsemax of a point of the simplex": ("sparsemax", [0.25, 0.125, 0.625], [0.25, 0.125, 0.625]),
    "sparse_plus": ("sparse_plus", [-2, 0, 1, 3], [0, 0.25, 1, 3]),
    "sparse_sigmoid": ("sparse_sigmoid", [-2, 0, 2], [0, 0.5, 1]),
    "softplus": ("softplus", [-1e4, 1e4], [0, 1e4]),
    "sigmoid": ("sigmoid", [-1e4, 0, 1e4], [0, 0.5, 1]),
    "log_sigmoid": ("log_sigmoid", [-1e4, 1e4], [-1e4, 0]),
    "squareplus": ({"squareplus": {"b": 0}}, [-3, 3], [0, 3]),
    "hard_shrink": ("hard_shrink", [-1, -0.5, 0.25, 2], [-1, 0, 0, 2]),
    "soft_shrink": ("soft_shrink", [-1, -0.5, 0.25, 2], [-0.5, 0, 0, 1.5]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", VALUES)
def test_functions_of_small_and_of_large_values(case: str) -> None:
    function, x, expected = VALUES[case]
    assert computed({"activation": {"activation": function}}, [x]).tolist() == [expected]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_no_function_hides_that_a_value_is_not_a_number(name: str) -> None:
    options = {"threshold": 1, "default_value": 2} if name == "threshold" else {}
    x = np.array([[np.nan, np.nan]])
    with np.errstate(all="ignore"):
        assert np.isnan(computed({"activation": {"activation": {name: options}}}, x)).all()


# Layers that Keras lacks, and what Keras refuses


def test_positions_and_tokens_are_added() -> None:
    table = [[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]]
    x = [[[1.0, 2.0], [3.0, 4.0]]]
    positions = computed({"position_embedding": {"sequence_length": 3}}, x, parameters={"embeddings": table})
    assert positions.tolist() == [[[11, 22], [33, 44]]]
    assert computed("class_token", x, parameters={"embeddings": table[:1]}).tolist() == [[[10, 20], [1, 2], [3, 4]]]
    assert mask_after("class_token", x, masks=[[[True, False]]]) == [[True, True, False]]


def test_the_sum_of_absolute_values_is_halved_until_it_fits() -> None:
    """D2L's FancyMLP: 10 becomes 5, 2.5, 1.25 and 0.625; 1 stays."""
    assert computed("halve_while", [[-6.0], [4.0]]).tolist() == [[-0.375], [0.25]]
    assert computed("halve_while", [[-0.5], [0.5]]).tolist() == [[-0.5], [0.5]]
    assert computed({"halve_while": {"limit": 5}}, [[-6.0], [4.0]]).tolist() == [[-3], [2]]
    with pytest.raises(NotComputed, match=r"must be finite: half of an infinity is infinite \(got an infinity\)"):
        computed("halve_while", [[np.inf], [1.0]])
    assert computed("reduce_sum", [[1.0, 2.0], [3.0, 4.0]]).tolist() == 10


def test_a_step_is_taken_without_its_axis() -> None:
    x = [[[1, 2, 3], [4, 5, 6]]]
    assert computed({"take": {"index": -1}}, x).tolist() == [[4, 5, 6]]
    assert computed({"take": {"index": 0, "axis": 2}}, x).tolist() == [[1, 4]]
    assert mask_after({"take": {"index": 0}}, x, masks=[[[True, False]]]) is None
    assert mask_after({"take": {"index": 0, "axis": -1}}, x, masks=[[[True, False]]]) == [[True, False]]


@pytest.mark.parametrize("bad", [3, -1, 1.5, math.nan, math.inf, 1e30])
def test_an_index_without_a_row_is_refused(bad: float) -> None:
    """NumPy would take the last row for -1, and cut 1.5 to 1."""
    entry = {"embedding": {"input_dim": 3, "output_dim": 2, "mask_zero": True}}
    table = {"embeddings": np.arange(6.0).reshape(3, 2)}
    for x in ([[0, 2]], [[0.0, 2.0]]):
        assert computed(entry, x, parameters=table).tolist() == [[[0, 1], [4, 5]]]
        assert mask_after(entry, x, masks=[None]) == [[False, True]]
    with np.errstate(invalid="ignore"), pytest.raises(NotComputed) as error:
        computed(entry, [[0, bad, 1]], parameters=table)
    assert str(error.value) == f"the input must have whole numbers from 0 to 2 (got {bad})"


def test_a_layer_says_how_many_integers_it_looks_up() -> None:
    embedding = {"embedding": {"input_dim": 7, "output_dim": 2}}
    assert layer_of(embedding, [4]).categories() == 7
    assert layer_of({"time_distributed": {"layer": embedding}}, [3, 4]).categories() == 7
    assert layer_of("flatten", [4]).categories() is None


def test_interpolation_weighs_the_values_around() -> None:
    """The values that Keras computes with TensorFlow 2.21: half of a triangle, and a Lanczos window."""
    x = np.array([0.0, 4.0, 0.0, 0.0]).reshape(1, 4, 1, 1)
    expected = {
        "bilinear": [0, 1, 3, 3, 1, 0, 0, 0],
        "lanczos3": [-0.6751432, 0.9826679, 3.3669801, 3.7101793, 1.1262667, -0.5026298, -0.2465539, 0.1525429],
    }
    for interpolation, values in expected.items():
        entry = {"up_sampling2d": {"size": [2, 1], "interpolation": interpolation}}
        assert np.allclose(computed(entry, x).reshape(-1), values, rtol=1e-6)
        entry["up_sampling2d"]["data_format"] = "channels_first"
        assert np.allclose(computed(entry, x.reshape(1, 1, 4, 1)).reshape(-1), values, rtol=1e-6)
    with pytest.raises(NotComputed, match="bicubic has other values in torch"):
        computed({"up_sampling2d": {"interpolation": "bicubic"}}, x)


# Masks


def test_masked_steps_are_zero() -> None:
    assert computed("masking", FULL).tolist() == FULL.tolist()
    assert mask_after("masking", FULL, masks=[None]) == [[True, False, True]]
    masked = computed({"masking": {"mask_value": -2}}, [[[-2.0, -2.0], [-2.0, 1.0]]])
    assert masked.tolist() == [[[0, 0], [-2, 1]]]


def test_masks_of_merged_inputs() -> None:
    """A step is masked where it is in all inputs; concatenated steps keep theirs."""
    one, other = [[True, False, False]], [[True, True, False]]
    for name in ("add", "average", "maximum", "minimum", "subtract", "multiply"):
        assert mask_after(name, FULL, FULL, masks=[one, other]) == [[True, True, False]]
        assert mask_after(name, FULL, FULL, masks=[one, None]) is None
    steps = {"concatenate": {"axis": 1}}
    assert mask_after(steps, FULL, FULL, masks=[one, None]) == [[True, False, False, True, True, True]]
    assert mask_after("concatenate", FULL, FULL, masks=[one, other]) == [[True, True, False]]
    assert mask_after({"dot": {"axes": 2}}, FULL, FULL, masks=[one, other]) is None
    assert mask_after("flatten", FULL, masks=[one]) is None
    product = computed("multiply", FULL, FULL + 1, masks=[np.array(one), np.array(other)])
    assert product.tolist() == [[[2, 2], [1, 1], [0, 0]]]


def test_masked_values_have_no_share_of_a_softmax() -> None:
    mask = np.array([[True, False, True]])
    assert computed("softmax", [[0.0, 9.0, 0.0]], masks=[mask]).tolist() == [[0.5, 0, 0.5]]
    with pytest.raises(
        NotComputed, match=r"the mask of the input must have .* \(got the mask \(1, 3\) for \(1, 3, 2\)"
    ):
        computed("softmax", FULL, masks=[mask])


# Training


def test_a_batch_is_normalized_by_its_own_statistics() -> None:
    """In training, with moving averages; by these otherwise."""
    entry = {"batch_normalization": {"momentum": 0.75, "epsilon": 1}}
    layer = layer_of(entry, [1])
    arrays = {"gamma": 2.0, "beta": 10.0, "moving_mean": 4.0, "moving_variance": 8.0}
    held = {name: np.array([value]) for name, value in arrays.items()}
    x = np.array([[0.0], [np.sqrt(12)], [0.0], [np.sqrt(12)]])  # mean sqrt(3), variance 3
    call = Call(NUMPY, held, training=True)
    assert np.allclose(layer.compute(call, x), 10 + 2 * (x - np.sqrt(3)) / 2)
    assert np.allclose(call.updates["moving_mean"], 0.75 * 4 + 0.25 * np.sqrt(3))
    assert np.allclose(call.updates["moving_variance"], 0.75 * 8 + 0.25 * 3)
    for call in (Call(NUMPY, held), Call(NUMPY, held, training=True, trainable=False)):
        assert np.allclose(layer.compute(call, x), 10 + 2 * (x - 4) / 3)
        assert not call.updates


def test_a_mean_far_from_0_costs_no_precision() -> None:
    """gamma * x - gamma * mean would be wrong in the third digit."""
    x = np.float32(1e4) + np.arange(8, dtype="float32").reshape(8, 1) / 1024
    held = {"moving_mean": np.array([1e4], "float32"), "moving_variance": np.array([1e-6], "float32")}
    entry = {"batch_normalization": {"scale": False, "center": False, "epsilon": 1e-12}}
    assert np.allclose(computed(entry, x, parameters=held)[:, 0], np.arange(8) / 1.024, rtol=1e-5)


NOISE: dict[str, Any] = {
    "dropout": {"rate": 0.25},
    "spatial_dropout1d": {"rate": 0.25},
    "alpha_dropout": {"rate": 0.25},
    "gaussian_dropout": {"rate": 0.25},
    "gaussian_noise": {"stddev": 0.5},
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_in_training_keeps_mean_and_has_its_variance(name: str) -> None:
    """Dropped values are 0, or in alpha_dropout the value that keeps mean 0 and variance 1. Otherwise nothing changes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 30, 20)) if name == "alpha_dropout" else np.full((400, 30, 20), 3.0)
    entry = {name: NOISE[name]}
    assert np.array_equal(computed(entry, x), x)
    noisy = computed(entry, x, training=True, random=rng)
    assert abs(noisy.mean() - x.mean()) < 0.05
    expected = {"alpha_dropout": 1, "gaussian_noise": 0.25}.get(name, 9 * 0.25 / 0.75)
    assert abs(noisy.var() / expected - 1) < 0.05
    if "dropout" in name and name != "gaussian_dropout":
        values, counts = np.unique(noisy, return_counts=True)
        assert abs(counts.max() / noisy.size - (0.25 if name == "alpha_dropout" else 0.75)) < 0.02
        assert name == "alpha_dropout" or np.allclose(values, [0, 4])
    if name == "spatial_dropout1d":  # whole channels
        assert np.array_equal(noisy, np.broadcast_to(noisy[:, :1], noisy.shape))


def test_the_shape_of_noise() -> None:
    """A size of null is the input's; another must be that or 1."""
    rng = np.random.default_rng(0)
    x = np.ones((50, 4, 6))
    noisy = computed({"dropout": {"rate": 0.5, "noise_shape": [None, 1, 6]}}, x, training=True, random=rng)
    assert np.array_equal(noisy, np.broadcast_to(noisy[:, :1], noisy.shape))
    with pytest.raises(NotComputed, match=r"noise_shape must have .* \(got \[None, 3, 6\] for \(50, 4, 6\)\)"):
        computed({"dropout": {"rate": 0.5, "noise_shape": [None, 3, 6]}}, x, training=True, random=rng)
    assert not computed({"dropout": {"rate": 1}}, x, training=True, random=rng).any()
    with pytest.raises(NotComputed, match=r"rate must be below 1 in training \(got 1\)"):
        computed({"alpha_dropout": {"rate": 1}}, x, training=True, random=rng)


# Batches


MIXES = {
    "halve_while": True,
    "reduce_sum": True,
    "softmax": False,
    '{"softmax": {"axis": 0}}': True,
    '{"softmax": {"axis": [1, -3]}}': True,
    '{"softmax": {"axis": -2}}': False,
    '{"unit_normalization": {"axis": [-2, -3]}}': True,
    '{"activation": {"activation": {"softmax": {"axis": 0}}}}': True,
    '{"dense": {"units": 2, "activation": {"log_softmax": {"axis": -3}}}}': True,
    '{"dense": {"units": 2, "activation": {"log_softmax": {"axis": -2}}}}': False,
    '{"time_distributed": {"layer": {"softmax": {"axis": -2}}}}': True,
    '{"time_distributed": {"layer": {"softmax": {"axis": -1}}}}': False,
    '{"lstm": {"units": 2, "activation": {"softmax": {"axis": -2}}, "return_sequences": true}}': True,
    '{"bidirectional": {"layer": {"lstm": {"units": 2, "activation": {"softmax": {"axis": -2}}}}}}': True,
}


@pytest.mark.parametrize("entry", MIXES)
def test_a_layer_says_whether_it_mixes_the_examples_of_a_batch(entry: str) -> None:
    """Over the batch axis, an example depends on the others, so a batch may not be computed in parts."""
    written = json.loads(entry) if entry.startswith("{") else entry
    built = model(json.dumps({"inputs": {"x": [4, 6]}, "layers": [written]}))
    (step,) = graph_of(built).steps
    assert step.mixes_examples == MIXES[entry]
    inputs, arrays = arrays_for(built, "float64")
    held = {name: arrays[path] for name, path in step.parameters.items()}
    x = inputs["x"]
    whole = np.asarray(step.layer.compute(Call(NUMPY, held), x))
    parts = [np.asarray(step.layer.compute(Call(NUMPY, held), x[row : row + 1])) for row in range(2)]
    alike = whole.ndim > 0 and np.allclose(whole, np.concatenate(parts))
    assert alike != MIXES[entry]


# Shifts and scales


def test_a_centered_layer_subtracts_the_mean_of_the_batch() -> None:
    """The mean of all 4 values, 2.5, not of each example; D2L's CenteredLayer."""
    assert computed("centered_layer", [[1.0, 2.0], [3.0, 4.0]]).tolist() == [[-1.5, -0.5], [0.5, 1.5]]


def test_a_scale_for_each_feature() -> None:
    """The factors of LayerScale begin at 1e-6, as in ConvNeXt; a bias is added to the product."""
    layer = {"scale": {"use_bias": True}}
    held = {"gamma": [2.0, 3.0], "bias": [10.0, 20.0]}
    assert computed(layer, [[1.0, 1.0], [0.5, 2.0]], parameters=held).tolist() == [[12.0, 23.0], [11.0, 26.0]]
    initialized = pc.initialize(model("input: [3]\nlayers: [{scale: {name: s}}]"))
    assert np.asarray(initialized["s/gamma"]).tolist() == [np.float32(1e-6)] * 3


def test_normalization_by_state_and_by_options() -> None:
    """Axes in any order give the state in ascending order; a variance of 0 counts as that of a deviation of 1e-7."""
    x = [[[4.0, 6.0], [8.0, 2.0]]]
    held = {"mean": [2.0, 4.0], "variance": [4.0, 0.0]}
    expected = [[[1.0, 2e7], [3.0, -2e7]]]
    assert np.allclose(computed("normalization", x, parameters=held), expected)
    options = {"normalization": {"axis": [2, 1], "mean": [2, 4], "variance": [4, 0]}}
    assert np.allclose(computed(options, x), expected)
    inverted = {"normalization": {"axis": 1, "mean": 1, "variance": 4, "invert": True}}
    assert computed(inverted, x).tolist() == [[[9.0, 13.0], [17.0, 5.0]]]
