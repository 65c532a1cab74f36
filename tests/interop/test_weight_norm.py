"""Folded weight normalization equals the weight that torch itself computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import paramctl as pc

MODEL = """input: [8, 6]
layers:
  - conv1d: {name: c, filters: 5, kernel_size: 3}
  - dense: {name: a, units: 7}
"""


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("apply", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_the_weight_is_torchs(tmp_path: Path, apply: object, dim: int | None, dtype: torch.dtype) -> None:
    """For convolutions and dense layers, along either axis and over all."""
    torch.manual_seed(0)
    assert callable(apply)
    net = nn.ModuleDict({"c": nn.Conv1d(6, 5, 3), "a": nn.Linear(5, 7)}).to(dtype)
    for module in net.values():
        apply(module, "weight", dim=dim)
        for name, parameter in module.named_parameters():
            if name.endswith(("_g", "original0")):
                nn.init.uniform_(parameter, 0.5, 2)
    (tmp_path / "m.yaml").write_text(MODEL)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    folded = pc.convert(tmp_path / "w.safetensors", like=tmp_path / "m.yaml", layout="torch")
    net["c"](torch.zeros(1, 6, 8, dtype=dtype)), net["a"](torch.zeros(1, 5, dtype=dtype))  # the hook computes it
    for name in ("c", "a"):
        expected = net[name].weight.detach().numpy()
        tolerance = 4 * np.finfo(expected.dtype).eps
        np.testing.assert_allclose(folded[f"{name}.weight"], expected, rtol=tolerance)
