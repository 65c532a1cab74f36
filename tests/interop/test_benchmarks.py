"""benchmarks/ beside every peer: torch, Keras, TensorFlow, pandas, polars and others."""

from pathlib import Path

import pytest

from tests.test_benchmarks import GROUPS, run


@pytest.mark.parametrize("group", GROUPS)
def test_each_row_proves_its_work_beside_every_peer(group: str, tmp_path: Path) -> None:
    done = run("run.py", group, "--small", "--runs", "0", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "the same work" in done.stdout
