"""Every layer with every option, written as .keras and loaded in Keras: the same arrays, and the same output.

The cases are generated from the registry of layers: each value of each option, then some random combinations. All cases
of one layer are one model with an input and an output for each, so that Keras loads few files. The output is compared
with that of a layer that is built by calling Keras' class with the options, and given the same values.
"""

import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras.src.utils.naming import to_snake_case

from paramctl import initialize
from paramctl.declare.option_types import SchemeType
from paramctl.declare.options import Option
from paramctl.errors import OutputError
from paramctl.model import build
from paramctl.model.document import parse
from paramctl.model.layers import LAYERS, Layer
from paramctl.model.layers.activations import ActivationType
from paramctl.source.base import Source
from paramctl.store.keras.network import keras_network
from paramctl.store.keras.objects import NotInKeras
from paramctl.store.keras.to_config import INITIALIZERS, model_config
from tests.interop.cases import Case, all_inputs, choices, known, required
from tests.interop.sides import (
    BATCH,
    by_keras,
    by_paramctl,
    called,
    channels_first,
    class_of,
    divided,
    matched,
    only_keras_takes,
)
from tests.interop.test_checkpoints import arrays_of, equal, opened, values, write
from tests.interop.test_layers import IN_KERAS, NOT_IN_KERAS

COMBINATIONS = 6
REFUSALS = {
    "is a function with options, which a Keras configuration cannot express",
    "changes the shape, which Keras' layers after it do not see",
    "has no rope_theta",
}
"""The reasons for which a configuration is refused, all three of which occur."""
SCHEMES = ["ones", {"random_normal": {"stddev": 0.1}}, {"constant": 0.5}, {"truncated_normal": [0.1, 0.2]}]
"""Initializers of any parameter, whether it has fans or not."""
HALF = ("float16", "bfloat16")


def option_cases(layer: type[Layer]) -> list[Case]:
    """Each value of each option over one input; the options over each rank of input; some combinations."""
    inputs = [given for given in all_inputs(layer) if known(given)]
    base = required(layer.signature)
    grid = {name: some_choices(layer, option) for name, option in layer.signature.items()}
    found = [Case(given, base) for given in inputs]
    found += [Case(given, base | {name: value}) for name in grid for value in grid[name] for given in inputs[:1]]
    found.append(Case(inputs[0], base | {"trainable": False}))
    draw = random.Random(layer.type)  # noqa: S311
    for _ in range(COMBINATIONS):
        some = {name: draw.choice(values) for name, values in grid.items() if name in base or draw.random() < 0.5}
        found.append(Case(draw.choice(inputs), some))
    return list({json.dumps(case): case for case in found}.values())


def some_choices(layer: type[Layer], option: Option) -> list[Any]:
    """Values of an option; of the many functions only a few, except in the layer that is a function."""
    if isinstance(option.type, SchemeType):
        return SCHEMES
    every = choices(option)
    if not isinstance(option.type, ActivationType) or layer.type == "activation":
        return every
    return [every[0], *random.Random(layer.type).sample(every, 4)]  # noqa: S311


class Comparable(NamedTuple):
    """The cases of a layer that are saved: those of which Keras can compute the output, and the others."""

    computed: list[Case]
    others: list[Case]
    refused: int


def comparable(layer: type[Layer]) -> Comparable:
    """Return the cases that paramctl and Keras take. Those that are not saved are refused for a known reason."""
    found = Comparable([], [], 0)
    for case in (matched(layer, channels_first(each)) for each in option_cases(layer)):
        if only_keras_takes(layer, case) or isinstance(by_paramctl(layer, case), str):
            continue
        theirs = by_keras(layer, case)
        if isinstance(theirs, str) or not theirs[1]:
            continue
        reason = refusal(layer, case)
        if reason is not None:
            assert any(words in reason for words in REFUSALS), (case, reason)
            found = found._replace(refused=found.refused + 1)
        else:
            (found.computed if theirs[1][0] != theirs[0].output else found.others).append(case)
    return found


def document(layer: type[Layer], cases: list[Case], dtype: str = "float32") -> dict[str, Any]:
    """A model with each case as a layer of its own, on inputs of its own."""
    inputs: dict[str, Any] = {}
    layers = []
    for number, case in enumerate(cases):
        names = {name: f"{name}-{number}" for name in case.inputs}
        inputs |= {names[name]: {"shape": list(shape), "dtype": dtype} for name, shape in case.inputs.items()}
        mains = [names[name] for name in case.inputs if not name.endswith("_input")]
        options = {
            name: names.get(value, value) if isinstance(value, str) else value for name, value in case.options.items()
        }
        layers.append({layer.type: options | {"name": f"subject-{number}", "from": mains}})
    outputs = [f"subject-{number}" for number in range(len(cases))]
    return {"name": "m", "dtype": dtype, "inputs": inputs, "layers": layers, "outputs": outputs}


def source_of(layer: type[Layer], cases: list[Case], folder: Path, dtype: str = "float32") -> Source:
    """The model of the cases, every array with different values."""
    path = folder / "m.yaml"
    path.write_text(json.dumps(document(layer, cases, dtype)))
    source = opened(path)
    if not any(parameter.trainable for parameter in source.model.parameters.values()):
        return source
    return initialize(str(path), rules={"*": {"random_uniform": [0.1, 1]}}, seed=1).source


def refusal(layer: type[Layer], case: Case) -> str | None:
    """Return the reason why Keras has no configuration of a case."""
    model = build(parse(json.dumps(document(layer, [case])), "m"))
    try:
        model_config(model, keras_network(model))
    except NotInKeras as error:
        return str(error)
    return None


def inputs_of(case: Case, dtype: str, rng: np.random.Generator) -> list[Any]:
    return [keras.ops.cast(rng.random((BATCH, *shape)), dtype) for shape in case.inputs.values()]


def output_alone(
    layer: type[Layer], case: Case, name: str, weights: list[np.ndarray], inputs: list[Any], **more: Any
) -> tuple[Any, keras.layers.Layer]:
    """The output of the layer that Keras' class builds of the options, with these weights; and the layer.

    more: options of the call.
    """
    options, call_options = divided(layer, case)
    subject = class_of(layer)(name=name, **options)
    pending = iter(inputs)
    called(subject, case, call_options, lambda shape: keras.Input(shape))
    subject.set_weights(weights)
    return called(subject, case, call_options | more, lambda shape: next(pending)), subject


def arrays_below(source: Source, name: str) -> list[np.ndarray]:
    return [array for path, array in values(source) if path.startswith(f"{name}/")]


def saved_and_loaded(source: Source, path: Path) -> keras.Model:
    """The model that Keras loads, which has the same arrays under the same names."""
    model = keras.models.load_model(write(source, path, force=True))
    stored = dict(values(source))
    loaded = {variable.path.removeprefix("m/"): variable for variable in model.weights}
    assert loaded.keys() == stored.keys()
    for name, variable in loaded.items():
        array = keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32"))
        assert np.array_equal(array, stored[name].astype("float32")), name
    return model


@pytest.mark.parametrize("name", IN_KERAS)
def test_every_option_of_a_layer_in_a_configuration(name: str, tmp_path: Path) -> None:
    layer = LAYERS[name]
    cases, others, _ = comparable(layer)
    assert cases
    if others:
        saved_and_loaded(source_of(layer, others, tmp_path), tmp_path / "o.keras")
    source = source_of(layer, cases, tmp_path)
    model = saved_and_loaded(source, tmp_path / "m.keras")
    rng = np.random.default_rng(0)
    inputs = [[rng.random((BATCH, *shape), "float32") for shape in case.inputs.values()] for case in cases]
    outputs = model([array for arrays in inputs for array in arrays])
    for number, (case, output) in enumerate(zip(cases, outputs if len(cases) > 1 else [outputs], strict=True)):
        subject = f"subject-{number}"
        expected, _ = output_alone(layer, case, subject, arrays_below(source, subject), inputs[number])
        assert model.outputs[number].shape[1:] == expected.shape[1:], case
        both = (keras.ops.convert_to_numpy(tensor) for tensor in (output, expected))
        # torch computes frozen layers by another kernel, which rounds otherwise
        assert np.allclose(*both, rtol=1e-5, atol=1e-6, equal_nan=True), case


@pytest.mark.parametrize("dtype", HALF)
def test_every_layer_in_half_precision(dtype: str, tmp_path: Path) -> None:
    """Keras builds each, and loads its arrays, although it draws no orthogonal matrices in these dtypes."""
    tried = 0
    for name in IN_KERAS:
        layer = LAYERS[name]
        every = (Case(given, required(layer.signature)) for given in all_inputs(layer) if known(given))
        bases = [case for case in every if not isinstance(by_paramctl(layer, case), str)][:1]
        if not bases:  # of these few options none fits the inputs
            continue
        tried += 1
        if layer.type == "bidirectional":
            bases += [bases[0]._replace(options={"layer": {inner: {"units": 3}}}) for inner in ("lstm", "gru")]
        saved_and_loaded(source_of(layer, bases, tmp_path, dtype), tmp_path / "m.keras")
    assert tried > 60


SCHEME_TEXTS = [
    *({name: {}} for name in INITIALIZERS),
    *({name: {"gain": "relu"}} for name, options in INITIALIZERS.items() if "gain" in options),
    {"variance_scaling": {"scale": 2, "mode": "fan_avg", "distribution": "untruncated_normal"}},
    {"kaiming_normal": {"nonlinearity": "relu"}},
    {"glorot_uniform": {"gain": 2}},
]


@pytest.mark.parametrize("dtype", ["float32", *HALF])
def test_every_initializer_in_a_configuration(dtype: str, tmp_path: Path) -> None:
    """Those that Keras has by its names and options; for others Keras has its default, and the values are the same."""
    layer = LAYERS["dense"]
    texts = [text for text in SCHEME_TEXTS if text != {"identity": {"gain": "relu"}}]
    cases = [Case({"x": (3,)}, {"units": 3, "kernel_initializer": text}) for text in texts]
    (tmp_path / "m.yaml").write_text(json.dumps(document(layer, cases, dtype)))
    model = saved_and_loaded(opened(tmp_path / "m.yaml"), tmp_path / "m.keras")
    names = [
        to_snake_case(type(model.get_layer(f"subject-{i}").kernel_initializer).__name__) for i in range(len(texts))
    ]
    for text, name in zip(texts, names, strict=True):
        ((scheme, options),) = text.items()
        in_keras = scheme in INITIALIZERS and "gain" not in options
        known_to_keras = in_keras and not (scheme == "orthogonal" and dtype in HALF)
        assert name == (scheme if known_to_keras else "glorot_uniform"), text


@pytest.mark.parametrize("name", sorted(NOT_IN_KERAS - {"reuse"}))
def test_a_layer_that_keras_lacks(name: str, tmp_path: Path) -> None:
    """It is refused in one line, and nothing is written; layers with branches become layers of Keras."""
    layer = LAYERS[name]
    branches = [{"dense": {"units": 6}}]
    options = {"residual": {"layers": branches}, "parallel": {"merge": "add", "branches": {"a": branches, "b": []}}}
    if name in options:
        case = Case({"x": (5, 6)}, options[name])
        source = source_of(layer, [case], tmp_path)
        model = keras.models.load_model(write(source, tmp_path / "m.keras"))
        assert equal([array for _, array in values(source)], arrays_of(model))
        return
    experts = {"count": 2, "top": 1, "layers": branches}
    given = experts if layer.holds_layers else required(layer.signature)
    cases = [Case({"x": (length, 6)}, given) for length in (2, 5)]
    fitting = next(case for case in cases if not isinstance(by_paramctl(layer, case), str))
    source = source_of(layer, [fitting], tmp_path)
    with pytest.raises(OutputError, match=f"m.keras: Keras cannot build m: Keras has no layer {name}") as caught:
        write(source, tmp_path / "m.keras")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.keras").exists()


def test_a_refused_option_leaves_no_file(tmp_path: Path) -> None:
    """The three reasons, each as one line."""
    dense = Case({"x": (4,)}, {"units": 2, "activation": {"softmax": {"axis": 1}}})
    glu = Case({"x": (4,)}, {"activation": "glu"})
    heads = {"head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 2, "rope_theta": 10}
    attention = Case({"x": (5, 4)}, heads)
    refused = {"dense": dense, "activation": glu, "grouped_query_attention": attention}
    reasons = set()
    for name, case in refused.items():
        with pytest.raises(OutputError) as caught:
            write(source_of(LAYERS[name], [case], tmp_path), tmp_path / "m.keras")
        assert "\n" not in str(caught.value)
        reasons |= {words for words in REFUSALS if words in str(caught.value)}
        assert not (tmp_path / "m.keras").exists()
    assert reasons == REFUSALS


DENSE, CONVOLUTION = {"dense": {"units": 4}}, {"conv2d": {"filters": 3, "kernel_size": 1}}
APPLIED_AGAIN: dict[str, tuple[Any, list[int | None], list[int | None]]] = {
    "a normalization on another number of axes": ("batch_normalization", [3, 4], [2, 3, 4]),
    "a normalization of groups on another number of axes": ({"group_normalization": {"groups": 2}}, [4], [3, 4]),
    "a block on another number of axes": ([DENSE], [4], [3, 4]),
    "a block on images of other sizes": ([CONVOLUTION, "re_lu"], [8, 8, 3], [4, 4, 3]),
    "a block that flattens images of other sizes": (["flatten", DENSE], [2, 3], [3, 2]),
    "a normalization of features on another number of axes": ("layer_normalization", [3, 4], [2, 3, 4]),
    "a dense layer on another number of axes": (DENSE, [4], [3, 4]),
    "a convolution on images of other sizes": (CONVOLUTION, [8, 8, 3], [4, 4, 3]),
    "a block on images of any size, then of one": ([CONVOLUTION, "re_lu"], [None, None, 3], [4, 4, 3]),
    "a block on images of one size, then of any": ([CONVOLUTION], [4, 4, 3], [None, None, 3]),
}
"""A layer, or the layers of a block, and the shapes of the two inputs that it is applied to; Keras takes the last 5."""


@pytest.mark.parametrize("case", APPLIED_AGAIN)
def test_a_layer_applied_to_inputs_of_other_shapes(case: str, tmp_path: Path) -> None:
    """It is saved if Keras loads it, and refused in one line otherwise."""
    entry, a, b = APPLIED_AGAIN[case]
    blocks = {"blocks": {"block": {"layers": entry}}} if isinstance(entry, list) else {}
    ((name, options),) = ({"block": {}} if blocks else entry if isinstance(entry, dict) else {entry: {}}).items()
    layers = [{name: options | {"name": "s", "from": "a"}}, {"reuse": {"layer": "s", "from": "b", "name": "r"}}]
    text = {"name": "m", "inputs": {"a": a, "b": b}, "layers": layers, "outputs": ["s", "r"], **blocks}
    (tmp_path / "m.yaml").write_text(json.dumps(text))
    if case in [*APPLIED_AGAIN][5:]:
        assert len(keras.models.load_model(write(opened(tmp_path / "m.yaml"), tmp_path / "m.keras")).outputs) == 2
        return
    with pytest.raises(OutputError, match=r"Keras cannot build m: s is applied to .* but in Keras inputs") as caught:
        write(opened(tmp_path / "m.yaml"), tmp_path / "m.keras")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.keras").exists()
