"""Keras' own initial values beside Keras on each backend: equal bytes, and the hashes of tests/fixtures/exact.

A backend is chosen when Keras is imported, so each has a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import paramctl as pc
from tests.interop.keras_programs import PROGRAMS
from tests.keras_documents import BACKENDS, DOCUMENTS, HALF_DTYPES, IN_HALF, SEEDS, fingerprint

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests/fixtures/exact/keras.json").read_text())
ORTHOGONAL = 2e-6
"""The greatest difference of values that LAPACK computes."""


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_program_has_the_same_bytes(backend: str, tmp_path: Path) -> None:
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "tests.interop.keras_programs", str(tmp_path)]
    subprocess.run(command, env=environment, check=True, cwd=ROOT)
    assert PROGRAMS.keys() == DOCUMENTS.keys()
    assert len(PROGRAMS) >= 20
    for name, text in DOCUMENTS.items():
        model = tmp_path / f"{name}.yaml"
        model.write_text(text)
        with np.load(tmp_path / f"{name}.npz") as arrays:
            for seed in SEEDS:
                weights = pc.initialize(str(model), exactly=f"keras:{backend}", allow="close", seed=seed)
                exact = []
                for number, row in enumerate(weights.report):
                    ours, theirs = np.asarray(weights[row.path]), arrays[f"{seed} {number}"]
                    if "close" in row.exactly:
                        np.testing.assert_allclose(ours, theirs, atol=ORTHOGONAL)
                        continue
                    # Keras counts in the backend's integers, paramctl in int32
                    theirs = theirs if theirs.dtype.kind == "f" else theirs.astype(ours.dtype)
                    assert ours.tobytes() == theirs.tobytes(), (name, seed, row.path)
                    exact.append(theirs)
                assert fingerprint(exact) == GOLDEN[backend][name][str(seed)], (name, seed)
                assert f"{seed} {len(weights.report)}" not in arrays
            for dtype in HALF_DTYPES if name in IN_HALF else ():
                weights = pc.initialize(str(model), exactly=f"keras:{backend}", seed=SEEDS[0], dtype=dtype)
                for number, row in enumerate(weights.report):
                    ours, theirs = np.asarray(weights[row.path]), arrays[f"{dtype} {number}"]
                    assert ours.dtype.name == dtype
                    assert ours.astype(np.float32).tobytes() == theirs.tobytes(), (name, dtype, row.path)
