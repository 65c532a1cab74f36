"""Open files: each is closed without a warning of Python's, at the end of a command at the latest."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run
from tests.formats import NAMES

MLP = str(ROOT / "sample_models/mlp.yaml")


@pytest.mark.parametrize("name", [*NAMES, MLP])
def test_no_file_is_left_to_the_garbage_collector(name: str, paramctl: Run, tmp_path: Path) -> None:
    if name != MLP:
        assert paramctl("save", MLP, "-o", name, "--force").returncode == 0
    for command in (["summary", name], ["stat", name], ["save", name, "-o", "x.safetensors", "--force"]):
        strict = [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-m", "paramctl", *command]
        done = subprocess.run(strict, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "ResourceWarning" not in done.stderr, command
