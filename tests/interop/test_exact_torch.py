"""--exactly torch gives the bits of real torch, with the kernels of this processor and with the default ones.

After a change of the networks, ``python -m tests.interop.test_exact_torch`` records their hashes again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import paramctl as pc
from tests.conftest import ROOT, model
from tests.exact_torch_networks import NETWORKS, RECORDED, SEEDS, initialized
from tests.interop.exact_torch import PROGRAMS, hashes, tensors


def recorded_by_torch() -> dict[str, dict[str, dict[str, str]]]:
    """Return the hashes of both kinds of kernels."""
    assert torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"), (
        "the fused kernels require a processor with AVX2"
    )
    command = [sys.executable, "-m", "tests.interop.exact_torch"]
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default", "PYTHONPATH": str(ROOT)}
    other = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return {"torch": hashes(), "torch:no-fma": json.loads(other.stdout)}


def test_the_recorded_hashes_are_torchs() -> None:
    assert PROGRAMS.keys() == NETWORKS.keys()
    assert len(NETWORKS) * len(SEEDS) >= 125
    assert json.loads(RECORDED.read_text()) == recorded_by_torch()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_bits_are_torchs(name: str, tmp_path: Path) -> None:
    """Tensor by tensor, in torch's layout; and in the model's, to which an independent conversion brings them."""
    for seed in SEEDS[:2]:
        drawn, expected = initialized(name, seed), tensors(name, seed)
        base = drawn.source.base
        assert base.model.parameters.keys() == expected.keys()
        for key, tensor in expected.items():
            values = base.read(key, 0, tensor.numel())
            assert values.tobytes() == tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes(), (key, seed)
    if name.startswith("gpt"):
        expected["head.weight"] = expected["wte.weight"].clone()
    save_file({key: tensor.contiguous() for key, tensor in expected.items()}, tmp_path / "t.safetensors")
    network = NETWORKS[name]
    like = model(network.document).with_dtype(network.dtype)
    converted = pc.convert(tmp_path / "t.safetensors", layout="keras", like=like)
    for path, array in converted.items():
        np.testing.assert_array_equal(drawn[path][...], array[...], err_msg=path)


def test_orthogonal_matrices_are_close_and_all_after_them_exact() -> None:
    """LAPACK rounds otherwise on other machines; the numbers that it starts from are exact."""
    document = "input: [48]\nlayers: [{dense: {units: 64, name: a}}, {dense: {units: 5, name: b}}]\n"
    order = ["**", "a/kernel=orthogonal:gain=2", "b/kernel=normal"]
    drawn = pc.initialize(model(document), exactly="torch", order=order, seed=3, allow="close")
    torch.manual_seed(3)
    parts = [torch.nn.Linear(48, 64), torch.nn.Linear(64, 5)]
    torch.nn.init.orthogonal_(parts[0].weight, 2)
    torch.nn.init.normal_(parts[1].weight, std=0.05)
    np.testing.assert_allclose(drawn["a/kernel"][...], parts[0].weight.detach().numpy().T, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(drawn["b/kernel"][...], parts[1].weight.detach().numpy().T)


if __name__ == "__main__":
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text(json.dumps(recorded_by_torch(), indent=1) + "\n")
