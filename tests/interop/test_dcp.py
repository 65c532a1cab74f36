"""Checkpoints that torch.distributed.checkpoint saves: equal to what torch converts to one file."""

from pathlib import Path

import numpy as np
import pytest

from paramctl.source.open import open_checkpoint
from paramctl.source.save import save

torch = pytest.importorskip("torch")
import torch.distributed.checkpoint as dcp  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save  # noqa: E402


def test_a_training_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 4))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(4, 8)).sum().backward()
    optimizer.step()
    state = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "note": "a note"}
    dcp.save(state, checkpoint_id=tmp_path / "folder", no_dist=True)
    stored = open_checkpoint(str(tmp_path / "folder"))
    save(stored, str(tmp_path / "x.safetensors"))
    dcp_to_torch_save(tmp_path / "folder", tmp_path / "x.pt")
    want = torch.load(tmp_path / "x.pt")
    found = load_file(tmp_path / "x.safetensors")
    assert set(found) == set(want["model"])
    assert all(torch.equal(found[name], value) for name, value in want["model"].items())
    assert stored.origin.metadata["epoch"] == 3
    assert stored.origin.metadata["note"] == "a note"
    assert stored.origin.optimizer is not None
    arrays = stored.origin.optimizer.arrays
    for number, moments in want["optimizer"]["state"].items():
        for key, value in moments.items():
            name = f"optimizer.state.{number}.{key}"
            got = stored.origin.optimizer.reader.read(name, 0, arrays[name].size)
            assert np.array_equal(got, value.numpy().reshape(-1)), name


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int8", "bool", "complex64", "float8_e4m3fn"])
def test_dtypes_and_strides(dtype: str, tmp_path: Path) -> None:
    value = (torch.arange(12).reshape(3, 4) % 2).to(getattr(torch, dtype))
    dcp.save({"w": value, "turned": value.t(), "part": value[1:, ::2]}, checkpoint_id=tmp_path / "f", no_dist=True)
    stored = open_checkpoint(str(tmp_path / "f"))
    for name, want in (("w", value), ("turned", value.t()), ("part", value[1:, ::2])):
        parameter = stored.model.parameters[name]
        assert (parameter.shape, parameter.dtype) == (tuple(want.shape), dtype)
        got = stored.read(name, 0, parameter.size)
        assert got.tobytes() == want.contiguous().view(torch.uint8).numpy().tobytes()
