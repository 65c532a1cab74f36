"""Normal values drawn from arrays of words are those that NumPy draws one by one, to the bit."""

from collections.abc import Sequence
from math import inf
from typing import Any
from unittest.mock import patch

import ml_dtypes
import numpy as np
import pytest

from paramctl.core import dtypes
from paramctl.init.engines import normals as drawing
from paramctl.init.engines import ziggurat
from paramctl.init.engines.normals import FEW, normals
from paramctl.init.engines.streams import BLOCK_SIZE, Stream
from paramctl.init.engines.ziggurat import LAST, Unclear, Ziggurat

SINGLE = np.dtype(np.float32)


def drawn(seed: int, sizes: Sequence[int]) -> np.ndarray[Any, Any]:
    source = Ziggurat(np.random.SFC64(seed))
    return np.concatenate([source.draw(size) for size in sizes])


@pytest.mark.parametrize("sizes", [[BLOCK_SIZE, 12_000, 500, 20, 1, 1], [1], [2, 3], [1000] * 40, [40_001]])
def test_the_values_are_numpys(sizes: Sequence[int]) -> None:
    """Any number at a time gives them. Those in the tail have their signs, but not their sizes."""
    in_tails = 0
    for seed in range(20):
        values = drawn(seed, sizes)
        expected = np.random.Generator(np.random.SFC64(seed)).standard_normal(sum(sizes), dtype=np.float32)
        tails = np.abs(expected) > LAST
        assert np.array_equal(np.isinf(values), tails)
        assert np.array_equal(np.signbit(values), np.signbit(expected))
        values[tails] = expected[tails]
        assert np.array_equal(values.view(np.uint32), expected.view(np.uint32))
        in_tails += np.count_nonzero(tails)
    assert in_tails > sum(sizes) * 20 // 6000 or sum(sizes) < 10


@pytest.mark.parametrize(("low", "high"), [(-inf, inf), (-2, 2), (-2, 3.65), (-2, 3.66), (0.5, 100), (-4, -1)])
def test_what_only_numpy_can_draw_is_drawn_by_numpy(low: float, high: float) -> None:
    """With the same values, with and without tails; and both ways are taken."""
    stream = Stream(3, "a")
    with patch.object(drawing, "Ziggurat", wraps=Ziggurat) as fast:
        expected = normals(stream, 1, BLOCK_SIZE, SINGLE, low, high)
        assert fast.call_count == 1
        with patch.object(ziggurat, "UNCLEAR", 1.0):
            assert np.array_equal(normals(stream, 1, BLOCK_SIZE, SINGLE, low, high), expected)
        assert fast.call_count == 2
        with patch.object(drawing, "FEW", BLOCK_SIZE):
            assert np.array_equal(normals(stream, 1, BLOCK_SIZE, SINGLE, low, high), expected)
        assert fast.call_count == 2
    assert expected.min() >= low
    assert expected.max() <= high
    assert np.isfinite(expected).all()


def test_a_prefix_of_a_block_does_not_depend_on_how_it_is_drawn() -> None:
    """Few values, which NumPy draws, are the first of many."""
    for size in (1, FEW, FEW + 1):
        values = normals(Stream(5, "b"), 0, size, SINGLE, -2, 2)
        direct = np.random.Generator(Stream(5, "b").generator(0).bit_generator).standard_normal(size, np.float32)
        inner = np.abs(direct) <= 2
        assert np.array_equal(values[inner], direct[inner])


def test_values_that_the_rounding_of_the_library_decides_are_unclear() -> None:
    with patch.object(ziggurat, "UNCLEAR", 1.0), pytest.raises(Unclear):
        drawn(0, [BLOCK_SIZE])
    exact = drawn(0, [BLOCK_SIZE])
    with patch.object(ziggurat, "TIE", 1.0):  # every height by the C library
        assert np.array_equal(drawn(0, [BLOCK_SIZE]), exact)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float32"])
@pytest.mark.parametrize("source", [np.float32, np.float64])
def test_a_cast_overflows_as_its_results_show(name: str, source: type[np.floating[Any]]) -> None:
    """The range of the values decides only if it holds them all."""
    top = float(ml_dtypes.finfo(dtypes.numpy_dtype(name)).max)
    for values in ([], [0.0, -0.0], [top], [-top, 1e-42], [top * 1.5], [np.nan, 1], [np.inf], [np.nan, -top * 1.5]):
        with np.errstate(all="ignore"):
            array = np.array(values, source)
            result = array.astype(dtypes.numpy_dtype(name))
        lost = not np.array_equal(np.isfinite(result), np.isfinite(array))
        if lost or not np.array_equal(np.isnan(result), np.isnan(array)):
            with pytest.raises(OverflowError):
                dtypes.cast(array, name)
        else:
            assert dtypes.cast(array, name).tobytes() == result.tobytes()
