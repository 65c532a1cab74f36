"""Blocks of texts: the same texts as of each value alone, for values and bits of any kind."""

import itertools
import json
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramctl.library.float_texts import float32_block
from paramctl.library.text_blocks import (
    constant_block,
    index_blocks,
    join,
    json_texts,
    number_block,
    value_block,
    value_texts,
)

COUNT = 60_000
FLOATS = ("f2", "f4", "f8", ">f2", ">f4", ">f8", "bfloat16", "float8_e4m3fn", "float8_e5m2")
DTYPES = (*FLOATS, "?", "i1", "u1", "i2", "u2", ">i2", "i4", "u4", "i8", "u8", ">u8", "c8", "c16", ">c8")


def lines(values: np.ndarray, as_json: bool = False) -> list[str]:
    """Return the lines of a table with one column, the block of the values."""
    return join([value_block(values, as_json), constant_block("\n", values.size)]).split("\n")[:-1]


def from_powers(generator: np.random.Generator) -> np.ndarray:
    """Return the numbers next to each power of ten."""
    near = generator.integers(-40, 41, COUNT)
    return ((10.0 ** generator.integers(-38, 39, COUNT)).astype("f4").view("i4") + near).astype("u4").view("f4")


FLOAT32: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "any bits": lambda g: g.integers(0, 2**32, COUNT, dtype="u4").view("f4"),
    "weights": lambda g: g.standard_normal(COUNT, dtype="f4") * np.float32(0.05),
    "magnitudes": lambda g: (g.standard_normal(COUNT) * 10.0 ** g.uniform(-9, 9, COUNT)).astype("f4"),
    "decimals": lambda g: (g.integers(-(10**6), 10**6, COUNT) / 10.0 ** g.integers(0, 9, COUNT)).astype("f4"),
    "few digits": lambda g: (g.integers(1, 1000, COUNT) * 10.0 ** g.integers(-38, 6, COUNT)).astype("f4"),
    "halfway": lambda g: (g.integers(-(2**24), 2**24, COUNT) / 2.0 ** g.integers(0, 40, COUNT)).astype("f4"),
    "powers of ten": from_powers,
    "powers of two": lambda g: (
        (g.integers(1, 255, COUNT).astype("u4") << np.uint32(23)) + g.integers(-3, 4, COUNT).astype("u4")
    ).view("f4"),
    "subnormal": lambda g: g.integers(0, 2**23, COUNT, dtype="u4").view("f4"),
    "whole": lambda g: g.integers(-(10**8), 10**8, COUNT).astype("f4"),
}


@pytest.mark.parametrize("kind", FLOAT32)
def test_the_texts_of_float32_are_numpys(kind: str) -> None:
    values = FLOAT32[kind](np.random.default_rng(17))
    assert lines(values) == value_texts(values) == list(map(str, values))


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_the_text_of_a_float32_is_numpys(bits: list[int]) -> None:
    values = np.array(bits, "u4").view("f4")
    assert lines(values) == list(map(str, values))


@pytest.mark.parametrize(
    "text", ["0.0001", "9.9999e-05", "1.0", "0.1", "10.0", "100.0", "99999.99", "99999.0", "1e-05", "1.2e-38", "-0.5"]
)
def test_the_layouts_of_decimals(text: str) -> None:
    """Positions of the point, zeros around it, and exponents, next to each other too."""
    value = np.array([text], "f4")
    values = np.concatenate([np.nextafter(value, np.float32(-np.inf)), value, np.nextafter(value, np.float32(np.inf))])
    assert lines(values) == list(map(str, values))


def test_most_weights_need_no_text_of_their_own() -> None:
    """Of random weights, fewer than one in a thousand are left to NumPy."""
    left: list[int] = []

    def texts(values: np.ndarray) -> list[str]:
        left.append(values.size)
        return value_texts(values)

    weights = FLOAT32["weights"](np.random.default_rng(0))
    float32_block(weights, texts)
    assert sum(left) < weights.size / 1000


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_texts_of_values_by_dtype(dtype: str, as_json: bool) -> None:
    """Of any bits, so with NaN, infinities and -0.0; and of none."""
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    data = np.random.default_rng(3).integers(0, 2 if dtype == "?" else 256, 4_000 * kind.itemsize, dtype="u1")
    values = np.concatenate([data.view(kind), np.array([0, 1, 0.5, 100]).astype(kind)])
    expected = json_texts(values) if as_json else value_texts(values)
    assert lines(values, as_json) == expected
    assert lines(values[::-3], as_json) == expected[::-3]
    assert lines(values[:0], as_json) == []
    if as_json:
        assert len(json.loads(f"[{','.join(expected)}]", parse_constant=pytest.fail)) == values.size


def test_the_texts_of_parts_of_complex_values() -> None:
    values = (np.random.default_rng(1).standard_normal((2, 500)) * 1e-3).astype("f4").view("c8").ravel()
    assert lines(values.real) == list(map(str, values.real))
    assert lines(values.imag) == list(map(str, values.imag))


@pytest.mark.parametrize("highest", [0, 9, 10, 9_999, 10_000, 10_001, 99_999_999, 100_000_000, 10**12, 2**62])
def test_the_texts_of_whole_numbers(highest: int) -> None:
    numbers = [0, 1, 9, 10, 9_999, 10_000, 10_001, 20_000, 100_000_001, 30_000_000_000, highest]
    numbers = [number for number in numbers if number <= highest]
    block = number_block(np.array(numbers))
    assert join([block, constant_block(" ", len(numbers))]).split() == list(map(str, numbers))


@pytest.mark.parametrize(
    "ranges", [(range(12),), (range(5, -1, -2), range(3)), (range(9_990, 10_010, 3), range(1), range(2))]
)
def test_the_indices_of_axes(ranges: tuple[range, ...]) -> None:
    indices = list(itertools.product(*ranges))
    blocks = index_blocks(ranges, 2, len(indices) - 2)
    for axis in range(len(ranges)):
        texts = join([blocks[axis], constant_block(" ", len(indices) - 2)]).split()
        assert texts == [str(index[axis]) for index in indices[2:]]


def test_any_text_may_be_around_values() -> None:
    texts = ["", "\0", "é\N{GRINNING FACE}", "\xff"]
    for text in texts:
        blocks = [constant_block(text, 2), value_block(np.array([0.5, 2], "f4"))]
        assert join(blocks) == f"{text}0.5{text}2.0"
