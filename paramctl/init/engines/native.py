"""The native engine: values addressed by seed, path and block.

A parameter's values are cut into blocks of 2^18, in C order. Block k has its own bit generator, SFC64 seeded from
(seed, path, k). So any slice can be drawn alone, in any order and by any number of threads, and no parameter's values
depend on another parameter.

Values have the same bits on every processor. Apart from the generator's integers, ``random`` and ``standard_normal``,
only exact arithmetic is used. NumPy draws the tails of ``standard_normal`` with the C library's logarithm, whose last
bits differ, so they are redrawn with the logarithm below. Orthogonal matrices need LAPACK; they have the same bits on
the same machine only.

RECIPE is the version of all of this. Any change of values must raise it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import log, prod, sqrt
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
    Padded,
    Sections,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from paramctl.init.engines.base import DrawRequest, TooLargeToDraw

RECIPE = 1
TAILS = 1 << 30
"""The branch of a stream for tails. Branches from 0 on are for the parts of a distribution, which are fewer."""

BLOCK_SIZE = 1 << 18
"""The number of values in a block."""

MAX_DRAWN_WHOLE = 1 << 26
"""The largest number of values of a parameter that is drawn at once. That takes four times its size in memory."""

_one_at_a_time = threading.Lock()
"""Held while a parameter is drawn at once, so that threads do not multiply its memory."""


@dataclass(frozen=True, slots=True)
class NativeEngine:
    """The engine of paramctl's own streams."""

    name: str = "native"
    recipe: int = RECIPE
    addressable: bool = True

    def start(self, seed: int, requests: Mapping[str, DrawRequest]) -> NativeDraws:
        """Return the values for a seed. They depend on each request alone, not on the others or their order."""
        return NativeDraws(seed, requests)


NATIVE = NativeEngine()


@dataclass(frozen=True, slots=True)
class NativeDraws:
    """The values of a model under one seed."""

    seed: int
    requests: Mapping[str, DrawRequest]

    def block_size(self, path: str) -> int:
        """Return BLOCK_SIZE, or the size of a parameter that is drawn at once."""
        request = self.requests[path]
        return max(1, prod(request.shape)) if is_drawn_whole(request.distribution) else BLOCK_SIZE

    def draw(self, path: str, block: int) -> Array:
        """Return the values of one block. Raises OverflowError and TooLargeToDraw."""
        distribution, shape, dtype = self.requests[path]
        stream = Stream(self.seed, path)
        if is_drawn_whole(distribution):
            return draw_whole(distribution, stream, shape, dtype)
        return draw_block(distribution, stream, block, prod(shape), dtype)


@dataclass(frozen=True, slots=True)
class Stream:
    """The random numbers of one parameter. ``branch`` selects those of a part of its distribution."""

    seed: int
    path: str
    branch: tuple[int, ...] = ()

    def generator(self, block: int) -> np.random.Generator:
        """Return a new generator at the start of a block."""
        # hashed, so that similar seeds and paths give unrelated streams; no two (seed, path) have the same text
        digest = blake2b(f"{RECIPE}\0{self.seed}\0{self.path}".encode("utf-8", "surrogatepass"), digest_size=16)
        sequence = np.random.SeedSequence(int.from_bytes(digest.digest(), "little"), spawn_key=(block, *self.branch))
        return np.random.Generator(np.random.SFC64(sequence))

    def part(self, number: int) -> Stream:
        """Return the stream of a part of the distribution, which is independent of this one."""
        return Stream(self.seed, self.path, (*self.branch, number))


def is_drawn_whole(distribution: Distribution) -> bool:
    """Return True if all values of a parameter are drawn at once, False if block by block."""
    return isinstance(distribution, DRAWN_WHOLE)


def draw_block(distribution: Distribution, stream: Stream, block: int, size: int, dtype: np.dtype[Any]) -> Array:
    """Return the values of one block, in float32 or float64. ``size`` is the number of values of the parameter."""
    start = block * BLOCK_SIZE
    values = np.empty(min(BLOCK_SIZE, size - start), dtype)
    _fill(distribution, stream, block, start, values)
    return values


def draw_whole(distribution: Distribution, stream: Stream, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return all values of a distribution that is drawn at once, flat.

    Raises TooLargeToDraw for more than MAX_DRAWN_WHOLE values.
    """
    size = int(np.prod(shape, dtype=object))
    if size > MAX_DRAWN_WHOLE:
        raise TooLargeToDraw(
            f"a scheme whose values depend on each other supports at most {MAX_DRAWN_WHOLE:,} values, not {size:,}"
        )
    with _one_at_a_time:
        match distribution:
            case Orthogonal():
                return _orthogonal(distribution, stream, dtype).reshape(-1)
            case Centered(inner, position, fields):
                kernel = np.zeros((fields, inner.rows * inner.columns), dtype)
                kernel[position] = _orthogonal(inner, stream, dtype).reshape(-1)
                return kernel.reshape(-1)
            case Sparse():
                return _sparse(distribution, stream, dtype).reshape(-1)
            case CustomDistribution(function):
                return np.asarray(function(shape, str(dtype), stream.generator(0)), dtype).reshape(-1)
            case _:
                raise TypeError(f"{distribution} is drawn block by block")


def _fill(distribution: Distribution, stream: Stream, block: int, start: int, out: Array) -> None:
    """Write a block's values into ``out``. ``start`` is the flat index of its first value."""
    match distribution:
        case Constant(value):
            out.fill(_number(value, out))
        case Uniform():
            _uniform_sum(distribution, stream, block, out)
        case Normal(mean, stddev):
            _Normals(stream, block).fill(out)
            _scale_normal(out, stddev, mean)
        case TruncatedNormal(mean, stddev, low, high):
            _truncated(low, high, _Normals(stream, block), out)
            _scale_normal(out, stddev, mean)
        case Delta(value, runs, _):
            out.fill(0)
            for first, step, count in runs:
                skipped = max(0, -((first - start) // step))  # the values of the run in earlier blocks
                if skipped < count:
                    begin, end = first + skipped * step - start, first + (count - 1) * step + 1 - start
                    out[begin:end:step] = _number(value, out)
        case Mixture():
            _mixture(distribution, stream, block, start, out)
        case Sections():
            _sections(distribution, stream, block, start, out)
        case Padded(rest, columns, _):
            _fill(rest, stream, block, start, out)
            out[: max(0, columns - start)] = 0
        case ExistingValues(read, _):
            out[:] = read(start, start + out.size)
        case _:
            raise TypeError(f"{distribution} is drawn at once")


def _scale(out: Array, factor: float, offset: float) -> None:
    out *= _number(factor, out)
    if offset:
        out += _number(offset, out)


def _scale_normal(out: Array, stddev: float, mean: float) -> None:
    """Scale standard normal values. Raises OverflowError if the dtype could not hold some value of the distribution.

    Values beyond 10 standard deviations practically never occur. So the error depends on the distribution alone, not on
    which values are drawn.
    """
    _number(abs(mean) + 10 * stddev, out)
    _scale(out, stddev, mean)


def _number(value: float, like: Array) -> Any:
    """Return a number in the dtype of an array. Raises OverflowError if the dtype cannot hold it."""
    if abs(value) > float(np.finfo(like.dtype).max):
        raise OverflowError(f"a value exceeds the range of {like.dtype}")
    return like.dtype.type(value)


def _uniform(low: float, high: float, generator: np.random.Generator, out: Array) -> None:
    generator.random(out=out, dtype=out.dtype)
    _scale(out, high - low, low)
    if high > low:  # rounding may reach ``high``, which is excluded
        np.minimum(out, np.nextafter(out.dtype.type(high), out.dtype.type(low)), out=out)


def _uniform_sum(uniform: Uniform, stream: Stream, block: int, out: Array) -> None:
    """Write uniform values into ``out``, or sums of several of them, each from a stream of its own."""
    streams = [stream] if uniform.summands == 1 else [stream.part(number) for number in range(uniform.summands)]
    _uniform(uniform.low, uniform.high, streams[0].generator(block), out)
    for other in streams[1:]:
        summand = np.empty_like(out)
        _uniform(uniform.low, uniform.high, other.generator(block), summand)
        out += summand


class _Normals:
    """Standard normal values for one block: NumPy's ziggurat, with tails that have the same bits everywhere.

    Source of the tails: Marsaglia (1964), "Generating a variable from the tail of the normal distribution".
    """

    LAST = 3.6541528853610088  # numpy/random/src/distributions/ziggurat_constants.h

    def __init__(self, stream: Stream, block: int) -> None:
        self.generator = stream.generator(block)
        self.stream, self.block = stream.part(TAILS), block
        self.tail_generator: np.random.Generator | None = None

    def fill(self, out: Array) -> None:
        """Write values into ``out``."""
        self.generator.standard_normal(out=out, dtype=out.dtype)
        self.replace_tails(out)

    def more(self, size: int, like: Array) -> Array:
        """Return further values, in the dtype of ``like``."""
        values = self.generator.standard_normal(size, dtype=like.dtype)
        self.replace_tails(values)
        return values

    def replace_tails(self, values: Array) -> None:
        """Replace values beyond the ziggurat's last step by new ones with the same signs."""
        beyond = np.flatnonzero(np.abs(values) > self.LAST)
        if beyond.size:
            values[beyond] = np.copysign(self.tails(beyond.size), values[beyond])

    def tails(self, size: int) -> Array:
        """Return positive values beyond the last step."""
        if self.tail_generator is None:
            self.tail_generator = self.stream.generator(self.block)
        values = np.empty(size)
        pending = np.arange(size)
        while pending.size:
            x = _log(1 - self.tail_generator.random(pending.size)) / -self.LAST  # 1 - u is in (0, 1], so its log exists
            y = -_log(1 - self.tail_generator.random(pending.size))
            accepted = y + y > x * x
            values[pending[accepted]] = self.LAST + x[accepted]
            pending = pending[~accepted]
        return values


def _log(values: Array) -> Array:
    """Return the natural logarithm, ``2 atanh((m - 1) / (m + 1))`` of the mantissa m plus the exponent's.

    Sums and products have the same bits on every processor; the C library's logarithm does not.
    """
    mantissa, exponent = np.frexp(values)
    # a mantissa in [sqrt(1/2), sqrt(2)) keeps z below 0.172, where 13 terms of the series are enough for float64
    small = mantissa < sqrt(0.5)
    mantissa = np.where(small, mantissa * 2, mantissa)
    z = (mantissa - 1) / (mantissa + 1)
    square = z * z
    total = np.zeros_like(z)
    for odd in range(25, 0, -2):
        total = total * square + 1 / odd
    logarithm: Array = 2 * z * total + (exponent - small) * log(2)
    return logarithm


def _truncated(low: float, high: float, normals: _Normals, out: Array) -> None:
    """Write standard normal values into ``out``, redrawn beyond the bounds."""
    normals.fill(out)
    beyond = np.flatnonzero((out < low) | (out > high))
    while beyond.size:
        redrawn = normals.more(beyond.size, out)
        out[beyond] = redrawn
        beyond = beyond[(redrawn < low) | (redrawn > high)]


def _mixture(mixture: Mixture, stream: Stream, block: int, start: int, out: Array) -> None:
    """Write values into ``out``, each from the part that a uniform random number selects for it."""
    choice = stream.generator(block).random(out.size)
    below = 0.0
    last = len(mixture.parts) - 1
    for number, (probability, part) in enumerate(mixture.parts):
        # The last part takes the rest, because the probabilities may add up to slightly less than 1.
        selected = (choice >= below) & (choice < below + probability) if number < last else choice >= below
        indices = np.flatnonzero(selected)
        out[indices] = _part(part, stream.part(number), block, start, out)[indices]
        below += probability


def _sections(sections: Sections, stream: Stream, block: int, start: int, out: Array) -> None:
    """Write values into ``out``, each from the part that its place in the last axis selects for it."""
    parts, columns = sections.parts, sections.columns
    section = (np.arange(start, start + out.size) % columns) // (columns // len(parts))
    for number, part in enumerate(parts):
        # each part is drawn for the whole block and then picked from: a value must not depend on the others
        indices = np.flatnonzero(section == number)
        out[indices] = _part(part, stream.part(number), block, start, out)[indices]


def _part(distribution: Distribution, stream: Stream, block: int, start: int, like: Array) -> Array:
    values = np.empty_like(like)
    _fill(distribution, stream, block, start, values)
    return values


def _normals(stream: Stream, size: int, dtype: np.dtype[Any]) -> Array:
    """Return standard normal values for a whole matrix, drawn in the usual blocks."""
    return np.concatenate([draw_block(Normal(0.0, 1.0), stream, k, size, dtype) for k in _block_numbers(size)])


def _block_numbers(size: int) -> Iterator[int]:
    return iter(range(max(1, -(-size // BLOCK_SIZE))))


def _orthogonal(matrix: Orthogonal, stream: Stream, dtype: np.dtype[Any]) -> Array:
    """Return a matrix that is uniform among all orthogonal ones (Haar's measure).

    It is Q of the QR decomposition of a normal matrix, with the signs that make R's diagonal positive.
    Source: Mezzadri (2007), "How to generate random matrices from the classical compact groups".
    """
    tall, wide = max(matrix.rows, matrix.columns), min(matrix.rows, matrix.columns)
    q, r = np.linalg.qr(_normals(stream, tall * wide, dtype).reshape(tall, wide))
    # LAPACK's choice of signs depends on the data, so Q alone is not uniform
    q *= np.where(np.diag(r) < 0, -1, 1).astype(dtype)
    q *= _number(matrix.gain, q)
    return np.ascontiguousarray(q.T if matrix.rows < matrix.columns else q)


def _sparse(sparse: Sparse, stream: Stream, dtype: np.dtype[Any]) -> Array:
    values = _normals(stream, sparse.rows * sparse.columns, dtype).reshape(sparse.rows, sparse.columns)
    _scale_normal(values, sparse.stddev, 0.0)
    generator = stream.part(0).generator(0)
    step = max(1, BLOCK_SIZE // max(1, sparse.columns))  # rows at once, which bounds the memory of the sort
    for row in range(0, sparse.rows, step):
        rows = values[row : row + step]
        order = generator.random(rows.shape).argsort(axis=1, kind="stable")
        np.put_along_axis(rows, order[:, : sparse.zeros], 0, axis=1)
    return values
