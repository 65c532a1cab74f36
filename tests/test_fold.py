"""The fold over pieces, and the sums of its measurements: batches and calls for several rows give the same bits."""

from __future__ import annotations

from functools import partial
from threading import get_ident
from typing import NamedTuple

import numpy as np
import pytest

from paramctl.core.dtypes import Array
from paramctl.inspect.fold import BATCH_BYTES, BATCH_PIECES, PieceToMeasure, fold
from paramctl.inspect.moments import AT_ONCE, WITHOUT_THREADS, dot, moments_of


class Trace(NamedTuple):
    """The numbers of pieces, in the order in which they were joined, and the threads that measured them."""

    numbers: tuple[int, ...]
    threads: tuple[int, ...] = ()

    def join(self, later: Trace) -> Trace:
        return Trace(self.numbers + later.numbers, self.threads + later.threads)


def pieces(count: int, size: int) -> list[PieceToMeasure[str, Trace]]:
    return [
        PieceToMeasure("ab"[number % 2], size, partial(lambda number: Trace((number,), (get_ident(),)), number))
        for number in range(count)
    ]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 100])
@pytest.mark.parametrize("size", [1, BATCH_BYTES // 3, BATCH_BYTES])
def test_pieces_are_joined_in_order_whatever_the_batches(threads: int, count: int, size: int) -> None:
    advanced: list[int] = []
    joined = fold(pieces(count, size), advanced.append, threads)
    assert {key: trace.numbers for key, trace in joined.items()} == {
        key: tuple(range(first, count, 2)) for first, key in enumerate("ab") if first < count
    }
    assert advanced == [size] * count


def test_the_first_pieces_of_a_file_are_batches_of_one_and_later_batches_are_bounded() -> None:
    taken: list[int] = []

    def measure(number: int) -> Trace:
        taken.append(number)
        if number == 0:
            raise InterruptedError
        return Trace((number,))

    many = (PieceToMeasure("a", 1, partial(measure, number)) for number in range(1_000))
    with pytest.raises(InterruptedError):
        fold(many, threads=1)
    # the piece after the first that failed is in a batch of its own, and no batch of the rest was begun
    assert len(taken) <= 2 * BATCH_PIECES


def slow_dot(left: Array, right: Array) -> float:
    parts = range(0, left.size, WITHOUT_THREADS)
    return sum(float(np.dot(left[at : at + WITHOUT_THREADS], right[at : at + WITHOUT_THREADS])) for at in parts)


SIZES = (1, 7, WITHOUT_THREADS, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE, 3 * AT_ONCE + 8_193, 1 << 18)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint64", "int64", ">f4"])
def test_sums_of_several_parts_in_one_call_have_the_bits_of_a_call_for_each(size: int, dtype: str) -> None:
    generator = np.random.default_rng(size)
    spread = generator.standard_normal(size) * 30 + 50
    values = np.abs(spread).astype(dtype) if dtype == "uint64" else spread.astype(dtype)
    minimum, maximum = values.min().item(), values.max().item()
    moments = moments_of(values, minimum, maximum)
    total = squares = 0.0
    for start in range(0, size, AT_ONCE):
        part = values[start : start + AT_ONCE].astype(np.float64) - float(moments.origin)
        total += float(np.add.reduce(part))
        squares += slow_dot(part, part)
        assert dot(part, part) == slow_dot(part, part)
    if minimum != maximum:
        assert moments.offset == total / size
        assert moments.squares == max(0.0, squares - total * (total / size))
