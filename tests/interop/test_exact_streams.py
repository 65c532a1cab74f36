"""torch's stream: the golden hashes are those of what real torch draws, with each build of its kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT
from tests.exact_streams import GOLDEN


@pytest.mark.parametrize("build", ["fused", "default"])
def test_golden_hashes_are_torchs(build: str) -> None:
    """In a process of its own, because torch chooses its kernels when it starts."""
    capability = torch.backends.cpu.get_cpu_capability()
    if build == "fused" and capability not in ("AVX2", "AVX512"):
        pytest.skip(f"this processor has {capability}")
    environment = {key: value for key, value in os.environ.items() if key != "ATEN_CPU_CAPABILITY"}
    if build == "default":
        environment["ATEN_CPU_CAPABILITY"] = "default"
    command = [sys.executable, "-m", "tests.exact_streams"]
    printed = subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment).stdout
    assert json.loads(printed) == json.loads(GOLDEN.read_text())[build]
