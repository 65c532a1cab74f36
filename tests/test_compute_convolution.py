"""Convolution and pooling: definitions, exact adjoints, bounded memory, and small numbers to check by hand."""

import json
import tracemalloc
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import paramctl as pc
from paramctl.compute import windows
from paramctl.compute.convolution import convolution, kernel_gradient, transposed_convolution
from paramctl.compute.pooling import at_maxima, from_maxima, spread_sums, window_maxima, window_sums
from paramctl.compute.space import NUMPY
from paramctl.core.dtypes import Array
from paramctl.declare.located import Located
from paramctl.model.layers import LAYERS
from paramctl.model.layers.call import Call
from paramctl.model.layers.spatial import Window

SEEDS = range(36)
BLOCKS = (600, 1 << 22)


class Geometry(NamedTuple):
    """A convolution at random: the windows, the spatial sizes of the input, and an input and a kernel in float64."""

    window: Window
    space: tuple[int, ...]
    x: Array
    kernel: Array
    groups: int


def geometry(seed: int) -> Geometry:
    """Each rank, dense, in groups, and depthwise with few and with many kernels for each channel."""
    rng = np.random.default_rng(seed)
    rank = 1 + seed // 12

    def sizes(low: int, high: int) -> tuple[int, ...]:
        return tuple(map(int, rng.integers(low, high, rank)))

    margins = tuple(zip(sizes(0, 3), sizes(0, 3), strict=True))
    strides = sizes(1, 4) if seed % 2 else (1,) * rank
    window, space = Window(sizes(1, 4), strides, sizes(1, 3), margins), sizes(5, 8)
    groups, channels, filters = ((1, 3, 2), (2, 2, 3), (4, 1, 1), (3, 1, 2), (2, 1, 9), (1, 1, 2))[seed // 2 % 6]
    x = rng.standard_normal((2, *space, groups * channels))
    kernel = rng.standard_normal((*window.sizes, channels, groups * filters))
    return Geometry(window, space, x, kernel, groups)


def windows_of(x: Array, window: Window, padding: float = 0.0) -> list[tuple[tuple[int, ...], list[Array]]]:
    """Return the place of each window, and the values at each of its positions, by their definition."""
    x = np.pad(x, [(0, 0), *window.margins, (0, 0)], constant_values=padding)
    counts = [
        (n - reach) // stride + 1
        for n, reach, stride in zip(x.shape[1:-1], window.reaches, window.strides, strict=True)
    ]
    places = []
    for place in product(*map(range, counts)):
        taps = [np.add(np.multiply(place, window.strides), np.multiply(tap, window.rates))
                for tap in product(*map(range, window.sizes))]  # fmt: skip
        places.append((place, [x[(slice(None), *tap)] for tap in taps]))
    return places


@pytest.fixture(params=BLOCKS)
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of few windows, and of all."""
    monkeypatch.setattr(windows, "BLOCK_BYTES", request.param)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_convolution_is_the_sum_over_each_window(seed: int) -> None:
    window, _, x, kernel, groups = geometry(seed)
    bias = np.arange(kernel.shape[-1]) / 2
    y = convolution(x, kernel, bias, window, groups)
    taps = kernel.reshape(-1, *kernel.shape[-2:])
    places = windows_of(x, window)
    assert y.shape[1:-1] == tuple(size + 1 for size in places[-1][0])
    for place, values in places:
        expected = np.zeros((len(x), groups, kernel.shape[-1] // groups))
        for tap, value in zip(taps, values, strict=True):
            by_group = tap.reshape(tap.shape[0], groups, -1)
            expected += np.einsum("ngc,cgf->ngf", value.reshape(len(x), groups, -1), by_group)
        assert np.allclose(y[(slice(None), *place)], expected.reshape(len(x), -1) + bias, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("seed", SEEDS)
def test_the_adjoints_of_convolution_are_exact(seed: int) -> None:
    """The sums y * conv(x, k), x * conv^T(y, k) and k * gradient(x, y) are one number."""
    window, space, x, kernel, groups = geometry(seed)
    result = convolution(x, kernel, None, window, groups)
    y = np.random.default_rng(seed).standard_normal(result.shape)
    by_input, by_kernel = (
        transposed_convolution(y, kernel, window, space, groups),
        kernel_gradient(x, y, window, groups),
    )
    assert (by_input.shape, by_kernel.shape) == (x.shape, kernel.shape)
    assert np.sum(x * by_input) == pytest.approx(np.sum(y * result), rel=1e-12, abs=1e-12)
    assert np.sum(kernel * by_kernel) == pytest.approx(np.sum(y * result), rel=1e-12, abs=1e-12)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("seed", SEEDS)
def test_sums_and_maxima_of_windows(seed: int) -> None:
    """By their definitions. Each adjoint is exact; a maximum passes its derivative to one position."""
    window, space, x, _, _ = geometry(seed)
    sums, maxima = window_sums(x, window), window_maxima(x, window)
    for place, values in windows_of(x, window):
        assert np.allclose(sums[(slice(None), *place)], np.sum(values, axis=0), rtol=1e-12, atol=1e-12)
    for place, values in windows_of(x, window, -np.inf):
        assert np.array_equal(maxima[(slice(None), *place)], np.max(values, axis=0))
    rng = np.random.default_rng(seed)
    y, values = rng.standard_normal(sums.shape), rng.standard_normal(x.shape)
    assert np.sum(x * spread_sums(y, window, space)) == pytest.approx(np.sum(y * sums), rel=1e-12, abs=1e-12)
    chosen = at_maxima(x, values, window)
    assert np.sum(values * from_maxima(x, y, window)) == pytest.approx(np.sum(y * chosen), rel=1e-12, abs=1e-12)
    inside = np.isfinite(maxima)  # a window of padding alone has none
    assert np.array_equal(at_maxima(x, x, window)[inside], maxima[inside])


def test_of_equal_maxima_the_first_has_the_derivative() -> None:
    x, window = np.ones((1, 4, 1)), Window((2,), (2,), (1,), ((0, 0),))
    assert from_maxima(x, np.array([[[5.0], [7.0]]]), window).ravel().tolist() == [5, 0, 7, 0]


@pytest.mark.parametrize("groups", [1, 4, 16])
def test_a_convolution_holds_its_output_and_a_few_megabytes(groups: int) -> None:
    """Not the values of all windows: these would be 49 times the input."""
    x = np.ones((2, 128, 128, 16), "float32")
    kernel = np.ones((7, 7, 16 // groups, 16), "float32")
    window = Window.of(x.shape[1:-1], (7, 7), (1, 1), "same")
    tracemalloc.start()
    y = convolution(x, kernel, None, window, groups)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < y.nbytes + 3 * windows.BLOCK_BYTES < 49 * x.nbytes / 4


def apply(kind: str, x: Array, options: dict[str, Any], mask: Array | None = None, **arrays: Array) -> Array:
    """The output of a layer that has these options and arrays."""
    layer = LAYERS[kind].read(kind, Located(None), {name: Located(value) for name, value in options.items()})
    return layer.compute(Call(NUMPY, arrays, masks=[mask]), x)


def row(*values: float) -> Array:
    return np.array(values, "float32").reshape(1, -1, 1)


ROWS = [
    ("conv1d", {"filters": 1, "kernel_size": 3}, [1, 2, 3, 4, 5], [321, 432, 543]),
    ("conv1d", {"filters": 1, "kernel_size": 3, "padding": "same"}, [1, 2, 3, 4, 5], [210, 321, 432, 543, 54]),
    ("conv1d", {"filters": 1, "kernel_size": 3, "padding": "causal"}, [1, 2, 3, 4, 5], [100, 210, 321, 432, 543]),
    ("conv1d", {"filters": 1, "kernel_size": 3, "dilation_rate": 2}, [1, 2, 3, 4, 5], [531]),
    ("conv1d", {"filters": 1, "kernel_size": 3, "padding": "same", "strides": 2}, [1, 2, 3, 4], [321, 43]),
    ("conv1d_transpose", {"filters": 1, "kernel_size": 3}, [1, 2], [1, 12, 120, 200]),
    ("conv1d_transpose", {"filters": 1, "kernel_size": 3, "strides": 2}, [1, 2], [1, 10, 102, 20, 200]),
    ("conv1d_transpose", {"filters": 1, "kernel_size": 3, "strides": 2, "padding": "same"}, [1, 2], [1, 10, 102, 20]),
    (
        "conv1d_transpose",
        {"filters": 1, "kernel_size": 3, "strides": 2, "output_padding": 1},
        [1, 2],
        [1, 10, 102, 20, 200, 0],
    ),
    ("conv1d_transpose", {"filters": 1, "kernel_size": 3, "strides": 4}, [1, 2], [1, 10, 100, 0, 2, 20, 200, 0]),
    ("max_pooling1d", {"pool_size": 3, "strides": 2, "padding": "same"}, [-5, -3, -4, -9], [-3, -4]),
    ("average_pooling1d", {"pool_size": 3, "strides": 2}, [1, 2, 6, 4, 5], [3, 5]),
    ("average_pooling1d", {"pool_size": 3, "strides": 2, "padding": "same"}, [1, 3, 8, 4], [4, 6]),
    ("adaptive_max_pooling1d", {"output_size": 3}, [9, 1, 2, 3, 8, 4, 5], [9, 8, 8]),
    ("adaptive_average_pooling1d", {"output_size": 3}, [3, 0, 0, 3, 6, 3, 3], [1, 3, 4]),
    ("adaptive_average_pooling1d", {"output_size": 2}, [1, 3, 5, 7], [2, 6]),
    ("adaptive_average_pooling1d", {"output_size": 4}, [1, 3], [1, 1, 3, 3]),
]


@pytest.mark.parametrize(("kind", "options", "values", "expected"), ROWS)
def test_small_numbers(kind: str, options: dict[str, Any], values: list[float], expected: list[float]) -> None:
    """A kernel of 1, 10 and 100 shows in its digits which values it takes. Padding counts in no mean and no maximum."""
    arrays = {}
    if "filters" in options:
        arrays = {"kernel": row(1, 10, 100).reshape(3, 1, 1), "bias": np.zeros(1, "float32")}
    y = apply(kind, row(*values), options, **arrays)
    assert y.ravel().tolist() == expected
    assert y.dtype == np.float32


def test_a_mean_skips_infinite_values_of_other_windows() -> None:
    x = row(1, 2, np.inf, 4, 5, 6, 7)
    assert apply("adaptive_average_pooling1d", x, {"output_size": 3}).ravel().tolist() == [np.inf, np.inf, 6]


def test_a_global_mean_is_over_the_steps_of_the_mask() -> None:
    x = np.arange(12, dtype="float32").reshape(2, 3, 2)
    mask = np.array([[True, False, True], [False, False, True]])
    options: dict[str, Any] = {}
    y = apply("global_average_pooling1d", x, options, mask)
    assert y.tolist() == [[2, 3], [10, 11]]
    assert y.dtype == np.float32
    first = apply("global_average_pooling1d", np.moveaxis(x, -1, 1), {"data_format": "channels_first"}, mask)
    assert np.array_equal(first, y)


@pytest.mark.parametrize("kind", ["conv2d", "depthwise_conv2d", "max_pooling2d", "average_pooling2d"])
def test_integers_as_inputs_stay_in_the_dtype_of_the_kernel(kind: str) -> None:
    if "pooling" in kind:
        y = apply(kind, np.arange(16).reshape(1, 4, 4, 1), {"pool_size": 2, "padding": "same"})
        assert y.ravel().tolist() == ([5, 7, 13, 15] if kind == "max_pooling2d" else [2.5, 4.5, 10.5, 12.5])
        return
    options = {"kernel_size": 2, "use_bias": False} | ({"filters": 1} if kind == "conv2d" else {})
    y = apply(kind, np.ones((1, 3, 3, 1), "int64"), options, kernel=np.ones((2, 2, 1, 1), "float32"))
    assert y.dtype == np.float32
    assert np.all(y == 4)


NETWORK = {
    "name": "m",
    "input": [7, 6, 4],
    "layers": [
        {"conv2d": {"filters": 6, "kernel_size": 3, "padding": "same", "groups": 2, "activation": "tanh"}},
        {"depthwise_conv2d": {"kernel_size": [2, 3], "strides": 2, "padding": "same", "depth_multiplier": 2}},
        {"average_pooling2d": {"pool_size": 2, "strides": 1, "padding": "same"}},
        {"conv2d_transpose": {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "tanh"}},
        {"max_pooling2d": {"pool_size": 3, "strides": 2, "padding": "same"}},
        {"separable_conv2d": {"filters": 3, "kernel_size": 2, "data_format": "channels_last"}},
        {"adaptive_average_pooling2d": {"output_size": [2, 1]}},
        {"global_average_pooling2d": {}},
    ],
}


def test_gradients_of_a_network_equal_finite_differences(tmp_path: Path) -> None:
    """In float64, of each array along a direction."""
    rng = np.random.default_rng(0)
    document = tmp_path / "m.yaml"
    document.write_text(json.dumps(NETWORK))
    x, y = rng.standard_normal((3, 7, 6, 4)), rng.standard_normal((3, 3))
    np.savez(tmp_path / "xy.npz", x=x, y=y)
    weights = pc.initialize(document, rules={"*": {"uniform": [-1, 1]}}, seed=1, dtype="float64")
    arrays = {path: np.asarray(weights[path]) for path in weights}

    def loss(changed: dict[str, Array]) -> float:
        np.savez(tmp_path / "w.npz", **arrays | changed)
        (output,) = pc.run(document, x, weights=tmp_path / "w.npz", dtype="float64").values()
        return float(np.mean((output - y) ** 2))

    gradients = pc.gradients(document, tmp_path / "xy.npz", weights=weights, dtype="float64")
    assert {*gradients} == {*arrays}
    for path, values in arrays.items():
        step = 1e-6 * rng.standard_normal(values.shape)
        expected = (loss({path: values + step}) - loss({path: values - step})) / 2e-6
        assert abs(expected) > 1e-4
        assert np.sum(gradients[path] * step) / 1e-6 == pytest.approx(expected, rel=1e-5), path
