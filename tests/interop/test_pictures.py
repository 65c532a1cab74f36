"""paramctl probe --plot: a picture by the real matplotlib, of each kind that it names."""

import subprocess
import sys
from pathlib import Path

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
