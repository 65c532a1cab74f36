"""Pictures by the real matplotlib, of each kind that their names say: probe --plot and histogram --plot."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT

FIRST_BYTES = {"p.svg": b"<?xml", "p.png": b"\x89PNG", "p.pdf": b"%PDF"}


@pytest.mark.parametrize("name", FIRST_BYTES)
def test_a_picture_has_the_kind_that_its_name_says(name: str, tmp_path: Path) -> None:
    """Two schemes side by side; in the svg, both names are written."""
    model = str(ROOT / "sample_models/mlp.yaml")
    command = [sys.executable, "-m", "paramctl", "probe", model, "--compare", "he,orthogonal", "--plot", name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    data = (tmp_path / name).read_bytes()
    assert data.startswith(FIRST_BYTES[name])
    assert len(data) > 1000


def test_a_picture_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "paramctl", "probe", str(ROOT / "sample_models/mlp.yaml"), "--plot", "p.xyz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--plot p.xyz" in done.stderr
    assert list(tmp_path.iterdir()) == []


def histogram(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "paramctl", "histogram", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})


def test_any_distribution_has_a_picture(tmp_path: Path) -> None:
    """Of hostile names, of no values, of one, and of ends near the limits of float64; equal ones are equal files."""
    most = np.finfo("f8").max
    arrays = {
        "wide": np.array([-most, most]),
        "most": np.full(3, most),
        "least": np.array([0, 5e-324]),
        "near": np.array([1, 1 + 2**-52]),
        "nothing": np.zeros(0),
        "nan": np.array([np.nan]),
        "a$b_c$": np.arange(9.0),
        "\u540d": np.arange(9),
        "\x1b[2J": np.arange(9.0),
    }
    np.savez(tmp_path / "m.npz", **arrays)
    for name in ("a.svg", "b.svg"):
        done = histogram(tmp_path, "m.npz", "--plot", name, "--log")
        assert (done.returncode, done.stderr) == (0, "")
    data = (tmp_path / "a.svg").read_bytes()
    assert data == (tmp_path / "b.svg").read_bytes()
    assert data.count(b'id="axes_') == len(arrays)
    refused = histogram(tmp_path, "m.npz", "--plot", "a.svg")
    assert (refused.returncode, refused.stderr) == (2, "a.svg: already exists (use --force to overwrite)\n")
    assert histogram(tmp_path, "m.npz", "nan", "--plot", "a.svg", "--force").returncode == 0
    assert (tmp_path / "a.svg").read_bytes() != data
