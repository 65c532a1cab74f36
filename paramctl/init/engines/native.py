"""The native engine: values addressed by seed, path and block.

A parameter's values are cut into blocks of 2^18, in C order. Block k has its own bit generator, SFC64 seeded from
(seed, path, k). So any slice can be drawn alone, in any order and by any number of threads, and no parameter's values
depend on another parameter.

Values have the same bits on every processor. Apart from the generator's integers, ``random`` and ``standard_normal``,
only exact arithmetic is used. NumPy draws the tails of ``standard_normal`` with the C library's logarithm, whose last
bits differ, so they are redrawn with a logarithm of our own (normals.py). Orthogonal matrices need LAPACK; they have
the same bits on the same machine only.

RECIPE, in streams.py, is the version of all of this. Any change of values must raise it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from paramctl.core.blas import one_thread
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
from paramctl.init.engines.normals import normals
from paramctl.init.engines.streams import BLOCK_SIZE, RECIPE, Stream

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
            _scale_normal(normals(stream, block, out.size, out.dtype), stddev, mean, out)
        case TruncatedNormal(mean, stddev, low, high):
            _scale_normal(normals(stream, block, out.size, out.dtype, low, high), stddev, mean, out)
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


def _scale(values: Array, factor: float, offset: float, out: Array) -> None:
    np.multiply(values, _number(factor, out), out=out)
    if offset:
        out += _number(offset, out)


def _scale_normal(values: Array, stddev: float, mean: float, out: Array) -> None:
    """Scale standard normal values. Raises OverflowError if the dtype could not hold some value of the distribution.

    Values beyond 10 standard deviations practically never occur. So the error depends on the distribution alone, not on
    which values are drawn.
    """
    _number(abs(mean) + 10 * stddev, out)
    _scale(values, stddev, mean, out)


def _number(value: float, like: Array) -> Any:
    """Return a number in the dtype of an array. Raises OverflowError if the dtype cannot hold it."""
    if abs(value) > float(np.finfo(like.dtype).max):
        raise OverflowError(f"a value exceeds the range of {like.dtype}")
    return like.dtype.type(value)


def _uniform(low: float, high: float, generator: np.random.Generator, out: Array) -> None:
    generator.random(out=out, dtype=out.dtype)
    _scale(out, high - low, low, out)
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


def _mixture(mixture: Mixture, stream: Stream, block: int, start: int, out: Array) -> None:
    """Write values into ``out``, each from the part that a uniform random number selects for it."""
    choice = stream.generator(block).random(out.size)
    below = 0.0
    for number, (probability, part) in enumerate(mixture.parts):
        # Each part replaces those before it, so the last has the rest: probabilities may add up to less than 1.
        if number == 0:
            _fill(part, stream.part(number), block, start, out)
        else:
            indices = np.flatnonzero(choice >= below)
            out[indices] = _part(part, stream.part(number), block, start, out)[indices]
        below += probability


def _sections(sections: Sections, stream: Stream, block: int, start: int, out: Array) -> None:
    """Write values into ``out``, each from the part that its place in the last axis selects for it."""
    width = sections.columns // len(sections.parts)
    for number, part in enumerate(sections.parts):
        # each part is drawn for the whole block and then picked from: a value must not depend on the others
        values = _part(part, stream.part(number), block, start, out)
        both = zip(_rows(out, start, sections.columns), _rows(values, start, sections.columns), strict=True)
        for (rows, first), (drawn, _) in both:
            section = slice(max(0, number * width - first), max(0, (number + 1) * width - first))
            rows[:, section] = drawn[:, section]


def _rows(values: Array, start: int, columns: int) -> Iterator[tuple[Array, int]]:
    """Yield the rows of flat values, with the column that they begin at: a part of a row, whole rows, another part.

    start: the flat index of the first value.
    """
    head = min(-start % columns, values.size)
    tail = values.size - (values.size - head) % columns
    yield values[:head].reshape(1, head), start % columns
    yield values[head:tail].reshape(-1, columns), 0
    yield values[tail:].reshape(1, values.size - tail), 0


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
    normals = _normals(stream, tall * wide, dtype).reshape(tall, wide)
    with one_thread():  # on whose number the last bits of the values depend
        q, r = np.linalg.qr(normals)
    # LAPACK's choice of signs depends on the data, so Q alone is not uniform
    q *= np.where(np.diag(r) < 0, -1, 1).astype(dtype)
    q *= _number(matrix.gain, q)
    return np.ascontiguousarray(q.T if matrix.rows < matrix.columns else q)


def _sparse(sparse: Sparse, stream: Stream, dtype: np.dtype[Any]) -> Array:
    values = _normals(stream, sparse.rows * sparse.columns, dtype).reshape(sparse.rows, sparse.columns)
    _scale_normal(values, sparse.stddev, 0.0, values)
    generator = stream.part(0).generator(0)
    step = max(1, BLOCK_SIZE // max(1, sparse.columns))  # rows at once, which bounds the memory of the sort
    for row in range(0, sparse.rows, step):
        rows = values[row : row + step]
        order = generator.random(rows.shape).argsort(axis=1, kind="stable")
        np.put_along_axis(rows, order[:, : sparse.zeros], 0, axis=1)
    return values
