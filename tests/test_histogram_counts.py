"""The counts of bins are those of numpy.histogram, for numbers on, next to and far from the edges."""

from __future__ import annotations

import numpy as np
import pytest

from paramctl.core.dtypes import Array
from paramctl.inspect.histogram import AT_ONCE, bins_between, count

CASES = {
    "normal": lambda draw: draw.standard_normal(3 * AT_ONCE + 7) * 0.02,
    "far from zero": lambda draw: draw.standard_normal(5_000) * 1e-3 + 1e6,
    "too near for the fast path": lambda draw: draw.standard_normal(5_000) * 1e-9 + 1e6,
    "integers": lambda draw: draw.integers(-50, 50, 9_000).astype(np.float64),
    "tenths": lambda draw: draw.integers(-50, 50, 9_000) / 10,
    "subnormal": lambda draw: draw.integers(-50, 50, 9_000) * 5e-324,
    "tiny": lambda draw: draw.standard_normal(9_000) * 1e-305,
    "huge": lambda draw: draw.standard_normal(9_000) * 1e307,
    "wide": lambda draw: np.array([-1.7e308, 1.7e308, 0.0, -0.0, 1.0]),
    "skewed": lambda draw: np.exp(draw.standard_normal(9_000) * 8),
    "one": lambda draw: np.array([0.5]),
}


def around(edges: Array) -> Array:
    """Return the edges and the numbers next to them, within the ends."""
    numbers = np.concatenate([edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf)])
    return numbers[(numbers >= edges[0]) & (numbers <= edges[-1])]


@pytest.mark.parametrize("bins", [1, 2, 3, 20, 64, 1_000, 40_000])
@pytest.mark.parametrize("name", CASES)
def test_counts_are_those_of_numpy(name: str, bins: int) -> None:
    numbers = CASES[name](np.random.default_rng(bins))
    low, high = float(numbers.min()), float(numbers.max())
    cuts = bins_between((low, high), "float64", numbers.size, bins)
    numbers = np.concatenate([numbers, around(cuts.edges)])
    if np.isinf(high - low):
        expected = np.histogram(numbers, cuts.edges)[0]
    elif low == high:
        expected = np.array([numbers.size])
    else:
        expected = np.histogram(numbers, cuts.edges.size - 1, (low, high))[0]
    assert np.array_equal(count(numbers, cuts).bins, expected)
    with np.errstate(over="ignore"):
        single = numbers.astype(np.float32)
    single = single[(single >= low) & (single <= high)]
    if low < high and not np.isinf(high - low):
        expected = np.histogram(single.astype(np.float64), cuts.edges.size - 1, (low, high))[0]
        assert np.array_equal(count(single, cuts).bins, expected)
