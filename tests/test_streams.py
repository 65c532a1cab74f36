"""Values: that they follow their law, and that they depend on the seed, the path, the shape and the scheme alone.

GOLDEN holds what the recipe promises: the same bytes on every machine, for whatever needs no LAPACK. Other hashes
are another recipe: raise RECIPE in paramctl/init/engines/streams.py, and only then write the table again, from what
``python -m tests.test_streams`` prints in the folder above this one.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from math import ceil, erf, log, sqrt
from pathlib import Path
from typing import Any, cast

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from paramctl.core.indexing import Index, Slice, slice_text
from paramctl.core.parameter import Parameter
from paramctl.declare.located import Located
from paramctl.errors import DocumentError
from paramctl.init.distributions import (
    DRAWN_WHOLE,
    Centered,
    Constant,
    Distribution,
    Mixture,
    Normal,
    Orthogonal,
    Padded,
    Sections,
    Sparse,
    TruncatedNormal,
    Uniform,
    moments,
    normal_mass,
    support,
)
from paramctl.init.engines import ENGINES
from paramctl.init.engines import native as streams
from paramctl.init.engines.base import DrawRequest, TooLargeToDraw
from paramctl.init.engines.native import draw_whole
from paramctl.init.engines.streams import BLOCK_SIZE, Stream
from paramctl.init.registry import SCHEMES, Target, distribution, lookup
from paramctl.init.rules import AssignedScheme, assign_schemes
from paramctl.model import Model, load
from paramctl.model.document import parse_value
from paramctl.source.base import Source, select_values
from paramctl.source.drawn import Drawn
from paramctl.source.open import open_checkpoint, open_path
from paramctl.source.save import save, write_stream
from paramctl.source.stored import Stored
from paramctl.store.io.write_values import WriteOptions
from tests import forks
from tests.conftest import ROOT, Run, model
from tests.formats import SUFFIXES

SEED = 20
ERRORS = 5
"""By how many standard errors a mean or a deviation may be off. Seeds are fixed: what passes once passes always."""
ALPHA = 1e-4
"""The probability with which a correct law would fail the Kolmogorov-Smirnov test, had the seed not been fixed."""
KOLMOGOROV = sqrt(log(2 / ALPHA) / 2)

NETWORK = """
inputs: {vector: [300], image: [8, 8, 32], text: {shape: [6], dtype: int32}}
layers:
  - dense: {name: dense, units: 400, from: vector}
  - conv2d: {name: conv, filters: 48, kernel_size: 3, from: image}
  - conv2d: {name: grouped, filters: 64, kernel_size: 3, groups: 4, from: image}
  - depthwise_conv2d: {name: depthwise, kernel_size: 3, depth_multiplier: 40, from: image}
  - conv2d_transpose: {name: transposed, filters: 48, kernel_size: 3, strides: 2, from: image}
  - embedding: {name: embedding, input_dim: 1000, output_dim: 64, from: text}
  - multi_head_attention: {name: attention, num_heads: 8, key_dim: 16}
  - lstm: {name: lstm, units: 64}
"""
KINDS = {
    "dense": "dense/kernel",
    "bias": "dense/bias",
    "conv": "conv/kernel",
    "grouped": "grouped/kernel",
    "depthwise": "depthwise/kernel",
    "transposed": "transposed/kernel",
    "embedding": "embedding/embeddings",
    "query": "attention/query/kernel",
    "attention output": "attention/attention_output/kernel",
    "recurrent input": "lstm/lstm_cell/kernel",
    "recurrent": "lstm/lstm_cell/recurrent_kernel",
    "recurrent bias": "lstm/lstm_cell/bias",
}
ALL = set(KINDS)
WITH_FANS = ALL - {"bias", "embedding", "recurrent bias"}
MATRICES = {"dense", "embedding", "recurrent input", "recurrent"}
KERNELS = {"conv", "grouped", "depthwise", "transposed"}

D2L = "{mixture: [[0.25, {uniform: [5, 10]}], [0.5, zeros], [0.25, {uniform: [-10, -5]}]]}"
FITS = {
    "zeros": ALL,
    "ones": ALL,
    "{constant: 42}": ALL,
    "random_uniform": ALL,
    "{random_uniform: [5, 10]}": ALL,
    "{uniform_sum: [-1, 2]}": ALL,
    "random_normal": ALL,
    "{random_normal: [-3, 0.5]}": ALL,
    "truncated_normal": ALL,
    "{trunc_normal: {mean: 1, std: 2, a: 0, b: 6}}": ALL,
    "variance_scaling": WITH_FANS,
    "{variance_scaling: [2, fan_out, uniform]}": WITH_FANS,
    "{variance_scaling: [2, fan_geo_avg, untruncated_normal]}": WITH_FANS,
    "{glorot_uniform: tanh}": WITH_FANS,
    "glorot_normal": WITH_FANS,
    "xavier_normal": WITH_FANS,
    "he_uniform": WITH_FANS,
    "he_normal": WITH_FANS,
    "kaiming_uniform": WITH_FANS,
    "kaiming_normal": WITH_FANS,
    "lecun_uniform": WITH_FANS,
    "lecun_normal": WITH_FANS,
    "{orthogonal: relu}": ALL - {"bias", "recurrent bias"},
    "{delta_orthogonal: 3}": {"conv"},
    "{identity: -2}": MATRICES,
    "dirac": KERNELS,
    "{sparse: 0.3}": MATRICES - {"embedding"},
    D2L: ALL,
    "{mixture: [[0.1, ones], [0.2, {mixture: [[0.5, he_normal], [0.5, random_normal]]}], [0.7, he_uniform]]}": WITH_FANS,
    "{padded: random_normal}": ALL,
    "{unit_forget_bias: random_normal}": ALL,  # their last axes are multiples of four
}
"""Schemes, and the kinds of parameters that each fits."""


@cache
def network() -> Model:
    return model(NETWORK)


def node(scheme: str) -> Located:
    return parse_value(scheme, "scheme")


def name_of(scheme: str) -> str:
    return lookup(node(scheme))[1].name


def drawn(of: Model, path: str, scheme: str, seed: int = SEED) -> np.ndarray:
    """All the values of one parameter under a scheme, in its shape."""
    parameter = of.parameters[path]
    source = Drawn(of, {path: AssignedScheme(scheme, distribution(node(scheme), Target.of(parameter)), "")}, seed)
    return source.read(path, 0, parameter.size).reshape(parameter.shape)


@cache
def sample(scheme: str, kind: str) -> tuple[Distribution, np.ndarray]:
    parameter = network().parameters[KINDS[kind]]
    return distribution(node(scheme), Target.of(parameter)), drawn(network(), parameter.path, scheme)


def fits(scheme: str, parameter: Parameter) -> bool:
    try:
        distribution(node(scheme), Target.of(parameter))
    except DocumentError:
        return False
    return True


REGISTERED = {registered.name for registered in SCHEMES.values()}
for unlisted in sorted(REGISTERED - {name_of(scheme) for scheme in FITS}):
    FITS[unlisted] = {kind for kind, path in KINDS.items() if fits(unlisted, network().parameters[path])}


def test_every_scheme_is_tried_on_every_kind_of_parameter_that_it_fits() -> None:
    assert len(REGISTERED) > 20
    for scheme, kinds in FITS.items():
        assert kinds, f"{scheme} needs options: add it with them to FITS"
        assert {kind for kind, path in KINDS.items() if fits(scheme, network().parameters[path])} == kinds, scheme


# The law


@pytest.mark.parametrize("scheme", FITS)
def test_mean_and_deviation_are_the_laws(scheme: str) -> None:
    """To within what the number of values allows; exactly, where nothing is left to chance."""
    for kind in FITS[scheme]:
        of, values = sample(scheme, kind)
        known = moments(of)
        assert known is not None
        mean, deviation = known
        numbers = values.astype(np.float64).reshape(-1)
        about = numbers - mean
        fourth, variance = float((about**4).mean()), float((about**2).mean())
        exact = 1e-6 * (abs(mean) + deviation)
        of_deviation = sqrt(max(fourth - variance**2, 0) / values.size) / (2 * deviation) if deviation else 0
        assert abs(numbers.mean() - mean) <= ERRORS * deviation / sqrt(values.size) + exact, kind
        assert abs(sqrt(variance) - deviation) <= ERRORS * of_deviation + exact, kind


@pytest.mark.parametrize("scheme", FITS)
def test_no_value_is_beyond_the_laws_bounds(scheme: str) -> None:
    """And the bounds are those of the values: some come near, but for an orthogonal matrix."""
    for kind in FITS[scheme]:
        of, values = sample(scheme, kind)
        bounds = support(of)
        if bounds is None:
            assert any(word in scheme for word in ("normal", "sparse")), "only what is normal and not cut has none"
            continue
        low, high = bounds
        width = max(high - low, abs(high))
        assert low - 1e-6 * width <= values.min(), kind
        assert values.max() <= high + 1e-6 * width, kind
        if not isinstance(of, DRAWN_WHOLE):
            assert values.min() <= low + 0.05 * width, kind
            assert values.max() >= high - 0.05 * width, kind


def below(of: Distribution, x: np.ndarray, too: bool) -> np.ndarray:
    """Return the probability below each of these numbers under an elementwise law. too: the number itself included."""
    normal = np.frompyfunc(lambda z: (1 + erf(z / sqrt(2))) / 2, 1, 1)
    match of:
        case Constant(value):
            return (x >= value if too else x > value).astype(float)
        case Uniform(low, high, 1):
            return np.clip((x - low) / (high - low), 0, 1)
        case Uniform(low, high, 2):
            u = np.clip((x - 2 * low) / (high - low), 0, 2)  # the sum of two values on [0, 1)
            return np.where(u < 1, u**2 / 2, 1 - (2 - u) ** 2 / 2)
        case Normal(mean, stddev):
            return normal((x - mean) / stddev).astype(float)
        case TruncatedNormal(mean, stddev, low, high):
            at = normal(np.clip((x - mean) / stddev, low, high)).astype(float)
            return (at - (1 + erf(low / sqrt(2))) / 2) / normal_mass(low, high)
        case Mixture(parts):
            return cast(np.ndarray, sum(share * below(part, x, too) for share, part in parts))
    raise AssertionError(f"{of} is not drawn value by value")


def assert_follows(of: Distribution, values: np.ndarray) -> None:
    """The Kolmogorov-Smirnov test, for laws with jumps too: the distance on both sides of each value."""
    exact = np.float32 if values.dtype != np.float64 else np.float64
    at, counts = np.unique(values.astype(exact).reshape(-1), return_counts=True)
    up_to = np.cumsum(counts) / values.size
    from_law, from_law_before = below(of, at.astype(float), True), below(of, at.astype(float), False)
    distance = max(np.abs(up_to - from_law).max(), np.abs(up_to - counts / values.size - from_law_before).max())
    assert distance < KOLMOGOROV / sqrt(values.size), f"{of}: {distance * sqrt(values.size)}"


@pytest.mark.parametrize("scheme", [scheme for scheme in FITS if name_of(scheme) not in ("identity", "dirac")])
def test_values_follow_the_law(scheme: str) -> None:
    for kind in FITS[scheme]:
        of, values = sample(scheme, kind)
        if isinstance(of, Sections):
            for part, section in zip(of.parts, np.split(values, len(of.parts), axis=-1), strict=True):
                assert_follows(part, section)
        elif isinstance(of, Sparse):
            share = of.zeros / of.columns
            assert_follows(Mixture(((share, Constant(0)), (1 - share, Normal(0, 0.01)))), values)
        elif isinstance(of, Padded):
            share = of.columns / of.size
            assert_follows(Mixture(((share, Constant(0)), (1 - share, of.rest))), values)
        elif not isinstance(of, DRAWN_WHOLE):
            assert_follows(of, values)
        else:
            assert name_of(scheme) in ("orthogonal", "delta_orthogonal")


def test_the_test_of_the_law_detects_a_wrong_one() -> None:
    """By a deviation a little too large, truncation that is missing, a share that is off by two hundredths."""
    _, values = sample("random_normal", "dense")
    assert_follows(Normal(0, 0.05), values)
    for wrong in (Normal(0, 0.053), Normal(0.002, 0.05), TruncatedNormal(0, 0.05)):
        with pytest.raises(AssertionError):
            assert_follows(wrong, values)
    _, values = sample(D2L, "dense")
    with pytest.raises(AssertionError):
        assert_follows(Mixture(((0.27, Uniform(5, 10)), (0.48, Constant(0)), (0.25, Uniform(-10, -5)))), values)


def test_shares_of_a_mixture() -> None:
    _, values = sample(D2L, "dense")
    shares = {"zeros": (values == 0).mean(), "low": (values < 0).mean(), "high": (values > 0).mean()}
    expected = {"zeros": 0.5, "low": 0.25, "high": 0.25}
    for part, share in expected.items():
        assert abs(shares[part] - share) < ERRORS * sqrt(share * (1 - share) / values.size), part
    assert np.abs(values[values != 0]).min() >= 5
    assert np.abs(values).max() <= 10


def test_a_mixtures_parts_are_independent_of_its_choice_and_of_each_other() -> None:
    """Two halves with the same law are that law: a value does not tell which part it is from, nor do its neighbours."""
    _, values = sample("{random_normal: [0, 1]}", "dense")
    halves = drawn(network(), KINDS["dense"], "{mixture: [[0.5, {normal: [0, 1]}], [0.5, {normal: [0, 1]}]]}")
    assert_follows(Normal(0, 1), halves)
    assert not np.any(halves == values)
    for other in (np.roll(halves, 1), values):
        assert abs(np.corrcoef(halves.reshape(-1), other.reshape(-1))[0, 1]) < ERRORS / sqrt(halves.size)


def test_sparse_takes_exactly_so_many_of_each_inputs_weights() -> None:
    """The zeros of each input are as many as the formula says, and fall on every output alike."""
    for kind in FITS["{sparse: 0.3}"]:
        _, values = sample("{sparse: 0.3}", kind)
        inputs, outputs = values.shape
        each = ceil(0.3 * outputs)
        assert set((values == 0).sum(axis=1)) == {each}
        share = each / outputs
        per_output = (values == 0).sum(axis=0)
        assert np.abs(per_output - inputs * share).max() < ERRORS * sqrt(inputs * share * (1 - share))
        assert len({tuple(row) for row in values == 0}) == inputs, "each input has zeros of its own"


def test_the_second_of_four_gates_is_one() -> None:
    built = model("input: [5, 7]\nlayers: [{lstm: {units: 6, bias_initializer: {normal: {mean: 1}}}}]")
    bias = assign_schemes(built)["lstm/lstm_cell/bias"]
    values = Drawn(built, {"lstm/lstm_cell/bias": bias}).read("lstm/lstm_cell/bias", 0, 24).reshape(4, 6)
    assert np.array_equal(values[1], np.ones(6))
    others = values[[0, 2, 3]].reshape(-1)
    assert np.unique(others).size == others.size == 18
    plain = drawn(network(), KINDS["recurrent bias"], "unit_forget_bias")
    assert np.array_equal(plain.reshape(4, 64), np.repeat([0, 1, 0, 0], 64).reshape(4, 64))


# What is orthogonal


@pytest.mark.parametrize("kind", sorted(FITS["{orthogonal: relu}"]))
def test_orthogonal_has_orthonormal_rows_or_columns(kind: str) -> None:
    """All axes but the last by the last, whichever is smaller, times the gain; in float64 to its last digits."""
    path = KINDS[kind]
    for dtype, precision in (("float32", 2e-6), ("float64", 1e-14)):
        values = drawn(network().with_dtype(dtype), path, "{orthogonal: relu}").astype(np.float64)
        matrix = values.reshape(-1, values.shape[-1])
        product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
        assert np.abs(product - 2 * np.eye(len(product))).max() < precision * sqrt(max(matrix.shape))
        assert len(product) > 1


@pytest.mark.parametrize("kind", sorted(FITS["{delta_orthogonal: 3}"]))
def test_delta_orthogonal_is_an_orthogonal_matrix_at_the_centre(kind: str) -> None:
    _, values = sample("{delta_orthogonal: 3}", kind)
    centre = values[1, 1].astype(np.float64)
    assert np.abs(centre @ centre.T - 9 * np.eye(len(centre))).max() < 1e-4
    assert np.count_nonzero(values) == np.count_nonzero(centre)


def test_orthogonal_matrices_are_uniform_among_all_of_them() -> None:
    """Haar's law: mean 0, second and fourth moments 1/n and 3/(n(n+2)); a trace of variance 1; half are rotations."""
    size, many = 4, 3000
    shape = (size, size)
    orthogonal = Orthogonal(1.0, size, size)
    matrices = np.array(
        [draw_whole(orthogonal, Stream(seed, "a"), shape, np.dtype(np.float64)).reshape(shape) for seed in range(many)]
    )
    error = ERRORS / sqrt(many)
    assert np.abs(matrices.mean(axis=0)).max() < error * sqrt(1 / size)
    fourth = 3 / (size * (size + 2))
    assert np.abs((matrices**2).mean(axis=0) - 1 / size).max() < error * sqrt(fourth - 1 / size**2)
    eighth = 105 / (size * (size + 2) * (size + 4) * (size + 6))
    assert np.abs((matrices**4).mean(axis=0) - fourth).max() < error * sqrt(eighth - fourth**2)
    traces = np.trace(matrices, axis1=1, axis2=2)
    assert abs(traces.mean()) < error
    assert abs((traces**2).mean() - 1) < error * sqrt((traces**4).mean() - 1)
    assert abs((np.linalg.det(matrices) > 0).mean() - 0.5) < error / 2


# What hands its input on


def convolved(x: np.ndarray, kernel: np.ndarray, groups: int) -> np.ndarray:
    """A convolution with ``same`` padding, written out: x is (height, width, inputs), the kernel (3, 3, inputs, outputs)."""
    height, width, inputs = x.shape
    fields, each, outputs = kernel.shape[:2], kernel.shape[2], kernel.shape[3]
    assert inputs == each * groups
    padded = np.pad(x, [(fields[0] // 2,) * 2, (fields[1] // 2,) * 2, (0, 0)])
    y = np.zeros((height, width, outputs))
    for output in range(outputs):
        first = output // (outputs // groups) * each
        for i in range(fields[0]):
            for j in range(fields[1]):
                window = padded[i : i + height, j : j + width, first : first + each]
                y[:, :, output] += window @ kernel[i, j, :, output]
    return y


@pytest.mark.parametrize(
    ("layer", "groups", "handed_on"),
    [
        ("conv2d: {filters: 6, kernel_size: 3, kernel_initializer: dirac}", 1, [0, 1, 2, 3, 4, 5]),
        (
            "conv2d: {filters: 9, kernel_size: [3, 5], kernel_initializer: dirac}",
            1,
            [0, 1, 2, 3, 4, 5, None, None, None],
        ),
        ("conv2d: {filters: 4, kernel_size: 3, kernel_initializer: dirac}", 1, [0, 1, 2, 3]),
        ("conv2d: {filters: 6, kernel_size: 3, groups: 3, kernel_initializer: {dirac: 3}}", 3, [0, 1, 2, 3, 4, 5]),
        (
            "conv2d: {filters: 9, kernel_size: 3, groups: 3, kernel_initializer: {dirac: 3}}",
            3,
            [0, 1, None, 2, 3, None, 4, 5, None],
        ),
        ("conv2d: {filters: 6, kernel_size: 3, kernel_initializer: {dirac: 2}}", 1, [0, 1, 2, 0, 1, 2]),
    ],
)
def test_dirac_hands_its_input_on(layer: str, groups: int, handed_on: list[int | None]) -> None:
    """A convolution with this kernel gives each output one of the inputs, exactly as it is, or 0."""
    built = model(f"input: [7, 8, 6]\nlayers: [{{{layer}}}]")
    kernel = whole(Drawn(built, assign_schemes(built)), "conv2d/kernel")
    x = np.random.default_rng(0).standard_normal((7, 8, 6))
    expected = np.stack([np.zeros((7, 8)) if n is None else x[:, :, n] for n in handed_on], axis=-1)
    assert np.array_equal(convolved(x, kernel, groups), expected)


def test_dirac_of_a_depthwise_convolution() -> None:
    """Each channel to the first of its outputs, which are side by side."""
    _, kernel = sample("dirac", "depthwise")
    x = np.random.default_rng(0).standard_normal((5, 6, 32))
    y = np.concatenate([convolved(x[:, :, [c]], kernel[:, :, [c], :], 1) for c in range(32)], axis=-1)
    assert np.array_equal(y[:, :, ::40], x)
    assert np.count_nonzero(y) == np.count_nonzero(x)


def test_dirac_of_a_transposed_convolution() -> None:
    """Its kernel has outputs before inputs."""
    _, kernel = sample("dirac", "transposed")
    assert kernel.shape == (3, 3, 48, 32)
    x = np.random.default_rng(0).standard_normal((5, 6, 32))
    y = convolved(x, kernel.swapaxes(2, 3), 1)
    assert np.array_equal(y[:, :, :32], x)
    assert not y[:, :, 32:].any()


@pytest.mark.parametrize("kind", sorted(MATRICES))
def test_identity_is_the_unit_matrix_times_its_gain(kind: str) -> None:
    _, values = sample("{identity: -2}", kind)
    assert np.array_equal(values, -2 * np.eye(*values.shape))


# What values depend on

CHOICES = """
  - dense: {name: first, units: 50, bias_initializer: random_normal}
  - dense: {name: ortho, units: 40, kernel_initializer: orthogonal}
"""
MORE = """
  - dense: {name: new, units: 30, bias_initializer: random_normal}
"""
LAST = """
  - dense: {name: last, units: 8, kernel_initializer: he_normal, bias_initializer: random_uniform}
"""


def all_values(text: str, seed: int = SEED) -> dict[str, bytes]:
    built = model(text)
    source = Drawn(built, assign_schemes(built), seed)
    return {each.path: source.read(each.path, 0, each.size).tobytes() for each in built.owners()}


def test_one_layer_more_changes_no_other() -> None:
    """Before, between or after; in a block too, which changes paths, and with them values."""
    head = "input: [30]\nlayers:"
    alone = all_values(head + CHOICES + LAST)
    assert len(alone) == 6
    for text in (
        head + MORE + CHOICES + LAST,
        head + CHOICES + LAST + MORE,
        head + CHOICES + MORE.replace("30", "40") + LAST,
    ):
        more = all_values(text)
        assert len(more) == 8
        assert {path: more[path] for path in alone} == alone
    renamed = all_values(head + CHOICES.replace("first", "other") + LAST)
    assert renamed["other/kernel"] != alone["first/kernel"]
    assert renamed["ortho/kernel"] == alone["ortho/kernel"]


def test_seed_path_and_scheme_each_make_other_values() -> None:
    built = model("input: [200]\nlayers: [{dense: {name: a, units: 300}}, {dense: {name: b, units: 200}}]")
    kinds = [drawn(built, path, "normal", seed) for path in ("a/kernel", "b/kernel") for seed in (0, 1, 2**63 - 1)]
    flat = np.array([values.reshape(-1) for values in kinds], np.float64)
    correlations = np.corrcoef(flat) - np.eye(len(flat))
    assert np.abs(correlations).max() < ERRORS / sqrt(flat.shape[1])
    assert np.array_equal(kinds[0], drawn(built, "a/kernel", "normal", 0)), "the same again"


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_draws_the_same_in_any_order(name: str) -> None:
    """By its protocol alone: the blocks of a parameter, its values under another seed, and the largest arrays."""
    engine = ENGINES[name]
    assert engine.name == name
    single = np.dtype(np.float32)
    requests = {
        "a": DrawRequest(Normal(0, 1), (600, 500), single),
        "b": DrawRequest(Orthogonal(1.0, 30, 20), (30, 20), single),
        "c": DrawRequest(Uniform(0, 1), (7,), np.dtype(np.float64)),
    }
    sizes = {path: int(np.prod(request.shape)) for path, request in requests.items()}

    def every_block(seed: int, backwards: bool) -> dict[tuple[str, int], bytes]:
        draws = engine.start(seed, requests)
        blocks = [(path, k) for path, size in sizes.items() for k in range(-(-size // draws.block_size(path)))]
        values = {(path, k): draws.draw(path, k) for path, k in (blocks[::-1] if backwards else blocks)}
        for path, size in sizes.items():
            assert sum(block.size for (owner, _), block in values.items() if owner == path) == size
            assert values[path, 0].dtype == requests[path].dtype
        return {block: values[block].tobytes() for block in blocks}

    assert every_block(1, backwards=True) == every_block(1, backwards=False)
    assert not set(every_block(1, backwards=False).values()) & set(every_block(2, backwards=False).values())
    largest = {"d": DrawRequest(Orthogonal(1.0, 2**20, 2**20), (2**20, 2**20), single)}
    with pytest.raises(TooLargeToDraw):
        engine.start(1, largest).draw("d", 0)


def test_blocks_of_an_array_are_independent() -> None:
    built = model("input: [1024]\nlayers: [{dense: 1024}]")
    blocks = drawn(built, "dense/kernel", "normal").reshape(4, BLOCK_SIZE).astype(np.float64)
    assert np.abs(np.corrcoef(blocks) - np.eye(4)).max() < ERRORS / sqrt(BLOCK_SIZE)
    assert abs(np.corrcoef(blocks.reshape(-1)[:-1], blocks.reshape(-1)[1:])[0, 1]) < ERRORS / sqrt(blocks.size)


LARGE = f"""
input: [40, 512]
layers:
  - dense: {{name: a, units: 1300, bias_initializer: random_uniform}}
  - dense: {{name: mixed, units: 600, kernel_initializer: {D2L}}}
  - dense: {{name: ortho, units: 300, kernel_initializer: orthogonal}}
  - lstm: {{name: lstm, units: 30}}
"""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_neither_threads_nor_the_format_change_values(suffix: str, tmp_path: Path) -> None:
    """1, 2 and 5 threads write the same bytes, and other libraries read what was drawn at once."""
    (tmp_path / "m.yaml").write_text(LARGE)
    built = load(str(tmp_path / "m.yaml"))
    source = Drawn(built, assign_schemes(built), SEED)
    files = []
    for threads in (1, 2, 5):
        file = tmp_path / f"{threads}{suffix}"
        save(source, str(file), WriteOptions(threads=threads))
        files.append(file.read_bytes())
    assert files[0] == files[1] == files[2]
    read: Mapping[str, np.ndarray] = {
        each.path: whole(open_checkpoint(str(file)), each.path) for each in built.owners()
    }
    if suffix == ".safetensors":
        read = load_file(file)
        pipe = io.BytesIO()
        write_stream(source, pipe)
        total = sum(each.bytes for each in built.owners())
        assert pipe.getvalue()[-total:] == files[0][-total:], "nor does a pipe, whose header has no hashes"
    elif suffix == ".npz":
        read = np.load(file)
    elif suffix == ".h5":
        with h5py.File(file) as opened:
            read = {each.path: opened[each.path][()] for each in built.owners()}
    assert len(read) == 9
    for path, values in read.items():
        assert np.array_equal(values, whole(Drawn(built, assign_schemes(built), SEED), path)), path


def whole(source: Source, path: str) -> np.ndarray:
    parameter = source.model.parameters[path]
    return source.read(path, 0, parameter.size).reshape(parameter.shape)


SLICED = {
    "a": "random_normal",
    "b": "{trunc_normal: {b: 0.5}}",
    "c": D2L,
    "d": "{unit_forget_bias: random_uniform}",
    "e": "dirac",
    "f": "{orthogonal: 2}",
    "g": "{mixture: [[0.5, dirac], [0.5, {unit_forget_bias: normal}]]}",
}


@cache
def sliced() -> Source:
    """Convolutions whose kernels, (3, 3, 200, 404), have 727,200 values: three blocks, the last of them not full."""
    made = [f"{{conv2d: {{name: {name}, filters: 404, kernel_size: 3, from: x}}}}" for name in SLICED]
    built = model(f"inputs: {{x: [3, 3, 200]}}\nlayers: [{', '.join(made)}]")
    laws = {
        name: distribution(node(scheme), Target.of(built.parameters[f"{name}/kernel"]))
        for name, scheme in SLICED.items()
    }
    source = Drawn(built, {f"{name}/kernel": AssignedScheme(name, each, "") for name, each in laws.items()}, SEED)
    assert 2 * BLOCK_SIZE < built.parameters["a/kernel"].size < 3 * BLOCK_SIZE
    return source


@cache
def entire(name: str) -> np.ndarray:
    return whole(Drawn(sliced().model, sliced().assigned, SEED), f"{name}/kernel")


@settings(max_examples=120 if forks.TORTURE else 40, derandomize=True)
@given(data=st.data(), name=st.sampled_from(sorted(SLICED)))
def test_any_stretch_is_that_of_the_whole(data: st.DataObject, name: str) -> None:
    values = entire(name).reshape(-1)
    near = st.sampled_from([0, BLOCK_SIZE, 2 * BLOCK_SIZE, values.size]).flatmap(lambda at: st.integers(at - 3, at + 3))
    places = (near | st.integers(0, values.size)).map(lambda at: min(max(at, 0), values.size))
    start, stop = sorted((data.draw(places, label="start"), data.draw(places, label="stop")))
    assert np.array_equal(sliced().read(f"{name}/kernel", start, stop), values[start:stop])


def indices(size: int) -> st.SearchStrategy[Index]:
    ends = st.none() | st.integers(-size - 2, size + 2)
    steps = st.none() | st.integers(-size, size).filter(bool)
    return st.integers(-size, size - 1) | st.builds(Slice, ends, ends, steps) | st.just(Slice())


@settings(max_examples=120 if forks.TORTURE else 40, derandomize=True)
@given(data=st.data(), name=st.sampled_from(sorted(SLICED)))
def test_any_slice_is_that_of_the_whole(data: st.DataObject, name: str) -> None:
    """An address with a slice selects the values that NumPy selects."""
    values = entire(name)
    picked = [data.draw(indices(size)) for size in values.shape[: data.draw(st.integers(1, 4))]]
    places = tuple(index if isinstance(index, int) else slice(*cast(Slice, index)) for index in picked)
    address = f"{name}/kernel[{slice_text(picked)}]"
    (selected,) = select_values(sliced(), [address])
    pieces = list(selected.pieces())
    expected = values[places]
    assert selected.selection.shape == expected.shape, address
    if not isinstance(sliced().assigned[f"{name}/kernel"].distribution, DRAWN_WHOLE):
        assert max([piece.size for piece in pieces], default=0) <= BLOCK_SIZE
    assert np.array_equal(np.concatenate(pieces) if pieces else np.empty(0), expected.reshape(-1)), address


# Dtypes


def bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """The upper half of float32's bits, rounded to nearest, to even between two."""
    bits = values.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


@pytest.mark.parametrize("scheme", FITS)
def test_half_precision_is_the_rounding_of_single(scheme: str) -> None:
    kind = sorted(FITS[scheme])[0]
    path = KINDS[kind]
    _, single = sample(scheme, kind)
    assert single.dtype == np.float32
    half = drawn(network().with_dtype("float16"), path, scheme)
    brain = drawn(network().with_dtype("bfloat16"), path, scheme)
    assert (half.dtype, brain.dtype) == (np.float16, ml_dtypes.bfloat16)
    assert np.array_equal(half, single.astype(np.float16))
    assert np.array_equal(brain.view(np.uint16), bfloat16_bits(single))


@pytest.mark.parametrize("scheme", [scheme for scheme in FITS if name_of(scheme) != "delta_orthogonal"])
def test_double_precision_follows_the_law_too(scheme: str) -> None:
    kind = "dense" if "dense" in FITS[scheme] else "conv"
    of, single = sample(scheme, kind)
    double = drawn(network().with_dtype("float64"), KINDS[kind], scheme)
    assert double.dtype == np.float64
    assert double.std() == pytest.approx(single.std(), rel=0.02)
    if isinstance(of, Uniform | Normal | TruncatedNormal | Mixture):
        assert_follows(of, double)
        drawn_ones = double[double != 0]
        assert np.any(drawn_ones != drawn_ones.astype(np.float32)), "with digits that float32 has not"


class Greatest:
    """A generator whose every number is the greatest below 1."""

    def random(self, out: np.ndarray, dtype: np.dtype[Any]) -> None:
        out.fill(np.nextafter(dtype.type(1), dtype.type(0)))


FINITE = st.floats(-(2.0**126), 2.0**126, width=32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(low=FINITE, high=FINITE)
def test_uniform_never_reaches_its_high_end(dtype: type[np.floating[Any]], low: float, high: float) -> None:
    """Not by the greatest number that is drawn, whose product and sum round to the end for many bounds."""
    low, high = min(low, high), max(low, high)
    out = np.empty(4, dtype)
    streams._uniform(low, high, cast(np.random.Generator, Greatest()), out)
    assert low == high or bool((out < high).all())
    assert bool((out >= low).all())


@pytest.mark.parametrize(
    ("low", "high", "would_reach"),
    [
        (5, 10, True),
        (-10, -5, False),
        (0, 1, False),
        (-1, 1, False),
        (0, 1e-40, True),
        (1, 1.0000002, True),
        (1000, 1001, True),
        (-0.3, 0.1, False),
    ],
)
def test_uniform_excludes_its_high_end_where_rounding_would_reach_it(
    low: float, high: float, would_reach: bool
) -> None:
    """Over values that are drawn, with a seed whose block holds the greatest number that float32 gives."""
    path = "dense/kernel"
    numbers = Stream(WITH_GREATEST, path).generator(0).random(BLOCK_SIZE, np.float32)
    assert numbers.max() == np.float32(1 - 2**-24), "another seed is needed: see with_greatest"
    rounded = numbers * np.float32(high - low) + np.float32(low)
    assert (rounded.max() >= np.float32(high)) == would_reach
    built = model("input: [512]\nlayers: [{dense: 512}]")
    values = drawn(built, path, f"{{uniform: [{low!r}, {high!r}]}}", WITH_GREATEST)
    assert np.float32(low) <= values.min()
    assert values.max() < np.float32(high)


def with_greatest() -> int:
    """The first seed whose first block holds the greatest number."""
    seed = 0
    while Stream(seed, "dense/kernel").generator(0).random(BLOCK_SIZE, np.float32).max() < np.float32(1 - 2**-24):
        seed += 1
    return seed


WITH_GREATEST = 199

# The same bytes everywhere

MATRIX = "name: golden\ninput: [600]\nlayers: [{dense: {name: layer, units: 904}}]"
KERNEL = "name: golden\ninput: [3, 3, 160]\nlayers: [{conv2d: {name: layer, filters: 368, kernel_size: 3}}]"
"""Their kernels, layer/kernel, have 542,400 and 529,920 values: two blocks and a part of a third."""

GOLDEN: dict[str, tuple[str, str, str]] = {
    "zeros": ("216db6b12896580b", "2cc6655c04ccd099", "f57194a24b15e9df"),
    "ones": ("8289aab76c4a563a", "39069d071b141ea0", "d25c6bae194ec169"),
    "{constant: 42}": ("ca2f389db6b0b67a", "b35aed91859d6bf7", "ffd8af8fdc0928ec"),
    "random_uniform": ("1940f6c4a1672e30", "d5591f6d2103bbcc", "5cb3016be6cb6c47"),
    "{random_uniform: [5, 10]}": ("9a6e43ff6858edd6", "02774b2243922e37", "5cc80151a2bbae10"),
    "{uniform_sum: [-1, 2]}": ("831775bcc469018a", "051a0ca0d161c300", "806277f92aa29229"),
    "random_normal": ("e531061eec195d0b", "83bb3172ef80b729", "5956d9480b958241"),
    "{random_normal: [-3, 0.5]}": ("c86a38f395be0461", "583976550ff93aac", "5c213f3255d841a3"),
    "truncated_normal": ("25d2b8b46dcf0af2", "fc40d6380098ae88", "1c7170e0f7315e9d"),
    "{trunc_normal: {mean: 1, std: 2, a: 0, b: 6}}": ("b4566a2e86042573", "f5cec279a836d76f", "ada63a92ddffeb64"),
    "variance_scaling": ("27d36057526d4073", "95c81b6e9ef61e5a", "6b9a14e72564cea4"),
    "{variance_scaling: [2, fan_out, uniform]}": ("d05d2499a2dc64b4", "5e548dee8896c4b8", "ff941819a87bb289"),
    "{variance_scaling: [2, fan_geo_avg, untruncated_normal]}": (
        "b032eb5eabc57d37",
        "c55d3755ec21720c",
        "ad8949d2b3ce3ccc",
    ),
    "{glorot_uniform: tanh}": ("ed756805d297e70e", "8124eb157c42e7ad", "cce87ed952f1ac36"),
    "glorot_normal": ("39a9dbe4087a42bb", "495c04cea5de28a4", "ed116ea1da321848"),
    "xavier_normal": ("ecb1f1dc11a869a6", "877bb11d56d6c033", "fabaf70ae68634f1"),
    "he_uniform": ("f3c3fe00ab3504d9", "39601555958ef3dc", "b4bcd60913738d10"),
    "he_normal": ("e47b505c855bc593", "882f436c9eddc3e5", "c9ac4f6387453cf5"),
    "kaiming_uniform": ("f3c3fe00ab3504d9", "39601555958ef3dc", "b4bcd60913738d10"),
    "kaiming_normal": ("7436fc0e87a57769", "cb80eba9a8282a03", "3506a0ce8079c288"),
    "lecun_uniform": ("07dd8cc833d621b4", "6a043ca770400b6b", "3f6de926b093cd2c"),
    "lecun_normal": ("27d36057526d4073", "95c81b6e9ef61e5a", "6b9a14e72564cea4"),
    "{identity: -2}": ("8ee848d66eec8fbb", "a02c17ace048fae1", "d5c6e3a6265ad676"),
    "dirac": ("d94e364d85073cb1", "9e446effcfbfb5e6", "a2c2c69b0c876b72"),
    "{sparse: 0.3}": ("abb2f1b636588e5b", "76cace84d43f49d0", "cbd711fe5a70eb10"),
    "{mixture: [[0.25, {uniform: [5, 10]}], [0.5, zeros], [0.25, {uniform: [-10, -5]}]]}": (
        "461200646c6efd2b",
        "302f63086f0a5bee",
        "11cb4bb8c94b53aa",
    ),
    "{mixture: [[0.1, ones], [0.2, {mixture: [[0.5, he_normal], [0.5, random_normal]]}], [0.7, he_uniform]]}": (
        "5325fb26db3acc1a",
        "97811c438751022f",
        "f8c8b3a4c58d81a5",
    ),
    "{padded: random_normal}": ("e8b626c5f6f82e2a", "cd77345cc6ae9c69", "8978af19c97a5f41"),
    "{unit_forget_bias: random_normal}": ("706c7f3bab627670", "9e1d53813ef33b56", "f403e251defc6a49"),
}
"""Of each scheme that needs no LAPACK, the first half of the SHA-256 of its bytes in float32, float64 and bfloat16."""
DTYPES = ("float32", "float64", "bfloat16")
GOLDEN_SEED = 7


def golden_values(scheme: str, dtype: str) -> np.ndarray:
    text = MATRIX if fits(scheme, model(MATRIX).parameters["layer/kernel"]) else KERNEL
    return drawn(model(text).with_dtype(dtype), "layer/kernel", scheme, GOLDEN_SEED)


def digest(values: np.ndarray) -> str:
    return sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()[:16]


def golden_schemes() -> list[str]:
    return [
        scheme for scheme, kinds in FITS.items() if not isinstance(sample_law(scheme, kinds), (Orthogonal, Centered))
    ]


def sample_law(scheme: str, kinds: set[str]) -> Distribution:
    return distribution(node(scheme), Target.of(network().parameters[KINDS[min(kinds)]]))


def hashes() -> dict[str, list[str]]:
    return {scheme: [digest(golden_values(scheme, dtype)) for dtype in DTYPES] for scheme in golden_schemes()}


def test_every_scheme_but_those_that_need_lapack_is_golden() -> None:
    assert len(GOLDEN) > 20
    for scheme in golden_schemes():
        assert scheme in GOLDEN, (
            f"add to GOLDEN: {scheme!r}: {tuple(digest(golden_values(scheme, d)) for d in DTYPES)},"
        )
    assert list(GOLDEN) == golden_schemes()
    assert FITS.keys() - GOLDEN.keys(), "an orthogonal matrix takes LAPACK"
    for text in (MATRIX, KERNEL):
        assert 2 * BLOCK_SIZE < model(text).parameters["layer/kernel"].size < 2.1 * BLOCK_SIZE
    assert len({hash_ for each in GOLDEN.values() for hash_ in each}) > 2.5 * len(GOLDEN) - 10, "few are the same"


@pytest.mark.parametrize("scheme", GOLDEN)
def test_the_bytes_are_those_of_every_other_machine(scheme: str) -> None:
    """If this fails, values have changed, and with them what a seed means: see the head of this file."""
    assert tuple(digest(golden_values(scheme, dtype)) for dtype in DTYPES) == GOLDEN[scheme]


def processor_features() -> list[str]:
    """Return the features of this processor that NumPy uses, and that can be disabled."""
    from numpy._core import _multiarray_umath as core

    return [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]


def test_the_bytes_do_not_depend_on_the_processors_instructions() -> None:
    """A process that NumPy may use none in but its baseline's; and what is orthogonal is the same within rounding."""
    features = processor_features()
    if not features:
        pytest.skip("NumPy uses nothing of this processor that it can be told not to use")
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(features), "OPENBLAS_CORETYPE": "Prescott"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.test_streams", "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["features"] == [], "they are not used"
    assert {scheme: tuple(each) for scheme, each in told["golden"].items()} == GOLDEN
    for scheme in ORTHOGONAL:
        here = few_orthogonal(scheme)
        assert len(here) > 100
        assert np.abs(np.array(told["orthogonal"][scheme]) - here).max() < 1e-5


ORTHOGONAL = [scheme for scheme in FITS if "orthogonal" in scheme]


def few_orthogonal(scheme: str) -> list[float]:
    _, values = sample(scheme, "conv")
    return cast(list[float], values[1, 1, :, 0:20].reshape(-1).tolist())


def test_orthogonal_gives_the_same_bytes_on_the_same_machine() -> None:
    """In another process; in another order."""
    code = (
        "from tests.test_streams import *\n"
        "for scheme in ORTHOGONAL[::-1]:\n    sys.stdout.write(digest(sample(scheme, 'conv')[1]) + '\\n')"
    )
    here = [digest(sample(scheme, "conv")[1]) for scheme in ORTHOGONAL]
    assert len(set(here)) == 2
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == here[::-1]


def test_orthogonal_does_not_depend_on_how_many_threads_lapack_has(paramctl: Run, tmp_path: Path) -> None:
    """As few as one processor has, or as many as NumPy is built for."""
    (tmp_path / "m.yaml").write_text("input: [300]\nlayers: [{dense: {units: 200, kernel_initializer: orthogonal}}]")
    for threads in ("1", "2"):
        done = paramctl(
            *("init", "m.yaml", "--dtype", "float64", "-o", f"{threads}.safetensors", "-q"),
            env={"OPENBLAS_NUM_THREADS": threads},
        )
        assert done.returncode == 0
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


def test_a_bfloat16_file_holds_the_rounding_of_a_float32_file(tmp_path: Path) -> None:
    """As read again from safetensors and from HDF5."""
    built = model(MATRIX)
    for suffix in ("safetensors", "h5"):
        for dtype in ("float32", "bfloat16"):
            source = Drawn(built.with_dtype(dtype), assign_schemes(built), GOLDEN_SEED)
            save(source, str(tmp_path / f"{dtype}.{suffix}"))
        single, brain = (
            whole(Stored(opened.checkpoint), "layer/kernel")
            for opened in (open_path(str(tmp_path / f"{dtype}.{suffix}")) for dtype in ("float32", "bfloat16"))
        )
        assert brain.dtype == ml_dtypes.bfloat16
        assert np.array_equal(brain.view(np.uint16), bfloat16_bits(single))


if __name__ == "__main__":
    if sys.argv[1:] == ["--json"]:
        few = {scheme: few_orthogonal(scheme) for scheme in ORTHOGONAL}
        json.dump({"features": processor_features(), "golden": hashes(), "orthogonal": few}, sys.stdout)
    else:
        sys.stdout.write(f"WITH_GREATEST = {with_greatest()}\n\n")
        for scheme_, each_ in hashes().items():
            sys.stdout.write(f"    {json.dumps(scheme_)}: {json.dumps(each_).replace('[', '(').replace(']', ')')},\n")
