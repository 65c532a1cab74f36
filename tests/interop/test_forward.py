"""The output of every layer, with every option, equals that of Keras' layer with the same arrays.

The cases are those of test_configurations, generated from the registry: a new layer is here by existing. Tolerance: 1e-5
of the value plus 1e-5, in float32; both sides add up float32 numbers in an order of their own.
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from paramctl.compute.forward import Pass
from paramctl.compute.graph import graph_of
from paramctl.compute.space import NUMPY
from paramctl.compute.values import Values
from paramctl.model.layers import LAYERS
from paramctl.source.base import Source
from tests.interop.test_configurations import BATCH, arrays_below, comparable, output_alone, source_of
from tests.interop.test_layers import IN_KERAS

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5, "equal_nan": True}


def outputs_of(source: Source, inputs: dict[str, np.ndarray], **options: Any) -> dict[str, np.ndarray]:
    """The outputs that paramctl computes, by path."""
    graph = graph_of(source.model)
    passed = Pass(graph, NUMPY, Values(source, np.dtype("float32")).of, **options)
    return {graph.paths[number]: np.asarray(value) for number, value in passed.run(inputs).items()}


@pytest.mark.parametrize("name", IN_KERAS)
def test_every_option_of_a_layer(name: str, tmp_path: Path) -> None:
    layer = LAYERS[name]
    cases = comparable(layer).computed
    assert cases
    source = source_of(layer, cases, tmp_path)
    rng = np.random.default_rng(0)
    inputs = [[rng.random((BATCH, *shape), "float32") for shape in case.inputs.values()] for case in cases]
    named = {
        f"{key}-{number}": array
        for number, case in enumerate(cases)
        for key, array in zip(case.inputs, inputs[number], strict=True)
    }
    ours = outputs_of(source, named)
    assert len(ours) == len(cases)
    for number, case in enumerate(cases):
        subject = f"subject-{number}"
        tensor = output_alone(layer, case, subject, arrays_below(source, subject), inputs[number])
        expected = keras.ops.convert_to_numpy(tensor)
        assert ours[subject].shape == expected.shape, json.dumps(case)
        assert ours[subject].dtype.kind == expected.dtype.kind, json.dumps(case)
        assert np.allclose(ours[subject], expected, **TOLERANCE), json.dumps(case)
