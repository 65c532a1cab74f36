"""The chapter as one script: it runs in an empty folder, and prints what the book shows."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def test_the_whole_chapter_runs(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "SAMPLES": str(ROOT / "sample_models")}
    done = subprocess.run(
        ["bash", str(ROOT / "tests/chapter.sh")], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    assert printed.count("[0. 0. 0. 0.]") >= 3, "biases are zero until they are trained"
    assert "[[1. 1. 1. 1.]\n [1. 1. 1. 1.]" in printed, "constant 1"
    assert "[[42.]\n [42.]\n [42.]\n [42.]]" in printed, "constant 42 for the last layer"
    assert "\n[42." in printed, "w[0, 0] = 42 after w += 1"
    assert printed.splitlines().count("100.") == 2, "what is set under one name is read under the other"
    assert "block2/block-0/dense/kernel  block2/block-1/dense/kernel  no" in printed
    assert "Total parameters:  820" in printed
    assert "    trainable:     420" in printed
    fancy = printed[printed.index("shared/kernel   values") :] if "shared/kernel   values" in printed else printed
    assert "constant/kernel  values" not in fancy, "what is never trained is not initialized by --scheme"
