"""OpenBLAS uses one thread within paramctl's factorizations, and afterwards as many as before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
import numpy as np, sys
from paramctl.core import blas
threads = blas._threads()
if threads is None:
    sys.exit(77)
threads.set(3)
with blas.one_thread():
    assert threads.get() == 1
    with blas.one_thread():
        assert threads.get() == 1
    assert threads.get() == 1
assert threads.get() == 3
barrier = Barrier(2)
def overlap(first):
    with blas.one_thread():
        barrier.wait()
        assert threads.get() == 1
    return threads.get()
with ThreadPoolExecutor(2) as pool:
    assert 3 in list(pool.map(overlap, (True, False)))
assert threads.get() == 3
try:
    with blas.one_thread():
        raise KeyError
except KeyError:
    assert threads.get() == 3
import paramctl
weights = paramctl.initialize(sys.argv[1], scheme="orthogonal", seed=0)
import hashlib
print(hashlib.sha256(np.ascontiguousarray(weights["dense/kernel"][:])).hexdigest())
assert threads.get() == 3
"""


def test_orthogonal_values_do_not_depend_on_the_threads_of_the_caller(tmp_path: Path) -> None:
    model = tmp_path / "m.yaml"
    model.write_text("{input: [300], layers: [{dense: 300}]}")
    digests = set()
    for number in ("1", "4"):
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(model)],
            env=os.environ | {"OPENBLAS_NUM_THREADS": number},
            capture_output=True,
        )
        if run.returncode == 77:
            pytest.skip("NumPy has no OpenBLAS of its own")
        assert run.returncode == 0, run.stderr.decode()
        digests.add(run.stdout)
    assert len(digests) == 1
