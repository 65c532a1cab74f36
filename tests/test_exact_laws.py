"""The mean and the deviation that a report of `init --exactly` gives are those of the values of the framework."""

from math import sqrt
from typing import get_args

import numpy as np
import pytest

import paramctl as pc
from paramctl.conversion.exact.laws import plain
from paramctl.core.dtypes import to_native
from paramctl.init.distributions import Constant, Mixture, Normal, TruncatedNormal, Uniform, moments
from paramctl.init.engines.base import DrawRequest
from paramctl.init.engines.flax import Keyed, VarianceScaling
from paramctl.init.engines.keras import Again
from paramctl.init.engines.torch_laws import (
    OrthogonalRows,
    SparseColumns,
    TorchLaw,
    TruncatedAt,
    Zeroed,
    ZeroedBelow,
)
from tests.conftest import model
from tests.exact_flax_networks import NETWORKS as FLAX
from tests.exact_torch_networks import NETWORKS as TORCH
from tests.keras_documents import DOCUMENTS as KERAS

NETWORKS = {
    **{f"torch {name}": ("torch", network.document) for name, network in TORCH.items()},
    **{f"flax {name}": ("flax:nnx", network.document) for name, network in FLAX.items()},
    **{f"keras {name}": ("keras:torch", document) for name, document in KERAS.items()},
}
LEAST = 48
"""Values of an array whose mean and deviation say enough."""


@pytest.mark.parametrize("name", NETWORKS)
def test_values_have_the_mean_and_deviation_of_the_report(name: str) -> None:
    framework, document = NETWORKS[name]
    weights = pc.initialize(model(document), exactly=framework, allow="close", seed=3)
    for row in weights.report:
        values = to_native(np.asarray(weights[row.path])).astype(np.float64)
        assert row.mean is not None, row.path
        if values.size >= LEAST:
            error = row.stddev / sqrt(values.size)
            assert abs(values.mean() - row.mean) <= 6 * error + 1e-6, row
            assert abs(values.std() - row.stddev) <= 6 / sqrt(2) * error + 0.01 * row.stddev + 1e-6, row


LAWS = {
    TruncatedAt: (TruncatedAt(1.0, 2.0, -1.0, 5.0), TruncatedNormal(1.0, 2.0, -1.0, 2.0)),
    OrthogonalRows: (OrthogonalRows(2.0), None),
    SparseColumns: (SparseColumns(0.5, 2), None),
    Zeroed: (Zeroed(Normal(1.0, 1.0), 0, 3), Mixture(((0.25, Constant(0.0)), (0.75, Normal(1.0, 1.0))))),
    ZeroedBelow: (
        ZeroedBelow(Uniform(-10.0, 10.0), 5.0),
        Mixture(((0.5, Constant(0.0)), (0.25, Uniform(-10.0, -5.0)), (0.25, Uniform(5.0, 10.0)))),
    ),
    VarianceScaling: (VarianceScaling(3.0, "uniform"), Uniform(-3.0, 3.0)),
    Keyed: (Keyed(1, VarianceScaling(4.0, "normal")), Normal(0.0, 2.0)),
    Again: (Again("first", Uniform(0.0, 1.0)), Uniform(0.0, 1.0)),
}


def test_every_law_of_an_engine_is_tried() -> None:
    assert {*get_args(TorchLaw), VarianceScaling, Keyed, Again} == LAWS.keys()


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_law_of_an_engine_has_a_plain_distribution(law: type) -> None:
    drawn, expected = LAWS[law]
    distribution = plain(DrawRequest(drawn, (4, 3), np.dtype("float32")))
    assert expected is None or distribution == expected
    assert moments(distribution) is not None


def test_the_deviation_of_a_matrix_with_zeros_and_of_an_orthogonal_one() -> None:
    sparse = plain(DrawRequest(SparseColumns(0.5, 2), (4, 3), np.dtype("float32")))
    assert moments(sparse) == (0.0, pytest.approx(0.5 * sqrt(0.5)))  # 2 of the 4 values of a column are 0
    orthogonal = plain(DrawRequest(OrthogonalRows(2.0), (4, 3), np.dtype("float32")))
    assert moments(orthogonal) == (0.0, pytest.approx(1.0))  # columns of 4 values with the norm 2
