"""The output of every layer, with every option, equals that of Keras' layer with the same arrays.

The cases are those of test_configurations, generated from the registry: a new layer is here by existing. Each is computed
as it is, with masks of its inputs, and in training. Tolerance: 1e-5 of the value plus 1e-5, in float32; both sides add
up float32 numbers in an order of their own.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.backend import get_keras_mask, set_keras_mask

from paramctl.compute.forward import Pass
from paramctl.compute.graph import Step, graph_of
from paramctl.compute.space import NUMPY
from paramctl.compute.values import Values
from paramctl.errors import InputError
from paramctl.model.layers import LAYERS, Layer
from paramctl.model.layers.call import Call, NotComputed
from paramctl.model.layers.spatial import same_margins
from paramctl.source.base import Source
from tests.interop.cases import Case, required
from tests.interop.sides import REFUSALS, class_of, divided
from tests.interop.test_configurations import BATCH, arrays_below, comparable, output_alone, source_of
from tests.interop.test_layers import IN_KERAS

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5, "equal_nan": True}

REFUSED = {"bicubic": "bicubic has other values in torch than in TensorFlow and JAX"}
"""Words in the options of a case that paramctl does not compute, and the reason that it gives."""

FAULTS_OF_KERAS = {"sparsemax": "it adds up the partial sums of its support, so its outputs seldom sum to 1"}
"""Words in the options of a case of which Keras computes other values than its documentation says."""

KEEPS_NO_MASK = {"dot", "global_average_pooling1d"}
"""Layers that take masks in Keras, but whose outputs have none."""


def named(case: Case, words: dict[str, str]) -> bool:
    """Return whether the options of a case have one of these words."""
    return any(word in json.dumps(case.options) for word in words)


def inputs_of(layer: Layer, case: Case, rng: np.random.Generator) -> list[np.ndarray]:
    """Standard normal values, or integers that the layer looks up."""
    shapes = [(BATCH, *shape) for shape in case.inputs.values()]
    if (limit := layer.categories()) is not None:
        return [rng.integers(0, limit, shape).astype("float32") for shape in shapes]
    return [rng.standard_normal(shape, "float32") for shape in shapes]


@dataclass
class Subjects:
    """The cases of a layer in one model, each with inputs of its own."""

    layer: type[Layer]
    cases: list[Case]
    source: Source
    inputs: list[list[np.ndarray]]

    def __post_init__(self) -> None:
        self.graph = graph_of(self.source.model)
        self.steps = {step.path: step for step in self.graph.steps}
        self.values = Values(self.source, np.dtype("float32"))

    def in_keras(self, number: int, inputs: list[Any], **options: Any) -> tuple[Any, keras.layers.Layer]:
        """The output of Keras' layer, and the layer."""
        name = f"subject-{number}"
        weights = arrays_below(self.source, name)
        compute = mean_within if self.layer.type.startswith("average_pooling") else output_alone
        return compute(self.layer, self.cases[number], name, weights, inputs, **options)

    def applied(self, number: int, masks: list[Any], training: bool = False) -> tuple[np.ndarray, Any, dict[str, Any]]:
        """Our output, its mask, and every array of the layer after the call."""
        step: Step = self.steps[f"subject-{number}"]
        arrays = {name: self.values[path] for name, path in step.parameters.items()}
        names = [self.graph.inputs[source].rpartition("-")[0] for source in step.inputs]
        places = [*map([*self.cases[number].inputs].index, names)]
        inputs = [self.inputs[number][place] for place in places]
        rng = np.random.default_rng(0)
        call = Call(NUMPY, arrays, training, [masks[place] for place in places], rng, trainable=step.trainable)
        count = len(inputs) - len(step.references)
        references = dict(zip(step.references, inputs[count:], strict=True))
        output = step.layer.compute(call, *inputs[:count], **references)
        mask = step.layer.output_mask(call, *inputs[:count], **references)
        return output, mask, arrays | dict(call.updates)


def mean_within(
    layer: type[Layer], case: Case, name: str, weights: list[np.ndarray], inputs: list[Any], **options: Any
) -> tuple[Any, keras.layers.Layer]:
    """The output of average pooling, and the layer. With padding same, a mean is of the values within the input.

    Keras' backends for TensorFlow and JAX do so. The one for torch counts copies of the last values where the padding
    before and after an axis differ, so this pads by zeros and divides by the mean of ones.
    """
    if case.options.get("padding") != "same":
        return output_alone(layer, case, name, weights, inputs, **options)
    first = 2 if case.options.get("data_format") == "channels_first" else 1
    axes = slice(first, first + layer.rank)
    sizes = np.broadcast_to(case.options["pool_size"], layer.rank)
    strides = np.broadcast_to(case.options.get("strides", sizes), layer.rank)
    values = keras.ops.convert_to_numpy(inputs[0])
    margins = [(0, 0)] * values.ndim
    margins[axes] = map(same_margins, values.shape[axes], sizes, strides)
    valid = case._replace(options=case.options | {"padding": "valid"})
    padded = (np.pad(array, margins) for array in (values, np.ones_like(values)))
    (sums, subject), (counts, _) = (output_alone(layer, valid, name, weights, [x], **options) for x in padded)
    return sums / counts, subject


@pytest.fixture(scope="module", params=IN_KERAS)
def subjects(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subjects:
    layer = LAYERS[request.param]
    cases = [case for case in comparable(layer).computed if not named(case, REFUSED)]
    assert cases
    source = source_of(layer, cases, tmp_path_factory.mktemp("m"))
    rng = np.random.default_rng(0)
    layers = [block.layer for block in source.model.blocks if block.layer is not None]
    inputs = [inputs_of(each, case, rng) for each, case in zip(layers, cases, strict=True)]
    return Subjects(layer, cases, source, inputs)


def outputs_of(source: Source, inputs: dict[str, np.ndarray], **options: Any) -> dict[str, np.ndarray]:
    """The outputs that paramctl computes, by path."""
    graph = graph_of(source.model)
    passed = Pass(graph, NUMPY, Values(source, np.dtype("float32")).of, **options)
    return {graph.paths[number]: np.asarray(value) for number, value in passed.run(inputs).items()}


def compare(ours: np.ndarray, theirs: Any, case: Case) -> None:
    expected = keras.ops.convert_to_numpy(theirs)
    assert ours.shape == expected.shape, json.dumps(case)
    assert ours.dtype.kind == expected.dtype.kind, json.dumps(case)
    assert named(case, FAULTS_OF_KERAS) or np.allclose(ours, expected, **TOLERANCE), json.dumps(case)


def test_every_option_of_a_layer(subjects: Subjects) -> None:
    named = {
        f"{key}-{number}": array
        for number, case in enumerate(subjects.cases)
        for key, array in zip(case.inputs, subjects.inputs[number], strict=True)
    }
    ours = outputs_of(subjects.source, named)
    assert len(ours) == len(subjects.cases)
    for number, case in enumerate(subjects.cases):
        compare(ours[f"subject-{number}"], subjects.in_keras(number, subjects.inputs[number])[0], case)


def masked(array: np.ndarray) -> Any:
    """The input for Keras with a mask of its steps: a few of the first example, and every one of the last."""
    tensor = keras.ops.convert_to_tensor(array)
    mask = mask_of(array)
    if mask is not None:
        set_keras_mask(tensor, keras.ops.convert_to_tensor(mask))
    return tensor


def mask_of(array: np.ndarray) -> np.ndarray | None:
    if array.ndim < 3:
        return None
    mask = np.zeros(array.shape[:2], bool)
    mask[0, 1::3] = mask[0, 2::3] = True
    return mask


def test_every_option_of_a_layer_with_masks(subjects: Subjects) -> None:
    """The output, and the mask that later layers see; where Keras takes a mask at all."""
    taken = compared = 0
    for number, case in enumerate(subjects.cases):
        masks = [mask_of(array) for array in subjects.inputs[number]]
        try:
            theirs, _ = subjects.in_keras(number, [masked(array) for array in subjects.inputs[number]])
        except (*REFUSALS, AssertionError):
            continue
        ours, mask, _ = subjects.applied(number, masks)
        compare(ours, theirs, case)
        expected = get_keras_mask(theirs)
        assert (mask is None) == (expected is None), json.dumps(case)
        assert mask is None or np.array_equal(mask, keras.ops.convert_to_numpy(expected)), json.dumps(case)
        taken += masks[0] is not None
        compared += mask is not None
    assert compared or not taken or not subjects.layer.keeps_mask


def test_every_option_of_a_layer_in_training(subjects: Subjects) -> None:
    """The output and the state after it, where Keras draws nothing at random."""
    keras.utils.set_random_seed(1)
    for number, case in enumerate(subjects.cases):
        try:
            theirs, subject = subjects.in_keras(number, subjects.inputs[number], training=True)
        except REFUSALS:
            with pytest.raises(NotComputed):
                subjects.applied(number, [None] * len(subjects.inputs[number]), training=True)
            continue
        again, _ = subjects.in_keras(number, subjects.inputs[number], training=True)
        if not np.array_equal(*map(keras.ops.convert_to_numpy, (theirs, again)), equal_nan=True):
            continue
        ours, _, arrays = subjects.applied(number, [None] * len(subjects.inputs[number]), training=True)
        compare(ours, theirs, case)
        assert len(arrays) == len(subject.weights), json.dumps(case)
        for array, variable in zip(arrays.values(), subject.weights, strict=True):
            compare(array, variable, case)


@pytest.mark.parametrize("word", REFUSED)
def test_a_case_that_is_not_computed_says_why(word: str, tmp_path: Path) -> None:
    layer = LAYERS["up_sampling2d"]
    cases = [case for case in comparable(layer).computed if named(case, {word: ""})]
    assert cases
    for case in cases:
        source = source_of(layer, [case], tmp_path)
        with pytest.raises(InputError, match=f"subject-0: {REFUSED[word]}"):
            outputs_of(source, {"x-0": np.zeros((BATCH, *case.inputs["x"]), "float32")})


@pytest.mark.parametrize("name", IN_KERAS)
def test_a_layer_says_whether_it_keeps_the_mask(name: str) -> None:
    """As Keras' class with default options says whether it supports masks."""
    layer = LAYERS[name]
    options, _ = divided(layer, Case({}, required(layer.signature)))
    assert layer.keeps_mask == (class_of(layer)(**options).supports_masking and name not in KEEPS_NO_MASK)


def test_masked_batches_are_normalized_as_in_keras(tmp_path: Path) -> None:
    """The statistics of the steps that are not masked, and the moving averages after them; a frozen layer keeps them."""
    layer = LAYERS["batch_normalization"]
    base = Case({"x": (5, 6)}, {})
    cases = [base._replace(options=options) for options in ({}, {"momentum": 0.5}, {"trainable": False})]
    rng = np.random.default_rng(2)
    subjects = Subjects(layer, cases, source_of(layer, cases, tmp_path), [])
    for number, case in enumerate(cases):
        x = 3 + 2 * rng.standard_normal((8, 5, 6), "float32")
        mask = rng.random((8, 5)) < 0.6
        subjects.inputs.append([x])
        theirs, subject = subjects.in_keras(number, [x], training=True, mask=mask)
        ours, _, arrays = subjects.applied(number, [mask], training=True)
        compare(ours, theirs, case)
        for array, variable in zip(arrays.values(), subject.weights, strict=True):
            compare(array, variable, case)
