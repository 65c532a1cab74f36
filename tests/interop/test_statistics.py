"""stat against SciPy's skewness and kurtosis, and torch's quantiles and matrix norms."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import paramctl as pc


def test_statistics_of_a_torch_model(tmp_path: Path) -> None:
    """Of each tensor of a state dict, in float32 and bfloat16; SciPy and torch compute in float64."""
    torch.manual_seed(0)
    layers = torch.nn.ModuleDict({"a": torch.nn.Linear(70, 40), "b": torch.nn.Embedding(90, 30)})
    layers["c"] = torch.nn.Linear(33, 21).bfloat16()
    torch.save(layers.state_dict(), tmp_path / "m.pt")
    result = pc.stat(str(tmp_path / "m.pt"), quantiles=(0.01, 0.5, 0.99), moments=True, norms=True, spectral=True)
    assert len(result.rows) == 5
    for row in result.rows:
        tensor = layers.state_dict()[row.path].double()
        values = tensor.numpy().reshape(-1)
        assert row.skewness == pytest.approx(stats.skew(values), rel=1e-10, abs=1e-12)
        assert row.kurtosis == pytest.approx(stats.kurtosis(values), rel=1e-10)
        expected = torch.quantile(tensor.reshape(-1), torch.tensor([0.01, 0.5, 0.99], dtype=torch.float64))
        assert [*row.quantiles.values()] == pytest.approx(expected.tolist(), rel=1e-14)
        assert row.l1 == pytest.approx(torch.linalg.vector_norm(tensor, 1).item(), rel=1e-13)
        if tensor.ndim == 2:
            assert row.spectral_norm == pytest.approx(torch.linalg.matrix_norm(tensor, 2).item(), rel=1e-12)
            assert row.condition == pytest.approx(torch.linalg.cond(tensor).item(), rel=1e-9)
            assert row.rank == torch.linalg.matrix_rank(tensor).item()


def test_far_from_zero(tmp_path: Path) -> None:
    """SciPy gets the values without the offset, in which it would lose digits."""
    values = np.random.default_rng(0).exponential(size=50_000)
    np.savez(tmp_path / "m.npz", w=values + 2.0**30)
    (row,) = pc.stat(str(tmp_path / "m.npz"), moments=True).rows
    exact = (values + 2.0**30) - 2.0**30
    assert (row.skewness, row.kurtosis) == pytest.approx((stats.skew(exact), stats.kurtosis(exact)), rel=1e-10)
