"""Initialize arrays of torch checkpoints: by torch's layout, and by the layers of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import paramctl as pc
from tests.conftest import ROOT, Run

LENET = str(ROOT / "sample_models" / "lenet.yaml")
SHAPES = {
    "fc.weight": (7, 5),
    "fc.bias": (7,),
    "conv.weight": (8, 3, 5, 5),
    "up.weight": (4, 6, 3),
    "emb.weight": (11, 4),
    "rnn.weight_ih_l0": (8, 5),
    "norm.weight": (8,),
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_file({name: np.full(shape, 3, "f4") for name, shape in SHAPES.items()}, tmp_path / "ckpt.safetensors")
    return tmp_path


def rows(paramctl: Run, *arguments: str) -> dict[str, Any]:
    result = paramctl("init", *arguments, "--format", "json")
    assert result.returncode == 0, result.stderr
    return {row["path"]: row for row in json.loads(result.stdout)}


@pytest.mark.parametrize(
    ("pattern", "name", "fans"),
    [
        ("fc.*", "fc.weight", (5, 7)),
        ("conv", "conv.weight", (75, 200)),
        ("up.weight", "up.weight", (18, 12)),
        ("emb.weight", "emb.weight", (4, 11)),
    ],
)
def test_a_layer_of_a_torch_checkpoint_is_reset(
    paramctl: Run, checkpoint: Path, pattern: str, name: str, fans: tuple[int, int]
) -> None:
    """By torch.nn.init's fans; every other array, biases too, keeps its values."""
    arguments = [
        "ckpt.safetensors",
        pattern,
        "--scheme",
        "kaiming_uniform",
        "--layout",
        "torch",
        "-o",
        "out.safetensors",
    ]
    report = rows(paramctl, *arguments)
    assert (report[name]["fan_in"], report[name]["fan_out"]) == fans
    assert [path for path, row in report.items() if row["scheme"]] == [name]
    written = load_file(checkpoint / "out.safetensors")
    bound = np.sqrt(6 / fans[0])
    assert 0.6 * bound < np.abs(written[name]).max() <= bound
    assert all((array == 3).all() for path, array in written.items() if path != name)


def test_the_roles_of_a_stated_layout_are_not_recorded(paramctl: Run, checkpoint: Path) -> None:
    """They hold for fans alone: up.weight may be of a transposed convolution."""
    rows(paramctl, "ckpt.safetensors", "up", "--scheme", "glorot", "--layout", "torch", "-o", "out.safetensors")
    assert pc.open(checkpoint / "out.safetensors").parameters["up.weight"].fans is None


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--scheme", "glorot", "--layout", "torch"], "does not say which weights are of embeddings"),
        (["fc.*", "--scheme", "glorot"], "does not record which axes are inputs"),
        (["rnn", "--scheme", "glorot", "--layout", "torch"], "does not record which axes are inputs"),
        (["norm", "--scheme", "glorot", "--layout", "torch"], "does not record which axes are inputs"),
        (["fc.*", "--layout", "torch"], "patterns require a scheme"),
        (["fc.*", "--scheme", "glorot", "--layout", "keras"], "--like"),
        (["fc.*", "--scheme", "glorot", "--layout", "torch", "--fan-convention", "true"], "others require the layers"),
        (["nope", "--scheme", "glorot", "--layout", "torch"], "no parameter with this name"),
        (["fc.*", "--scheme", "glorot", "--like", LENET], "must have arrays of ckpt"),
        (["fc.*", "--scheme", "lsuv", "--layout", "torch"], "lsuv is for a whole model"),
        (["--preset", "torch", "--layout", "torch"], "--preset torch"),
    ],
)
def test_fans_are_not_guessed(paramctl: Run, checkpoint: Path, options: list[str], rule: str) -> None:
    result = paramctl("init", "ckpt.safetensors", *options, "-o", "out.safetensors")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert rule in result.stderr
    assert not (checkpoint / "out.safetensors").exists()


def test_a_document_needs_no_layout(paramctl: Run) -> None:
    result = paramctl("init", LENET, "--layout", "torch", "-o", "out.h5")
    assert result.returncode == 2
    assert "for checkpoints" in result.stderr


@pytest.mark.parametrize("convention", ["true", "torch", "keras"])
def test_roles_come_from_the_layers_of_a_model(paramctl: Run, tmp_path: Path, convention: str) -> None:
    """In torch's layout and in the model's own, with the same fans and the same bounds."""
    pc.save(LENET, tmp_path / "t.safetensors", layout="torch")
    pc.save(LENET, tmp_path / "k.npz")
    save_file(load_file(tmp_path / "t.safetensors"), tmp_path / "t.safetensors")  # without paramctl's metadata
    with np.load(tmp_path / "k.npz") as arrays:
        np.savez(tmp_path / "k.npz", **{name: arrays[name] for name in arrays.files if "paramctl" not in name})
    options = ["--scheme", "glorot_uniform", "--like", LENET, "--fan-convention", convention]
    torch = rows(paramctl, "t.safetensors", *options, "-o", "t2.safetensors")
    keras = rows(paramctl, "k.npz", *options, "-o", "k2.h5")
    weights = [path for path, row in keras.items() if row["scheme"]]
    assert len(weights) == 5
    for path in weights:
        other = torch[path.replace("/kernel", ".weight")]
        assert (other["fan_in"], other["fan_out"]) == (keras[path]["fan_in"], keras[path]["fan_out"])
    assert {row["scheme"] for path, row in torch.items() if path.endswith("bias")} == {None}
    assert pc.open(tmp_path / "t2.safetensors").parameters["conv2d_1.weight"].fans == (150, 400)


def test_schemes_of_matrices_follow_torchs_layout(tmp_path: Path) -> None:
    """orthogonal flattens all axes but the first, and dirac passes each input to its output, as in torch.nn.init."""
    save_file({"c.weight": np.zeros((6, 3, 3, 3), "f4")}, tmp_path / "c.safetensors")
    for groups in (1, 2):
        drawn = pc.initialize(
            tmp_path / "c.safetensors", patterns="c.weight", scheme=f"dirac:groups={groups}", layout="torch"
        )
        expected = np.zeros((6, 3, 3, 3), "f4")
        for group in range(groups):
            for channel in range(min(6 // groups, 3)):
                expected[group * 6 // groups + channel, channel, 1, 1] = 1
        np.testing.assert_array_equal(drawn["c.weight"], expected)
    drawn = pc.initialize(tmp_path / "c.safetensors", patterns="c.weight", scheme="orthogonal", layout="torch")
    matrix = np.array(drawn["c.weight"]).reshape(6, -1)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(6), atol=1e-5)
    again = pc.reopen(json.loads(json.dumps(drawn.describe())))
    np.testing.assert_array_equal(again["c.weight"], drawn["c.weight"])
