"""init --layout torch: the fans are those that torch.nn.init computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from torch import nn

import paramctl as pc


def test_fans_and_dirac_are_torchs(tmp_path: Path) -> None:
    """For every kind of layer whose weight is called weight."""
    modules = {
        "linear": nn.Linear(5, 7),
        "conv1": nn.Conv1d(4, 6, 3),
        "conv2": nn.Conv2d(4, 6, 3, groups=2),
        "conv3": nn.Conv3d(2, 3, (1, 2, 3)),
        "up": nn.ConvTranspose2d(4, 6, 3),
        "embedding": nn.Embedding(11, 5),
    }
    net = nn.ModuleDict(modules)
    save_file(net.state_dict(), tmp_path / "x.safetensors")
    drawn = pc.initialize(tmp_path / "x.safetensors", patterns="**/weight", scheme="glorot", layout="torch")
    rows = {row.path: row for row in drawn.report}
    for name, module in modules.items():
        fans = nn.init._calculate_fan_in_and_fan_out(module.weight)
        row = rows[f"{name}.weight"]
        assert (row.fan_in, row.fan_out) == fans
    for groups in (1, 2):
        ours = pc.initialize(
            tmp_path / "x.safetensors", patterns="conv*", scheme=f"dirac:groups={groups}", layout="torch"
        )
        for name in ("conv1", "conv2"):
            nn.init.dirac_(modules[name].weight, groups)
            np.testing.assert_array_equal(ours[f"{name}.weight"], modules[name].weight.detach().numpy())
        if groups == 1:
            nn.init.dirac_(modules["conv3"].weight)
            np.testing.assert_array_equal(ours["conv3.weight"], modules["conv3"].weight.detach().numpy())
