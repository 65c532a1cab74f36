"""The fast paths of assignments have the results of the plain ones, and a changed copy writes only what changes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import paramctl
from paramctl.core.dtypes import numpy_dtype
from paramctl.core.indexing import Selection, select, selected_regions
from paramctl.core.indexing import Slice as Range
from paramctl.source.arithmetic import OPERATIONS, compute, count_changed, to_dtype
from paramctl.store.io.atomic import Temporary

BOUND = st.none() | st.integers(-6, 6)
INDEX = st.builds(Range, BOUND, BOUND, st.sampled_from([None, 1, 2, 3, -1, -2]))
INTEGERS = ["bool", "int8", "uint8", "int16", "int32", "int64", "uint64"]
SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-42, 6e-8, 1.5, -2.0, 240.0, 3e38]
FLOATS = ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2", "complex64", "complex128"]


@given(st.lists(st.integers(0, 5), max_size=4), st.data())
def test_regions_have_the_selected_values_at_their_positions(sizes: list[int], data: st.DataObject) -> None:
    indices = [data.draw(INDEX | st.integers(0, size - 1) if size else INDEX) for size in sizes]
    selection: Selection = select(indices, sizes, "w")
    array = np.arange(int(np.prod(sizes)))
    start = data.draw(st.integers(0, array.size))
    stop = data.draw(st.integers(start, array.size))
    chosen = array.reshape(sizes)[np.ix_(*selection.ranges)] if sizes else array.reshape(())
    shape = [count for count, size in zip(chosen.shape, sizes, strict=True) if size > 1]
    squeezed = chosen.reshape(shape if chosen.size else -1)
    seen: list[int] = []
    for region in selected_regions(sizes, selection.ranges, start, stop) if start < stop else ():
        box = array[start:stop][region.begin : region.end].reshape(region.shape)[region.places]
        assert np.array_equal(box, squeezed[region.positions])
        seen += box.reshape(-1).tolist()
    assert sorted(seen) == sorted(number for number in chosen.reshape(-1).tolist() if start <= number < stop)


def test_a_whole_block_is_one_region() -> None:
    shape = (4096, 512)
    regions = list(selected_regions(shape, tuple(map(range, shape)), 1 << 18, 1 << 19))
    assert [(region.begin, region.end, region.shape) for region in regions] == [(0, 1 << 18, (512, 512))]


def _outcome(function: Callable[[], np.ndarray]) -> object:
    try:
        result = function()
        return result.dtype, result.tobytes()
    except OverflowError as error:
        return str(error)


@given(st.sampled_from(INTEGERS), st.sampled_from(["+=", "-=", "*="]), st.data())
def test_arithmetic_of_integers_is_pythons(dtype: str, operator: str, data: st.DataObject) -> None:
    low, high = (0, 1) if dtype == "bool" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    numbers = st.integers(low, high) | st.integers(max(low, -4), min(high, 4))
    values = np.array(data.draw(st.lists(numbers, min_size=1, max_size=5)), object).astype(dtype)
    operand = data.draw(st.sampled_from([0, 1, 2, -1, 2.0, -0.0, 2**31, 2**62, -(2**63), 2**64, 2.0**70, True]))
    fast = _outcome(lambda: to_dtype(compute(operator, values, operand, dtype), dtype))
    exact = OPERATIONS[operator](values.astype(object), np.array(int(operand), object))
    fits = all(low <= int(number) <= high for number in exact)
    assert fast == ((np.dtype(dtype), exact.astype(dtype).tobytes()) if fits else f"{dtype} cannot hold the value")


@given(st.sampled_from(INTEGERS), st.lists(st.sampled_from([*SPECIAL, -1.0, 255.0, 2.0**63, 2.0**64, 0.5]), min_size=1))
def test_floats_become_integers_only_if_they_are(dtype: str, numbers: list[float]) -> None:
    low, high = (0, 1) if dtype == "bool" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    fits = all(np.isfinite(number) and number == int(number) and low <= int(number) <= high for number in numbers)
    outcome = _outcome(lambda: to_dtype(np.array(numbers), dtype))
    expected = np.array([int(number) for number in numbers], object).astype(dtype).tobytes() if fits else None
    assert outcome == ((np.dtype(dtype), expected) if fits else f"{dtype} cannot hold the value")


@given(st.sampled_from([*FLOATS, *INTEGERS]), st.lists(st.tuples(*[st.sampled_from(SPECIAL)] * 2), max_size=9))
def test_the_largest_change_is_that_of_each_value(dtype: str, pairs: list[tuple[float, float]]) -> None:
    with np.errstate(all="ignore"):
        numbers = np.array(pairs, np.float64).reshape(-1, 2)
        before, after = (column.astype(numpy_dtype(dtype)) for column in numbers.T)
        wide = np.complex128 if before.dtype.kind == "c" else object if before.dtype.kind in "iu" else np.float64
        changed = (after != before) & ~((after != after) & (before != before))
        largest = np.abs(after[changed].astype(wide) - before[changed].astype(wide))
    expected = float(np.max(largest)) if largest.size else 0.0
    assert repr(count_changed(before, after)) == repr((int(changed.sum()), expected))


@pytest.mark.parametrize("suffix", ["h5", "safetensors"])
@pytest.mark.parametrize("shares", [False, True])
def test_a_changed_value_writes_one_block(tmp_path: Path, suffix: str, shares: bool) -> None:
    """The kernel copies the rest, or shares it, and the record of hashes is true."""
    path, target = str(tmp_path / f"m.{suffix}"), str(tmp_path / f"n.{suffix}")
    document = tmp_path / "m.yaml"
    document.write_text("input: [1024]\nlayers: [{dense: 1024}, {dense: 8}]")
    paramctl.save(paramctl.initialize(document, seed=1), path)
    written: list[int] = []
    write = Temporary.write

    def counted(self: Temporary, data: bytes, offset: int) -> None:
        written.append(len(data))
        write(self, data, offset)

    def share(self: Temporary, descriptor: int) -> bool:
        if shares:
            os.pwrite(self.descriptor, os.pread(descriptor, os.fstat(descriptor).st_size, 0), 0)
        return shares

    with patch.object(Temporary, "write", counted), patch.object(Temporary, "share", share):
        paramctl.save(paramctl.assign(paramctl.open(path), {"dense/kernel[700, 3]": 7.0}), target)
    assert sum(written) < 2 * (1 << 20)
    before, after = (np.asarray(paramctl.open(each)["dense/kernel"]) for each in (path, target))
    assert after[700, 3] == 7.0
    assert np.count_nonzero(before != after) == 1
    assert {row.status for row in paramctl.verify(target).rows} == {"match"}


@pytest.mark.parametrize("operator", OPERATIONS)
def test_arithmetic_with_signaling_nans_warns_of_nothing(operator: str) -> None:
    """A warning of NumPy would be a second line on standard error."""
    bits = np.arange(0x7F80, 0x8000, dtype="uint16")  # infinity, and each NaN
    values = bits.view(numpy_dtype("bfloat16"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.isfinite(compute(operator, values, 1e-3, "bfloat16").astype("float64")).any()
