"""Streams: from a law, a seed and a path to values. The only user of random numbers.

A parameter's values are cut into blocks of 2^18, in C order, and block k has a bit generator of its
own, SFC64 seeded from (seed, path, k): so any slice can be drawn alone, in any order, by any number of
threads, and no parameter's values depend on another's. Beside the generator's own integers, ``random`` and
``standard_normal``, only exact arithmetic is used, which gives the same bits on every processor; and the tails of
``standard_normal``, for which NumPy asks the C library's logarithm, are drawn anew by a logarithm of our own. What is
orthogonal needs LAPACK, and promises the same bits on the same machine alone.

RECIPE names all of this. A change that gives other values raises it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from math import log, sqrt
from typing import Any

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.init.distributions import (
    DRAWN_WHOLE,
    Centered,
    Constant,
    CustomDistribution,
    Delta,
    Distribution,
    ExistingValues,
    Mixture,
    Normal,
    Orthogonal,
    Sections,
    Sparse,
    TruncatedNormal,
    Uniform,
)

RECIPE = 1
TAILS = 1 << 30
"""Which part of a stream tails come from: no law has so many parts."""

BLOCK_SIZE = 1 << 18
"""How many values a block has."""

MAX_DRAWN_WHOLE = 1 << 26
"""How many values a parameter may have whose law is drawn at once; one is drawn at a time, in four times its size."""

_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Stream:
    """Where the random numbers of one parameter come from; ``part`` leads to those of a part of its law."""

    seed: int
    path: str
    branch: tuple[int, ...] = ()

    def generator(self, block: int) -> np.random.Generator:
        digest = blake2b(f"{RECIPE}\0{self.seed}\0{self.path}".encode("utf-8", "surrogatepass"), digest_size=16)
        sequence = np.random.SeedSequence(int.from_bytes(digest.digest(), "little"), spawn_key=(block, *self.branch))
        return np.random.Generator(np.random.SFC64(sequence))

    def part(self, number: int) -> Stream:
        return Stream(self.seed, self.path, (*self.branch, number))


class TooLargeToDraw(ValueError):
    """A law that is drawn at once, for more values than LARGEST_WHOLE."""


def is_drawn_whole(law: Distribution) -> bool:
    """Whether a law is drawn at once."""
    return isinstance(law, DRAWN_WHOLE)


def draw_block(law: Distribution, stream: Stream, block: int, size: int, dtype: np.dtype[Any]) -> Array:
    """The values of one block of an elementwise law, in float32 or float64; ``size`` is the parameter's."""
    start = block * BLOCK_SIZE
    values = np.empty(min(BLOCK_SIZE, size - start), dtype)
    _fill(law, stream, block, start, values)
    return values


def draw_whole(law: Distribution, stream: Stream, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """All the values of a law that is drawn at once, in a flat array.

    Raises WholeTooLarge above LARGEST_WHOLE values.
    """
    size = int(np.prod(shape, dtype=object))
    if size > MAX_DRAWN_WHOLE:
        raise TooLargeToDraw(
            f"what is not drawn value by value may have at most {MAX_DRAWN_WHOLE:,} values, not {size:,}"
        )
    with _one_at_a_time:
        match law:
            case Orthogonal():
                return _orthogonal(law, stream, dtype).reshape(-1)
            case Centered(inner, position, fields):
                kernel = np.zeros((fields, inner.rows * inner.columns), dtype)
                kernel[position] = _orthogonal(inner, stream, dtype).reshape(-1)
                return kernel.reshape(-1)
            case Sparse():
                return _sparse(law, stream, dtype).reshape(-1)
            case CustomDistribution(function):
                return np.asarray(function(shape, str(dtype), stream.generator(0)), dtype).reshape(-1)
            case _:
                raise TypeError(f"{law} is drawn block by block")


def _fill(law: Distribution, stream: Stream, block: int, start: int, out: Array) -> None:
    """Put a block's values into ``out``; ``start`` is the place of its first."""
    match law:
        case Constant(value):
            out.fill(_number(value, out))
        case Uniform(low, high):
            _uniform(low, high, stream.generator(block), out)
        case Normal(mean, stddev):
            _Normals(stream, block).fill(out)
            _scale_normal(out, stddev, mean)
        case TruncatedNormal(mean, stddev, low, high):
            _truncated(low, high, _Normals(stream, block), out)
            _scale_normal(out, stddev, mean)
        case Delta(value, runs, _):
            out.fill(0)
            for first, step, count in runs:
                skipped = max(0, -((first - start) // step))  # how many places of the run lie before this block
                if skipped < count:
                    begin, end = first + skipped * step - start, first + (count - 1) * step + 1 - start
                    out[begin:end:step] = _number(value, out)
        case Mixture():
            _mixture(law, stream, block, start, out)
        case Sections(parts, columns):
            section = (np.arange(start, start + out.size) % columns) // (columns // len(parts))
            for number, part in enumerate(parts):
                here = np.flatnonzero(section == number)
                out[here] = _part(part, stream.part(number), block, start, out)[here]
        case ExistingValues(read):
            out[:] = read(start, start + out.size)
        case _:
            raise TypeError(f"{law} is drawn at once")


def _scale(out: Array, by: float, plus: float) -> None:
    out *= _number(by, out)
    if plus:
        out += _number(plus, out)


def _scale_normal(out: Array, stddev: float, mean: float) -> None:
    """Raises OverflowError for a law whose values the dtype may not hold, whichever they are."""
    _number(abs(mean) + 10 * stddev, out)
    _scale(out, stddev, mean)


def _number(value: float, like: Array) -> Any:
    """A number of a law in the dtype of the values. Raises OverflowError if that cannot hold it."""
    if abs(value) > float(np.finfo(like.dtype).max):
        raise OverflowError(f"a value exceeds what {like.dtype} holds")
    return like.dtype.type(value)


def _uniform(low: float, high: float, generator: np.random.Generator, out: Array) -> None:
    generator.random(out=out, dtype=out.dtype)
    _scale(out, high - low, low)
    if high > low:  # rounding may reach the end that is excluded
        np.minimum(out, np.nextafter(out.dtype.type(high), out.dtype.type(low)), out=out)


class _Normals:
    """A standard normal law for one block: NumPy's ziggurat, and beyond its last step tails of our own.

    Tails: Marsaglia (1964), "Generating a variable from the tail of the normal distribution".
    """

    LAST = 3.6541528853610088  # numpy/random/src/distributions/ziggurat_constants.h

    def __init__(self, stream: Stream, block: int) -> None:
        self.generator = stream.generator(block)
        self.stream, self.block = stream.part(TAILS), block
        self.of_tails: np.random.Generator | None = None

    def fill(self, out: Array) -> None:
        self.generator.standard_normal(out=out, dtype=out.dtype)
        self.mend(out)

    def more(self, size: int, like: Array) -> Array:
        values = self.generator.standard_normal(size, dtype=like.dtype)
        self.mend(values)
        return values

    def mend(self, values: Array) -> None:
        """Put tails of our own in the place of NumPy's, with the signs that those have."""
        far = np.flatnonzero(np.abs(values) > self.LAST)
        if far.size:
            values[far] = np.copysign(self.tails(far.size), values[far])

    def tails(self, size: int) -> Array:
        if self.of_tails is None:
            self.of_tails = self.stream.generator(self.block)
        made = np.empty(size)
        left = np.arange(size)
        while left.size:
            x = _log(1 - self.of_tails.random(left.size)) / -self.LAST
            y = -_log(1 - self.of_tails.random(left.size))
            fits = y + y > x * x
            made[left[fits]] = self.LAST + x[fits]
            left = left[~fits]
        return made


def _log(values: Array) -> Array:
    """The natural logarithm, 2 atanh((m - 1) / (m + 1)), by sums and products, which give the same bits everywhere."""
    mantissa, exponent = np.frexp(values)
    small = mantissa < sqrt(0.5)
    mantissa = np.where(small, mantissa * 2, mantissa)
    z = (mantissa - 1) / (mantissa + 1)
    square = z * z
    total = np.zeros_like(z)
    for odd in range(25, 0, -2):
        total = total * square + 1 / odd
    made: Array = 2 * z * total + (exponent - small) * log(2)
    return made


def _truncated(low: float, high: float, normals: _Normals, out: Array) -> None:
    """A standard normal law, drawn again beyond the bounds."""
    normals.fill(out)
    beyond = np.flatnonzero((out < low) | (out > high))
    while beyond.size:
        again = normals.more(beyond.size, out)
        out[beyond] = again
        beyond = beyond[(again < low) | (again > high)]


def _mixture(law: Mixture, stream: Stream, block: int, start: int, out: Array) -> None:
    """Each value chooses its part by a number of its own."""
    choice = stream.generator(block).random(out.size)
    passed = 0.0
    last = len(law.parts) - 1
    for number, (share, part) in enumerate(law.parts):
        chosen = (choice >= passed) & (choice < passed + share) if number < last else choice >= passed
        here = np.flatnonzero(chosen)
        out[here] = _part(part, stream.part(number), block, start, out)[here]
        passed += share


def _part(law: Distribution, stream: Stream, block: int, start: int, like: Array) -> Array:
    values = np.empty_like(like)
    _fill(law, stream, block, start, values)
    return values


def _normals(stream: Stream, size: int, dtype: np.dtype[Any]) -> Array:
    """Standard normal values for a whole matrix, by the same blocks as everything else."""
    return np.concatenate([draw_block(Normal(0.0, 1.0), stream, k, size, dtype) for k in _block_numbers(size)])


def _block_numbers(size: int) -> Iterator[int]:
    return iter(range(max(1, -(-size // BLOCK_SIZE))))


def _orthogonal(law: Orthogonal, stream: Stream, dtype: np.dtype[Any]) -> Array:
    """QR of a normal matrix, its signs made unique (Mezzadri 2007), so that the law is Haar's."""
    tall, wide = max(law.rows, law.columns), min(law.rows, law.columns)
    q, r = np.linalg.qr(_normals(stream, tall * wide, dtype).reshape(tall, wide))
    q *= np.where(np.diag(r) < 0, -1, 1).astype(dtype)
    q *= _number(law.gain, q)
    return np.ascontiguousarray(q.T if law.rows < law.columns else q)


def _sparse(law: Sparse, stream: Stream, dtype: np.dtype[Any]) -> Array:
    values = _normals(stream, law.rows * law.columns, dtype).reshape(law.rows, law.columns)
    _scale_normal(values, law.stddev, 0.0)
    generator = stream.part(0).generator(0)
    many = max(1, BLOCK_SIZE // max(1, law.columns))
    for row in range(0, law.rows, many):
        some = values[row : row + many]
        order = generator.random(some.shape).argsort(axis=1, kind="stable")
        np.put_along_axis(some, order[:, : law.zeros], 0, axis=1)
    return values
