"""Streams: from a law, a seed and a path to values. The only user of random numbers.

A parameter's values are cut into blocks of 2^18, in C order, and block k has a bit generator of its
own, SFC64 seeded from (seed, path, k): so any slice can be drawn alone, in any order, by any number of
threads, and no parameter's values depend on another's. Beside the generator's own integers, ``random`` and
``standard_normal``, only exact arithmetic is used, which gives the same bits on every processor; what is
orthogonal needs LAPACK, and promises the same bits on the same machine alone.

RECIPE names all of this. A change that gives other values raises it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from paramctl.arrays import Array
from paramctl.init.distributions import (
    WHOLE,
    Centered,
    Constant,
    Delta,
    Given,
    Law,
    Mixture,
    Normal,
    Orthogonal,
    Own,
    Sections,
    Sparse,
    TruncatedNormal,
    Uniform,
)

RECIPE = 1
BLOCK = 1 << 18
"""How many values a block has."""

LARGEST_WHOLE = 1 << 26
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


class WholeTooLarge(ValueError):
    """A law that is drawn at once, for more values than LARGEST_WHOLE."""


def is_whole(law: Law) -> bool:
    """Whether a law is drawn at once."""
    return isinstance(law, WHOLE)


def draw_block(law: Law, stream: Stream, block: int, size: int, dtype: np.dtype[Any]) -> Array:
    """The values of one block of an elementwise law, in float32 or float64; ``size`` is the parameter's."""
    start = block * BLOCK
    values = np.empty(min(BLOCK, size - start), dtype)
    _fill(law, stream, block, start, values)
    return values


def draw_whole(law: Law, stream: Stream, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """All the values of a law that is drawn at once, in a flat array.

    Raises WholeTooLarge above LARGEST_WHOLE values.
    """
    size = int(np.prod(shape, dtype=object))
    if size > LARGEST_WHOLE:
        raise WholeTooLarge(f"what is not drawn value by value may have at most {LARGEST_WHOLE:,} values, not {size:,}")
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
            case Own(function):
                return np.asarray(function(shape, str(dtype), stream.generator(0)), dtype).reshape(-1)
            case _:
                raise TypeError(f"{law} is drawn block by block")


def _fill(law: Law, stream: Stream, block: int, start: int, out: Array) -> None:
    """Put a block's values into ``out``; ``start`` is the place of its first."""
    match law:
        case Constant(value):
            out.fill(_number(value, out))
        case Uniform(low, high):
            _uniform(low, high, stream.generator(block), out)
        case Normal(mean, stddev):
            stream.generator(block).standard_normal(out=out, dtype=out.dtype)
            _scale(out, stddev, mean)
        case TruncatedNormal(mean, stddev, low, high):
            _truncated(low, high, stream.generator(block), out)
            _scale(out, stddev, mean)
        case Delta(value, runs, _):
            out.fill(0)
            for first, step, count in runs:
                skipped = max(0, -((first - start) // step))  # how many places of the run lie before this block
                if skipped < count:
                    out[first + skipped * step - start : first + (count - 1) * step + 1 - start : step] = value
        case Mixture():
            _mixture(law, stream, block, start, out)
        case Sections(parts, columns):
            section = (np.arange(start, start + out.size) % columns) // (columns // len(parts))
            for number, part in enumerate(parts):
                here = np.flatnonzero(section == number)
                out[here] = _part(part, stream.part(number), block, start, out)[here]
        case Given(read):
            out[:] = read(start, start + out.size)
        case _:
            raise TypeError(f"{law} is drawn at once")


def _scale(out: Array, by: float, plus: float) -> None:
    out *= _number(by, out)
    if plus:
        out += _number(plus, out)


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


def _truncated(low: float, high: float, generator: np.random.Generator, out: Array) -> None:
    """A standard normal law, drawn again beyond the bounds."""
    generator.standard_normal(out=out, dtype=out.dtype)
    beyond = np.flatnonzero((out < low) | (out > high))
    while beyond.size:
        again = generator.standard_normal(beyond.size, dtype=out.dtype)
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


def _part(law: Law, stream: Stream, block: int, start: int, like: Array) -> Array:
    values = np.empty_like(like)
    _fill(law, stream, block, start, values)
    return values


def _normals(stream: Stream, size: int, dtype: np.dtype[Any]) -> Array:
    """Standard normal values for a whole matrix, by the same blocks as everything else."""
    return np.concatenate([draw_block(Normal(0.0, 1.0), stream, k, size, dtype) for k in _block_numbers(size)])


def _block_numbers(size: int) -> Iterator[int]:
    return iter(range(max(1, -(-size // BLOCK))))


def _orthogonal(law: Orthogonal, stream: Stream, dtype: np.dtype[Any]) -> Array:
    """QR of a normal matrix, its signs made unique (Mezzadri 2007), so that the law is Haar's."""
    tall, wide = max(law.rows, law.columns), min(law.rows, law.columns)
    q, r = np.linalg.qr(_normals(stream, tall * wide, dtype).reshape(tall, wide))
    q *= np.where(np.diag(r) < 0, -1, 1).astype(dtype)
    q *= dtype.type(law.gain)
    return np.ascontiguousarray(q.T if law.rows < law.columns else q)


def _sparse(law: Sparse, stream: Stream, dtype: np.dtype[Any]) -> Array:
    values = _normals(stream, law.rows * law.columns, dtype).reshape(law.rows, law.columns)
    values *= dtype.type(law.stddev)
    generator = stream.part(0).generator(0)
    many = max(1, BLOCK // max(1, law.columns))
    for row in range(0, law.rows, many):
        some = values[row : row + many]
        order = generator.random(some.shape).argsort(axis=1, kind="stable")
        np.put_along_axis(some, order[:, : law.zeros], 0, axis=1)
    return values
