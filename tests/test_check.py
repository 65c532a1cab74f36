"""check: each fault is found once, with its place, and a healthy model has no findings."""

from pathlib import Path

import numpy as np
import pytest

from paramctl.inspect.check.finding import Finding
from paramctl.inspect.check.registry import choose
from paramctl.inspect.check.run import run_checks
from paramctl.inspect.check.subject import Subject
from paramctl.library.opening import as_source
from paramctl.source.base import select_values


def found(path: Path) -> list[Finding]:
    source = as_source(path)
    return run_checks(Subject(source, select_values(source, ())), choose())


def weights(shape: tuple[int, ...] = (4, 3)) -> np.ndarray:
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize(
    ("name", "place", "text"),
    [
        ("nan", "dense/kernel[1, 2]", "2 of 12 values are NaN"),
        ("inf", "dense/kernel[1, 2]", "2 of 12 values are infinite"),
        ("zero", "dense/kernel", "all 12 values are 0"),
        ("constant", "dense/kernel", "all 12 values are 0.5"),
    ],
)
def test_a_fault_of_values_is_found_once(name: str, place: str, text: str, tmp_path: Path) -> None:
    """Exactly one finding, with the index of the first value and the count."""
    kernel = weights()
    if name in ("nan", "inf"):
        kernel[1, 2] = kernel[3, 0] = float(name)
    else:
        kernel[:] = 0.5 if name == "constant" else 0
    np.savez(tmp_path / "w.npz", **{"dense/kernel": kernel, "dense/bias": np.zeros(3, np.float32)})
    (finding,) = found(tmp_path / "w.npz")
    assert (finding.name, finding.place, finding.text) == (name, place, text)
