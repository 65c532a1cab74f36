"""Schemes and presets give the laws of Keras' initializers and of torch.nn.init, read from the frameworks as they run.

Of Keras, its calls of keras.random are listened to while real layers are built; of torch, the operations that it
dispatches while its functions and its modules fill their tensors. What is drawn otherwise is compared by its values.
"""

import json
from collections.abc import Callable, Iterator
from itertools import product
from math import prod, sqrt
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import torch
from keras.src.initializers import random_initializers
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from paramctl.core.parameter import Parameter
from paramctl.declare.located import Located
from paramctl.init import presets
from paramctl.init.distributions import (
    Constant,
    Distribution,
    Normal,
    Orthogonal,
    Padded,
    Sections,
    Sparse,
    TruncatedNormal,
    Uniform,
    moments,
    support,
)
from paramctl.init.gains import GAINS
from paramctl.init.registry import SCHEMES, Target, distribution
from paramctl.init.rules import AssignedScheme, InitRequest, assign_schemes
from paramctl.model import Model, build
from paramctl.model.document import parse, parse_value
from paramctl.model.layers import LAYERS, Layer
from paramctl.source.drawn import Drawn
from tests.interop.cases import Case, all_inputs, known, required
from tests.interop.facts import Shape
from tests.interop.sides import called, class_of, divided, in_keras

SAMPLES = 200_000
ERRORS = 5


def scheme(name: str, **options: Any) -> Located:
    return parse_value(json.dumps({name: options}) if options else name, "scheme")


def built(entry: dict[str, Any], inputs: dict[str, Shape]) -> Model:
    return build(parse(json.dumps({"inputs": inputs, "layers": [entry]}), "case"))


def drawn(model: Model, path: str, node: Located) -> np.ndarray:
    """The values of a parameter under a scheme, with fans as torch counts them."""
    parameter = model.parameters[path]
    chosen = AssignedScheme("", distribution(node, Target.of(parameter, "torch")), "")
    return Drawn(model, {path: chosen}).read(path, 0, parameter.size).reshape(parameter.shape)


def same(ours: Distribution, theirs: Distribution) -> bool:
    """Return whether two laws are of one kind, with equal numbers except for the last bits."""
    if type(ours) is not type(theirs):
        return False
    mine, others = ([getattr(each, name) for name in each.__slots__] for each in (ours, theirs))
    return mine == pytest.approx(others, rel=1e-13, abs=0)


# Keras: what it calls keras.random with


class Recorder:
    """Stands in for keras.random within Keras' initializers: does what they ask for, and notes the law."""

    def __init__(self) -> None:
        self.random = random_initializers.random
        self.laws: list[tuple[Shape, Distribution]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.random, name)

    def uniform(self, shape: Shape, minval: float = 0.0, maxval: float = 1.0, **options: Any) -> Any:
        self.laws.append((tuple(shape), Uniform(minval, maxval)))
        return self.random.uniform(shape, minval=minval, maxval=maxval, **options)

    def normal(self, shape: Shape, mean: float = 0.0, stddev: float = 1.0, **options: Any) -> Any:
        self.laws.append((tuple(shape), Normal(mean, stddev)))
        return self.random.normal(shape, mean=mean, stddev=stddev, **options)

    def truncated_normal(self, shape: Shape, mean: float = 0.0, stddev: float = 1.0, **options: Any) -> Any:
        self.laws.append((tuple(shape), TruncatedNormal(mean, stddev)))
        return self.random.truncated_normal(shape, mean=mean, stddev=stddev, **options)


class Made(NamedTuple):
    """Keras' initialization of one variable: the laws that it drew from, with shapes; and the variable itself."""

    laws: list[tuple[Shape, Distribution]]
    variable: keras.Variable

    @property
    def values(self) -> np.ndarray:
        return np.asarray(keras.ops.convert_to_numpy(self.variable))


Build = Callable[..., dict[str, Made]]


@pytest.fixture
def by_keras(monkeypatch: pytest.MonkeyPatch) -> Build:
    """Builds a layer of Keras on inputs; what was made for each variable, by its name below the layer."""
    recorder = Recorder()
    monkeypatch.setattr(random_initializers, "random", recorder)
    made: dict[str, Made] = {}
    add_weight = keras.layers.Layer.add_weight

    def noting(self: keras.layers.Layer, *arguments: Any, **options: Any) -> Any:
        before = len(recorder.laws)
        variable = add_weight(self, *arguments, **options)
        name = variable.path.rpartition("subject/")[2]
        made[name] = Made(recorder.laws[before:], variable)
        return variable

    monkeypatch.setattr(keras.layers.Layer, "add_weight", noting)

    def build_layer(type_: str, case: Case) -> dict[str, Made]:
        made.clear()
        options, at_call = divided(LAYERS[type_], case)
        subject = class_of(LAYERS[type_])(name="subject", **options)
        called(subject, case, at_call, keras.Input)
        assert made
        return dict(made)

    return build_layer


KERNELS: dict[str, tuple[dict[str, Any], Shape]] = {
    "dense": ({"units": 6}, (8,)),
    "conv1d": ({"filters": 6, "kernel_size": 3}, (9, 4)),
    "conv2d": ({"filters": 6, "kernel_size": [3, 2]}, (9, 9, 4)),
    "conv2d grouped": ({"filters": 6, "kernel_size": 3, "groups": 2}, (9, 9, 4)),
    "conv2d strided": ({"filters": 6, "kernel_size": 3, "strides": 2}, (9, 9, 4)),
    "conv3d": ({"filters": 6, "kernel_size": 2}, (5, 5, 5, 4)),
    "depthwise_conv1d": ({"kernel_size": 3}, (9, 4)),
    "depthwise_conv2d": ({"kernel_size": 3, "depth_multiplier": 2}, (9, 9, 4)),
    "separable_conv2d": ({"filters": 6, "kernel_size": 3, "depth_multiplier": 2}, (9, 9, 4)),
    "conv1d_transpose": ({"filters": 6, "kernel_size": 3}, (9, 4)),
    "conv2d_transpose": ({"filters": 6, "kernel_size": 3, "strides": 2}, (9, 9, 4)),
    "conv3d_transpose": ({"filters": 6, "kernel_size": 2}, (5, 5, 5, 4)),
    "multi_head_attention": ({"num_heads": 2, "key_dim": 3, "value_dim": 5}, (7, 8)),
    "grouped_query_attention": ({"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}, (7, 8)),
    "embedding": ({"input_dim": 10, "output_dim": 4}, (7,)),
    "simple_rnn": ({"units": 4}, (7, 3)),
    "lstm": ({"units": 4}, (7, 3)),
    "gru": ({"units": 4}, (7, 3)),
}
"""Layers that have kernels, with options and an input."""

OF_KERAS: list[tuple[str, dict[str, Any]]] = [
    ("random_uniform", {}),
    ("random_uniform", {"minval": -1, "maxval": 3}),
    ("random_normal", {}),
    ("random_normal", {"mean": 1, "stddev": 0.01}),
    ("truncated_normal", {}),
    ("truncated_normal", {"mean": -1, "stddev": 2}),
    ("variance_scaling", {}),
    *[
        ("variance_scaling", {"scale": scale, "mode": mode, "distribution": distribution})
        for scale, mode, distribution in product(
            (0.1, 2.0), ("fan_in", "fan_out", "fan_avg"), ("truncated_normal", "untruncated_normal", "uniform")
        )
    ],
    ("glorot_uniform", {}),
    ("glorot_normal", {}),
    ("he_uniform", {}),
    ("he_normal", {}),
    ("lecun_uniform", {}),
    ("lecun_normal", {}),
]
"""Initializers of Keras that draw value by value, with options; schemes have their names and take the same options."""

BY_VALUE = {"constant", "identity", "ones", "orthogonal", "zeros"}
NO_SCHEMES = {"initializer", "stft"}
"""The class that the others are derived from; and one that is for spectrograms, which no layer has as a parameter."""


def test_every_initializer_of_keras_is_compared() -> None:
    """By the public names of its classes: each has a scheme of the same name, with Keras' other names."""
    classes = keras.src.initializers.ALL_OBJECTS
    names = {keras.src.utils.naming.to_snake_case(cls.__name__): cls for cls in classes}
    assert names.keys() == {name for name, _ in OF_KERAS} | BY_VALUE | NO_SCHEMES
    for alias, cls in keras.src.initializers.ALL_OBJECTS_DICT.items():
        if alias == alias.lower() and alias not in NO_SCHEMES:
            assert SCHEMES[alias].name == keras.src.utils.naming.to_snake_case(cls.__name__)


def weights_with(options: dict[str, Any], type_: str, value: Any) -> dict[str, Any]:
    """A layer's options with one initializer for all of its weights."""
    named = [name for name in LAYERS[type_].signature if name.endswith("_initializer") and name != "bias_initializer"]
    assert named
    return options | dict.fromkeys(named, value)


@pytest.mark.parametrize("kind", KERNELS)
def test_an_initializer_draws_from_the_law_of_its_scheme(kind: str, by_keras: Build) -> None:
    """Each that draws value by value, on each kernel of a real layer: the numbers that Keras calls keras.random with."""
    options, shape = KERNELS[kind]
    type_ = kind.partition(" ")[0]
    weights = [
        each
        for each in built({type_: options | {"name": "subject"}}, {"x": shape}).parameters.values()
        if each.kind == "weight"
    ]
    for name, its_options in OF_KERAS:
        initializer = keras.initializers.get({"class_name": name, "config": its_options})
        theirs = by_keras(type_, Case({"x": shape}, weights_with(options, type_, initializer)))
        for parameter in weights:
            ((drawn_shape, expected),) = theirs[parameter.path.removeprefix("subject/")].laws
            assert drawn_shape == parameter.shape
            ours = distribution(scheme(name, **its_options), Target.of(parameter, "keras"))
            assert same(ours, expected), f"{name} {its_options} for {parameter.path}: {ours}, Keras {expected}"


def test_the_fans_compared_are_not_the_true_ones_everywhere() -> None:
    """The convention makes a difference in these layers; otherwise the comparison would prove nothing."""
    differ = set()
    for kind, (options, shape) in KERNELS.items():
        for parameter in built({kind.partition(" ")[0]: options}, {"x": shape}).parameters.values():
            if parameter.kind == "weight" and Target.of(parameter) != Target.of(parameter, "keras"):
                differ.add(kind)
    assert differ == {
        *("conv2d grouped", "depthwise_conv1d", "depthwise_conv2d", "separable_conv2d"),
        *("conv1d_transpose", "conv2d_transpose", "conv3d_transpose", "embedding"),
    }


def assert_sampled_from(of: Distribution, values: np.ndarray) -> None:
    """Mean and deviation within a few standard errors, and the bounds reached and kept."""
    known_moments = moments(of)
    assert known_moments is not None
    mean, deviation = known_moments
    values = values.astype(np.float64).reshape(-1)
    assert abs(values.mean() - mean) < ERRORS * deviation / sqrt(values.size)
    assert abs(values.std() - deviation) < ERRORS * deviation / sqrt(2 * values.size)
    bounds = support(of)
    if bounds is not None:
        low, high = bounds
        slack = 1e-6 * (high - low)
        assert low - slack <= values.min() <= mean - deviation
        assert mean + deviation <= values.max() <= high + slack


@pytest.mark.parametrize("name", sorted({name for name, _ in OF_KERAS}))
def test_kerass_own_values_follow_the_scheme(name: str) -> None:
    """That its calls mean what the laws say: truncated at 2 deviations and not corrected, for one."""
    parameter = built({"dense": 400}, {"x": (500,)}).parameters["dense/kernel"]
    values = keras.initializers.get({"class_name": name, "config": {"seed": 3}})(parameter.shape)
    assert_sampled_from(distribution(scheme(name), Target.of(parameter, "keras")), keras.ops.convert_to_numpy(values))


@pytest.mark.parametrize("value", [0.0, 1.0, 42, -0.5])
def test_constants_of_keras(value: float) -> None:
    target = Target.of(built({"dense": 3}, {"x": (4,)}).parameters["dense/kernel"])
    of_value = keras.initializers.Constant(value)((4, 3))
    assert same(distribution(scheme("constant", value=value), target), Constant(value))
    assert np.array_equal(keras.ops.convert_to_numpy(of_value), np.full((4, 3), value, "float32"))
    for name in ("zeros", "ones"):
        ours = distribution(scheme(name), target)
        assert isinstance(ours, Constant)
        assert bool((keras.ops.convert_to_numpy(keras.initializers.get(name)((4, 3))) == ours.value).all())


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_identity_of_keras(shape: tuple[int, int]) -> None:
    model = built({"dense": shape[1]}, {"x": shape[:1]})
    for gain in (1.0, 2.5):
        theirs = keras.ops.convert_to_numpy(keras.initializers.Identity(gain)(shape))
        assert np.array_equal(drawn(model, "dense/kernel", scheme("identity", gain=gain)), theirs)


def gram(matrix: np.ndarray) -> np.ndarray:
    """The products of a matrix' rows, or of its columns if they are fewer."""
    return matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T


@pytest.mark.parametrize("kind", KERNELS)
def test_orthogonal_of_keras(kind: str, by_keras: Build) -> None:
    """On each kernel: Keras cuts it into rows and columns as the scheme does, and both have the same products."""
    options, shape = KERNELS[kind]
    type_ = kind.partition(" ")[0]
    model = built({type_: options | {"name": "subject"}}, {"x": shape})
    initializer = keras.initializers.Orthogonal(2.0)
    theirs = by_keras(type_, Case({"x": shape}, weights_with(options, type_, initializer)))
    for parameter in model.parameters.values():
        if parameter.kind != "weight":
            continue
        ours = distribution(scheme("orthogonal", gain=2.0), Target.of(parameter, "keras"))
        assert isinstance(ours, Orthogonal)
        made = theirs[parameter.path.removeprefix("subject/")]
        tall, wide = max(ours.rows, ours.columns), min(ours.rows, ours.columns)
        assert made.laws == [((tall, wide), Normal(0.0, 1.0))]
        values = drawn(model, parameter.path, scheme("orthogonal", gain=2.0))
        for each in (values, made.values):
            assert np.allclose(gram(each.reshape(ours.rows, ours.columns)), 4 * np.eye(wide), atol=1e-5)


# Keras: the defaults of its layers

WITH_PARAMETERS = 24
"""So many types of layers have parameters, at least."""
MORE = {"group_normalization": {"groups": 2}}
"""Options without which a layer does not fit so small an input."""


def layers_with_parameters() -> Iterator[tuple[str, Case, Model]]:
    """Each type that Keras has too, with the options that it must have, on its first input of known sizes."""
    for name, layer in LAYERS.items():
        if in_keras(layer) is None or layer.parameters is Layer.parameters:
            continue
        case = Case(
            next(inputs for inputs in all_inputs(layer) if known(inputs)),
            required(layer.signature) | MORE.get(name, {}),
        )
        main = [each for each in case.inputs if not each.endswith("_input")]
        model = built({name: case.options | {"name": "subject", "from": main}}, case.inputs)
        yield name, case, model


def test_the_preset_keras_equals_the_layers_defaults(by_keras: Build) -> None:
    """Every layer with parameters, built with its defaults: what Keras draws from, or the very values."""
    types = set()
    for name, case, model in layers_with_parameters():
        wishes = InitRequest(
            preset="keras", from_preset=presets.keras(model), convention=presets.PRESETS["keras"].convention
        )
        theirs = by_keras(name, case)
        chosen = assign_schemes(model, wishes)
        assert chosen
        for path, choice in chosen.items():
            made = theirs[path.removeprefix("subject/")]
            what = f"{path} of {name}: {choice.distribution}, Keras {made.laws or made.values}"
            if isinstance(choice.distribution, Orthogonal):
                assert np.allclose(
                    gram(made.values.reshape(choice.distribution.rows, -1)), np.eye(len(gram(made.values))), atol=1e-5
                )
            elif isinstance(choice.distribution, Constant | Sections):
                ours = Drawn(model, chosen).read(path, 0, made.values.size)
                assert np.array_equal(ours, made.values.reshape(-1)), what
            else:
                assert [same(choice.distribution, each) for _, each in made.laws] == [True], what
        types.add(name)
    assert len(types) >= WITH_PARAMETERS, sorted(types)


# torch: what it does to its tensors


class Filling(TorchDispatchMode):
    """Notes from which law each tensor was filled last, by the place of its values; the law of a constant too."""

    def __init__(self) -> None:
        super().__init__()
        self.laws: dict[int, Distribution] = {}

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        name = str(function.overloadpacket)
        if name in ("aten.uniform_", "aten.normal_"):
            first, second = [*arguments[1:3], *(0.0, 1.0)[len(arguments) - 1 :]]
            self.laws[arguments[0].data_ptr()] = (Uniform if "uniform" in name else Normal)(first, second)
        elif name in ("aten.zero_", "aten.fill_"):
            self.laws[arguments[0].data_ptr()] = Constant(float(arguments[1]) if len(arguments) > 1 else 0.0)
        return function(*arguments, **(options or {}))


def in_torch(parameter: Parameter) -> tuple[int, ...]:
    """The shape that torch gives this kernel: outputs first, a transposed convolution's inputs first."""
    roles, shape = [axis.role for axis in parameter.axes], parameter.shape
    if "field" in roles:
        *fields, first, last = shape
        return (first * last, 1, *fields) if "batch" in roles else (last, first, *fields)
    if roles == ["batch", "out"]:
        return shape
    inputs, outputs = (prod(axis.size for axis in parameter.axes if axis.role == role) for role in ("in", "out"))
    packed = 3 if roles == ["in", "out", "out"] else 1
    return packed * outputs, inputs


def to_torch(values: np.ndarray, depthwise: bool = False) -> np.ndarray:
    """Values of a kernel in torch's order."""
    if depthwise:
        *fields, channels, multiplier = values.shape
        values = values.reshape(*fields, 1, channels * multiplier)
    return np.moveaxis(values, (-1, -2), (0, 1))


IN_TORCH = {
    name: each
    for name, each in KERNELS.items()
    if name not in ("grouped_query_attention", "simple_rnn", "lstm", "gru", "multi_head_attention")
} | {"multi_head_attention": ({"num_heads": 2, "key_dim": 4}, (7, 8))}
"""The kernels that torch has as one tensor, where heads and their sizes make up the features."""

OF_TORCH: list[tuple[str, dict[str, Any]]] = [
    *[
        (f"xavier_{law_}", options)
        for law_ in ("uniform", "normal")
        for options in ({}, {"gain": 5 / 3}, {"gain": 0.5})
    ],
    *[
        (f"kaiming_{law_}", {"a": a, "mode": mode, "nonlinearity": nonlinearity})
        for law_, a, mode, nonlinearity in product(
            ("uniform", "normal"),
            (0, 0.2, sqrt(5)),
            ("fan_in", "fan_out"),
            ("leaky_relu", "relu", "tanh", "sigmoid", "linear", "selu"),
        )
    ],
    *[(f"kaiming_{law_}", {}) for law_ in ("uniform", "normal")],
]


@pytest.mark.parametrize("kind", IN_TORCH)
def test_a_function_of_torch_fills_from_the_law_of_its_scheme(kind: str) -> None:
    """xavier and kaiming, with each mode and nonlinearity, on each kernel in torch's layout: the very bounds."""
    options, shape = IN_TORCH[kind]
    model = built({kind.partition(" ")[0]: options}, {"x": shape})
    weights = [each for each in model.parameters.values() if each.kind == "weight"]
    assert weights
    for parameter, (name, arguments) in product(weights, OF_TORCH):
        tensor = torch.empty(in_torch(parameter))
        with Filling() as filling:
            getattr(torch.nn.init, f"{name}_")(tensor, **arguments)
        (expected,) = filling.laws.values()
        ours = distribution(scheme(name, **arguments), Target.of(parameter, "torch"))
        assert same(ours, expected), f"{name} {arguments} for {parameter.path}: {ours}, torch {expected}"


def test_torchs_fans_are_not_the_true_ones_everywhere() -> None:
    differ = set()
    for kind, (options, shape) in IN_TORCH.items():
        for parameter in built({kind.partition(" ")[0]: options}, {"x": shape}).parameters.values():
            if parameter.kind == "weight" and Target.of(parameter) != Target.of(parameter, "torch"):
                differ.add(kind)
    assert differ == {
        *("conv2d grouped", "depthwise_conv1d", "depthwise_conv2d", "separable_conv2d"),
        *("conv1d_transpose", "conv2d_transpose", "conv3d_transpose", "embedding", "multi_head_attention"),
    }


def test_functions_without_fans() -> None:
    """uniform_, normal_ and constant_ are the schemes with their numbers; ones_ and zeros_ need none."""
    parameter = built({"dense": 6}, {"x": (8,)}).parameters["dense/kernel"]
    for ours, theirs in (
        (scheme("uniform", minval=-2, maxval=3), lambda tensor: torch.nn.init.uniform_(tensor, -2, 3)),
        (scheme("uniform", minval=0, maxval=1), torch.nn.init.uniform_),
        (scheme("normal", mean=1, stddev=0.5), lambda tensor: torch.nn.init.normal_(tensor, 1, 0.5)),
        (scheme("normal", mean=0, stddev=1), torch.nn.init.normal_),
        (scheme("constant", value=0.3), lambda tensor: torch.nn.init.constant_(tensor, 0.3)),
        (scheme("ones"), torch.nn.init.ones_),
        (scheme("zeros"), torch.nn.init.zeros_),
    ):
        with Filling() as filling:
            theirs(torch.empty(6, 8))
        (expected,) = filling.laws.values()
        assert same(distribution(ours, Target.of(parameter, "torch")), expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"std": 0.02},
        {"mean": 1.0, "std": 2.0},
        {"mean": 0.5, "std": 1.5, "a": 0.0, "b": 1.0},
        {"std": 1.0, "a": -0.5, "b": 3.0},
        {"mean": -1.0, "std": 0.3, "a": -1.3, "b": -0.2},
    ],
)
def test_trunc_normal_of_torch(options: dict[str, float]) -> None:
    """Its own values have the law's mean, deviation and bounds: a and b are values, and no multiples of std."""
    parameter = built({"dense": 6}, {"x": (8,)}).parameters["dense/kernel"]
    ours = distribution(scheme("trunc_normal", **options), Target.of(parameter, "torch"))
    generator = torch.Generator().manual_seed(1)
    values = torch.nn.init.trunc_normal_(torch.empty(SAMPLES), **options, generator=generator).numpy()
    mean, deviation = moments(ours)  # type: ignore[misc]
    low, high = support(ours)  # type: ignore[misc]
    assert values.mean() == pytest.approx(mean, abs=ERRORS * deviation / sqrt(SAMPLES))
    assert values.std() == pytest.approx(deviation, rel=ERRORS / sqrt(2 * SAMPLES))
    assert (low, high) == pytest.approx((options.get("a", -2.0), options.get("b", 2.0)))
    assert low - 1e-6 <= values.min()
    assert values.max() <= high + 1e-6


@pytest.mark.parametrize(
    "kind", ["dense", "conv1d", "conv2d", "conv2d grouped", "conv3d", "conv2d_transpose", "conv3d_transpose"]
)
def test_orthogonal_of_torch(kind: str) -> None:
    """In torch's layout, the first axis by all others, the scheme's values have the products that torch's have."""
    options, shape = IN_TORCH[kind]
    type_ = kind.partition(" ")[0]
    model = built({type_: options | {"name": "subject"}}, {"x": shape})
    parameter = model.parameters["subject/kernel"]
    tensor = torch.nn.init.orthogonal_(torch.empty(in_torch(parameter)), gain=3).numpy()
    ours = to_torch(drawn(model, "subject/kernel", scheme("orthogonal", gain=3)))
    assert ours.shape == tensor.shape
    for each in (ours, tensor):
        products = gram(each.reshape(len(each), -1))
        assert np.allclose(products, 9 * np.eye(len(products)), atol=1e-5)


@pytest.mark.parametrize(
    ("type_", "options", "shape", "groups"),
    [
        ("conv1d", {"filters": 4, "kernel_size": 3}, (9, 4), 1),
        ("conv1d", {"filters": 7, "kernel_size": 4}, (9, 4), 1),
        ("conv2d", {"filters": 3, "kernel_size": [3, 5]}, (9, 9, 6), 1),
        ("conv2d", {"filters": 6, "kernel_size": [2, 1]}, (9, 9, 6), 3),
        ("conv2d", {"filters": 6, "kernel_size": 3, "groups": 3}, (9, 9, 6), 3),
        ("conv2d", {"filters": 12, "kernel_size": 3, "groups": 3}, (9, 9, 6), 3),
        ("conv2d", {"filters": 6, "kernel_size": 3, "groups": 2}, (9, 9, 8), 1),
        ("conv3d", {"filters": 4, "kernel_size": [3, 2, 1]}, (5, 5, 5, 4), 2),
        ("conv2d_transpose", {"filters": 3, "kernel_size": 3}, (9, 9, 4), 1),
        ("conv2d_transpose", {"filters": 6, "kernel_size": 3, "strides": 2}, (9, 9, 4), 1),
        ("conv2d_transpose", {"filters": 3, "kernel_size": 3}, (9, 9, 4), 2),
    ],
)
def test_dirac_of_torch(type_: str, options: dict[str, Any], shape: Shape, groups: int) -> None:
    """Exactly the same tensor, once the axes are in torch's order."""
    model = built({type_: options | {"name": "subject"}}, {"x": shape})
    theirs = torch.nn.init.dirac_(torch.empty(in_torch(model.parameters["subject/kernel"])), groups).numpy()
    ours = drawn(model, "subject/kernel", scheme("dirac", groups=groups) if groups > 1 else scheme("dirac"))
    assert theirs.any()
    assert np.array_equal(to_torch(ours), theirs)


@pytest.mark.parametrize("multiplier", [1, 3])
def test_dirac_of_torch_on_a_depthwise_convolution(multiplier: int) -> None:
    """torch has it as a convolution with one group for each channel."""
    model = built(
        {"depthwise_conv2d": {"name": "subject", "kernel_size": 3, "depth_multiplier": multiplier}}, {"x": (9, 9, 4)}
    )
    theirs = torch.nn.init.dirac_(torch.empty(4 * multiplier, 1, 3, 3), groups=4).numpy()
    assert np.array_equal(to_torch(drawn(model, "subject/kernel", scheme("dirac")), depthwise=True), theirs)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_eye_of_torch(shape: tuple[int, int]) -> None:
    model = built({"dense": shape[1]}, {"x": shape[:1]})
    theirs = torch.nn.init.eye_(torch.empty(shape[::-1])).numpy()
    assert np.array_equal(to_torch(drawn(model, "dense/kernel", scheme("eye"))), theirs)


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.3, 0.5, 0.99, 1.0])
def test_sparse_of_torch(sparsity: float) -> None:
    """As many zeros in each column of torch's weight, which is an input's; the others with its deviation."""
    model = built({"dense": 70}, {"x": (300,)})
    theirs = torch.nn.init.sparse_(torch.empty(70, 300), sparsity, std=0.5).numpy()
    ours = to_torch(drawn(model, "dense/kernel", scheme("sparse", sparsity=sparsity, std=0.5)))
    assert isinstance(
        distribution(scheme("sparse", sparsity=sparsity), Target.of(model.parameters["dense/kernel"])), Sparse
    )
    assert np.array_equal((ours == 0).sum(axis=0), (theirs == 0).sum(axis=0))
    if sparsity < 0.9:
        assert ours[ours != 0].std() == pytest.approx(theirs[theirs != 0].std(), rel=0.05)


KNOWN_TO_TORCH = {"linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"}


def test_gains() -> None:
    """torch's for the functions that it knows; for others, which it refuses, those that keep the second moment."""
    for name in KNOWN_TO_TORCH:
        assert GAINS[name] == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)
    convolutions = {name for name in GAINS if name.startswith("conv")}
    assert len(convolutions) == 6
    assert all(GAINS[name] == torch.nn.init.calculate_gain(name) for name in convolutions)
    others = GAINS.keys() - KNOWN_TO_TORCH - convolutions
    assert len(others) >= 5
    z = torch.linspace(-12, 12, 240_001, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2) / sqrt(2 * torch.pi)
    for name in others:
        with pytest.raises(ValueError, match="Unsupported nonlinearity"):
            torch.nn.init.calculate_gain(name)
        second = torch.trapezoid(getattr(functional, name)(z) ** 2 * density, z)
        assert GAINS[name] == pytest.approx(1 / sqrt(float(second)), rel=1e-9)


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.3, sqrt(5)])
def test_gain_of_leaky_relu(slope: float) -> None:
    """The gain within kaiming: of a slope of one's own."""
    parameter = built({"dense": 6}, {"x": (8,)}).parameters["dense/kernel"]
    ours = distribution(scheme("kaiming_normal", a=slope), Target.of(parameter, "torch"))
    assert same(ours, Normal(0, torch.nn.init.calculate_gain("leaky_relu", slope) / sqrt(8)))


# torch: the defaults of its modules


class Pair(NamedTuple):
    """A module, the layer that is the same, and which of the module's tensors each of the layer's parameters is."""

    module: Callable[[], torch.nn.Module]
    layer: str
    options: dict[str, Any]
    input: Shape
    names: dict[str, list[str]]


BOTH = {"kernel": ["weight"], "bias": ["bias"]}


def recurrent(cell: str) -> dict[str, list[str]]:
    names = {"kernel": ["weight_ih"], "recurrent_kernel": ["weight_hh"], "bias": ["bias_ih", "bias_hh"]}
    return {f"{cell}_cell/{ours}": [f"{name}_l0" for name in theirs] for ours, theirs in names.items()}


nn = torch.nn
PAIRS = {
    "Linear": Pair(lambda: nn.Linear(700, 500), "dense", {"units": 500}, (700,), BOTH),
    "Conv1d": Pair(lambda: nn.Conv1d(40, 200, 5), "conv1d", {"filters": 200, "kernel_size": 5}, (9, 40), BOTH),
    "Conv2d": Pair(
        lambda: nn.Conv2d(40, 200, (3, 2)), "conv2d", {"filters": 200, "kernel_size": [3, 2]}, (9, 9, 40), BOTH
    ),
    "Conv3d": Pair(lambda: nn.Conv3d(20, 200, 3), "conv3d", {"filters": 200, "kernel_size": 3}, (9, 9, 9, 20), BOTH),
    "Conv2d, strided": Pair(
        lambda: nn.Conv2d(40, 200, 3, stride=2),
        "conv2d",
        {"filters": 200, "kernel_size": 3, "strides": 2},
        (9, 9, 40),
        BOTH,
    ),
    "Conv2d, grouped": Pair(
        lambda: nn.Conv2d(40, 200, 3, groups=4),
        "conv2d",
        {"filters": 200, "kernel_size": 3, "groups": 4},
        (9, 9, 40),
        BOTH,
    ),
    "Conv2d, depthwise": Pair(
        lambda: nn.Conv2d(100, 300, 3, groups=100),
        "depthwise_conv2d",
        {"kernel_size": 3, "depth_multiplier": 3},
        (9, 9, 100),
        BOTH,
    ),
    "Conv1d, depthwise": Pair(
        lambda: nn.Conv1d(300, 300, 7, groups=300), "depthwise_conv1d", {"kernel_size": 7}, (9, 300), BOTH
    ),
    "Conv2d, depthwise and pointwise": Pair(
        lambda: nn.Sequential(nn.Conv2d(200, 400, 3, groups=200, bias=False), nn.Conv2d(400, 300, 1)),
        "separable_conv2d",
        {"filters": 300, "kernel_size": 3, "depth_multiplier": 2},
        (9, 9, 200),
        {"depthwise_kernel": ["0.weight"], "pointwise_kernel": ["1.weight"], "bias": ["1.bias"]},
    ),
    "ConvTranspose1d": Pair(
        lambda: nn.ConvTranspose1d(40, 150, 5), "conv1d_transpose", {"filters": 150, "kernel_size": 5}, (9, 40), BOTH
    ),
    "ConvTranspose2d": Pair(
        lambda: nn.ConvTranspose2d(40, 150, 3, stride=2),
        "conv2d_transpose",
        {"filters": 150, "kernel_size": 3, "strides": 2},
        (9, 9, 40),
        BOTH,
    ),
    "ConvTranspose3d": Pair(
        lambda: nn.ConvTranspose3d(40, 150, 2),
        "conv3d_transpose",
        {"filters": 150, "kernel_size": 2},
        (9, 9, 9, 40),
        BOTH,
    ),
    "Embedding": Pair(
        lambda: nn.Embedding(900, 50),
        "embedding",
        {"input_dim": 900, "output_dim": 50},
        (7,),
        {"embeddings": ["weight"]},
    ),
    "Embedding with padding": Pair(
        lambda: nn.Embedding(900, 50, padding_idx=0),
        "embedding",
        {"input_dim": 900, "output_dim": 50, "mask_zero": True},
        (7,),
        {"embeddings": ["weight"]},
    ),
    "RNN": Pair(
        lambda: nn.RNN(70, 90),
        "simple_rnn",
        {"units": 90},
        (5, 70),
        recurrent("simple_rnn"),
    ),
    "LSTM": Pair(lambda: nn.LSTM(70, 90), "lstm", {"units": 90}, (5, 70), recurrent("lstm")),
    "GRU": Pair(lambda: nn.GRU(70, 90), "gru", {"units": 90}, (5, 70), recurrent("gru")),
    "LSTM, bidirectional": Pair(
        lambda: nn.LSTM(70, 90, bidirectional=True),
        "bidirectional",
        {"layer": {"lstm": {"units": 90}}},
        (5, 70),
        {
            f"{way}_lstm/{ours}": [f"{name}{'_reverse' * (way == 'backward')}" for name in theirs]
            for way in ("forward", "backward")
            for ours, theirs in recurrent("lstm").items()
        },
    ),
    "MultiheadAttention": Pair(
        lambda: nn.MultiheadAttention(160, 8),
        "multi_head_attention",
        {"num_heads": 8, "key_dim": 20},
        (5, 160),
        {
            **{f"{part}/kernel": ["in_proj_weight"] for part in ("query", "key", "value")},
            **{f"{part}/bias": ["in_proj_bias"] for part in ("query", "key", "value")},
            "attention_output/kernel": ["out_proj.weight"],
            "attention_output/bias": ["out_proj.bias"],
        },
    ),
    "Linear, at each step": Pair(
        lambda: nn.Linear(200, 500),
        "time_distributed",
        {"layer": {"dense": {"units": 500}}},
        (5, 200),
        {f"dense/{ours}": theirs for ours, theirs in BOTH.items()},
    ),
    "PReLU": Pair(lambda: nn.PReLU(300), "p_re_lu", {}, (300,), {"alpha": ["weight"]}),
    "BatchNorm2d": Pair(
        lambda: nn.BatchNorm2d(30),
        "batch_normalization",
        {},
        (9, 9, 30),
        {
            "gamma": ["weight"],
            "beta": ["bias"],
            "moving_mean": ["running_mean"],
            "moving_variance": ["running_var"],
        },
    ),
    "LayerNorm": Pair(
        lambda: nn.LayerNorm(30), "layer_normalization", {}, (9, 30), {"gamma": ["weight"], "beta": ["bias"]}
    ),
    "GroupNorm": Pair(
        lambda: nn.GroupNorm(5, 30),
        "group_normalization",
        {"groups": 5},
        (9, 30),
        {"gamma": ["weight"], "beta": ["bias"]},
    ),
    "RMSNorm": Pair(lambda: nn.RMSNorm(30), "rms_normalization", {}, (9, 30), {"scale": ["weight"]}),
}
"""Modules of torch, big enough that the greatest of their values comes near the bound."""


@pytest.mark.parametrize("name", PAIRS)
def test_the_preset_torch_equals_the_modules_defaults(name: str) -> None:
    """For each tensor of a real module: the law that it was filled from, exactly, and its greatest value."""
    pair = PAIRS[name]
    with Filling() as filling:
        torch.manual_seed(1)
        module = pair.module()
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    model = built({pair.layer: pair.options | {"name": "subject"}}, {"x": pair.input})
    wishes = InitRequest(
        preset="torch", from_preset=presets.torch(model), convention=presets.PRESETS["torch"].convention
    )
    chosen = {path.removeprefix("subject/"): each.distribution for path, each in assign_schemes(model, wishes).items()}
    assert chosen.keys() == pair.names.keys()
    for path, ours in chosen.items():
        for theirs in pair.names[path]:
            tensor = tensors[theirs]
            what = f"{path}: {ours}, {name}.{theirs} {filling.laws.get(tensor.data_ptr())}"
            if isinstance(ours, Uniform) and ours.summands == 2:  # of torch's two biases, for which Keras has one
                assert len(pair.names[path]) == 2, what
                ours = Uniform(ours.low, ours.high)
            # the last to fill the tensor of an embedding with padding is the zero of its first row
            law = Constant(0.0) if isinstance(ours, Padded) else ours
            assert same(law, filling.laws[tensor.data_ptr()]), what
            values = tensor.detach().numpy()
            if isinstance(ours, Padded):  # a row of zeros, and the law of the others
                assert not values[0].any()
                ours, values = ours.rest, values[1:]
            if isinstance(ours, Uniform):
                assert 0.95 * ours.high < np.abs(values).max() <= ours.high * (1 + 1e-6), what
            else:
                assert_sampled_from(ours, values) if isinstance(ours, Normal) else np.testing.assert_array_equal(
                    values, np.full_like(values, ours.value)
                )


RECURRENT_BIASES = {
    "lstm": (2, {"lstm": {"units": 400}}),
    "simple_rnn": (2, {"simple_rnn": {"units": 1600}}),
    "gru": (1, {"gru": {"units": 400}}),
    "gru with one bias": (2, {"gru": {"units": 400, "reset_after": False}}),
}


@pytest.mark.parametrize("name", RECURRENT_BIASES)
def test_the_preset_torch_gives_recurrent_layers_the_sum_of_torchs_biases(name: str) -> None:
    """torch adds two biases. Both the law and the deviation of the effective bias are torch's."""
    summands, entry = RECURRENT_BIASES[name]
    model = built(entry, {"x": (5, 7)})
    ((path, node),) = ((path, node) for path, node in presets.torch(model).items() if path.endswith("bias"))
    of = distribution(node, Target.of(model.parameters[path], "torch"))
    assert isinstance(of, Uniform)
    assert of.summands == summands
    source = Drawn(
        model,
        {
            each: AssignedScheme("", distribution(scheme, Target.of(model.parameters[each], "torch")), "")
            for each, scheme in presets.torch(model).items()
        },
        3,
    )
    parameter = model.parameters[path]
    values = np.asarray(source.read(path, 0, parameter.size)).reshape(-1, parameter.shape[-1])
    kind, options = next(iter(entry.items()))
    torch.manual_seed(0)
    module = {"lstm": nn.LSTM, "simple_rnn": nn.RNN, "gru": nn.GRU}[kind](7, options["units"])
    effective = (module.bias_ih_l0 + module.bias_hh_l0).detach().numpy()
    assert values.sum(0).std() == pytest.approx(effective.std(), rel=0.06)
    if len(values) == 2:
        assert abs(np.corrcoef(values)[0, 1]) < 0.1


def test_the_preset_torch_says_something_of_every_weight_and_bias() -> None:
    """By formula: 1 / sqrt(fan_in) for what has an input, weight and bias, in a network of them."""
    entries: list[dict[str, Any]] = [
        {"conv2d": {"filters": 6, "kernel_size": 3}},
        {"depthwise_conv2d": {"kernel_size": 3}},
        {"conv2d_transpose": {"filters": 5, "kernel_size": 2}},
        {"flatten": {}},
        {"dense": {"units": 10}},
    ]
    model = build(parse(json.dumps({"input": [10, 10, 3], "layers": entries}), "network"))
    schemes = presets.torch(model)
    assert schemes.keys() == model.parameters.keys()
    fan_in = {"conv2d": 27, "depthwise_conv2d": 9, "conv2d_transpose": 20, "dense": 7 * 7 * 5}
    for path, node in schemes.items():
        ours = distribution(node, Target.of(model.parameters[path], "torch"))
        bound = 1 / sqrt(fan_in[path.partition("/")[0]])
        assert same(ours, Uniform(-bound, bound)), path


def test_the_preset_torch_for_attention_between_sequences() -> None:
    """torch packs queries, keys and values only where all have the same number of features."""
    module = nn.MultiheadAttention(160, 8, kdim=60, vdim=100)
    entry = {
        "multi_head_attention": {
            "name": "subject",
            "num_heads": 8,
            "key_dim": 20,
            "value": "v",
            "key": "k",
            "from": "x",
        }
    }
    model = built(entry, {"x": (5, 160), "k": (7, 60), "v": (7, 100)})
    schemes = presets.torch(model)
    for part, letter in (("query", "q"), ("key", "k"), ("value", "v")):
        weight = getattr(module, f"{letter}_proj_weight")
        with Filling() as filling:
            nn.init.xavier_uniform_(weight)
        ours = distribution(
            schemes[f"subject/{part}/kernel"], Target.of(model.parameters[f"subject/{part}/kernel"], "torch")
        )
        assert same(ours, filling.laws[weight.data_ptr()]), part
