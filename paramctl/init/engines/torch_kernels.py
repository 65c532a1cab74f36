"""uniform_ and normal_ of torch's CPU tensors: any values of a tensor, from its place in the stream of words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.init.engines.box_muller import RUN, normals, normals64, pair, steps64, uniform64
from paramctl.init.engines.fused import fma32, fma64
from paramctl.init.engines.mt19937 import Words

PAIR = 4
"""The words of a pair of small normal values: two numbers of float64."""
AT_ONCE = 1 << 15
"""The number of uniform values to compute at once, while they are in the processor's cache."""


class Place(NamedTuple):
    """A place in the stream.

    word: the number of words before it.
    pair: the first word of a pair of normal values whose second one no small tensor has taken yet; None without one.
    """

    word: int = 0
    pair: int | None = None


class Tensor(NamedTuple):
    """A tensor to fill: the number of its values, their dtype, and the place in the stream where it begins."""

    size: int
    dtype: np.dtype[Any]
    place: Place

    @property
    def words_each(self) -> int:
        """The number of words of a uniform number."""
        return 2 if self.dtype == np.float64 else 1


def after_uniform(tensor: Tensor) -> Place:
    """Return the place after uniform_."""
    return tensor.place._replace(word=tensor.place.word + tensor.size * tensor.words_each)


def after_normal(tensor: Tensor) -> Place:
    """Return the place after normal_."""
    size, (word, waiting) = tensor.size, tensor.place
    if 0 < size < RUN:
        pairs, odd = divmod(size - (waiting is not None), 2)
        end = word + PAIR * (pairs + odd)
        return Place(end, end - PAIR if odd else None)
    is_half = tensor.dtype.itemsize == 2  # torch draws numbers for whole runs only
    drawn = size - size % RUN if is_half else size
    return Place(word + tensor.words_each * (drawn + (RUN if size % RUN else 0)), waiting)


@dataclass(frozen=True, slots=True)
class Kernels:
    """The kernels that fill tensors from one stream. fused: True for those for processors with AVX2 and FMA."""

    words: Words
    fused: bool

    def uniform(self, tensor: Tensor, low: float, high: float, start: int, stop: int) -> Array:
        """Return the values from one flat index to another of a tensor that is uniform on [low, high)."""
        each = tensor.words_each
        words = self.words.read(tensor.place.word + each * start, each * (stop - start))
        if tensor.dtype == np.float64:
            values = np.empty(stop - start)
            for begin in range(0, values.size, AT_ONCE):
                piece = words[2 * begin : 2 * (begin + AT_ONCE)]
                values[begin : begin + AT_ONCE] = self._uniform64(piece, low, high)
        else:
            values = words.view(np.float32)  # in place
            for begin in range(0, values.size, AT_ONCE):
                self._uniform32(words[begin : begin + AT_ONCE], low, high, values[begin : begin + AT_ONCE])
        values = values.astype(tensor.dtype, copy=False)
        lowest, highest = np.array([low, high], tensor.dtype)
        if (low and low != -high) or tensor.dtype.itemsize == 2:  # otherwise no value is rounded to the upper bound
            values[values == highest] = lowest  # which torch excludes
        return values

    def _uniform32(self, words: Array, low: float, high: float, out: Array) -> None:
        """Write uniform values into ``out``, which may be the memory of the words."""
        first = np.float32(low)
        width = np.float32(high) - first
        steps = words.view(np.int32)
        if self.fused and first == -width / 2 and width > 1e-30:
            # (x width - width / 2) is one product of an integer and a number, so one rounding is enough
            steps <<= 8
            steps ^= np.int32(-1 << 31)
            np.copyto(out, steps, casting="unsafe")
            out *= width * np.float32(2**-32)
            return
        steps &= (1 << 24) - 1
        np.copyto(out, steps, casting="unsafe")
        out *= np.float32(2**-24)
        if not self.fused or not first:
            out *= width
            out += first
        else:
            out[:] = fma32(out, float(width), float(first))

    def _uniform64(self, words: Array, low: float, high: float) -> Array:
        width = float(high) - low
        if self.fused and low == -width / 2 and width > 1e-200:  # one product, as in float32
            values: Array = (steps64(words) - (1 << 52)).astype(np.float64)
            values *= width * 2.0**-53
            return values
        values = uniform64(words)
        if self.fused and low:
            return fma64(values, width, low)
        values *= width
        values += low
        return values

    def normal(self, tensor: Tensor, mean: float, stddev: float, start: int, stop: int) -> Array:
        """Return the values from one flat index, a multiple of 16, to another of a normal tensor."""
        if tensor.size < RUN:
            return self._small(tensor, mean, stddev)[start:stop]
        each, place = tensor.words_each, tensor.place.word
        full = tensor.size - tensor.size % RUN
        runs = min(-(-stop // RUN) * RUN, full)
        values = self._runs(place + each * start, max(runs - start, 0), tensor, mean, stddev)
        if stop <= tensor.size - RUN or stop <= full == tensor.size:
            return values[: stop - start]
        # the tail replaces values of the last full run
        tail, begin = self._tail(tensor, mean, stddev), tensor.size - RUN
        whole = np.concatenate([values[: max(begin - start, 0)], tail[max(start - begin, 0) :]])
        return whole[: stop - start]

    def normal_at(self, tensor: Tensor, mean: float, stddev: float, start: int, stop: int, indices: Array) -> Array:
        """Return those values of ``normal`` that are at some indices, in order. Only their runs are computed."""
        first_of_tail = tensor.size - (RUN if tensor.size % RUN else 0) - start
        runs, where = np.unique(indices[indices < first_of_tail] // RUN, return_inverse=True)
        if tensor.size < RUN or 2 * runs.size * RUN > stop - start:
            return self.normal(tensor, mean, stddev, start, stop)[indices]
        each, within = tensor.words_each, where.size
        words = self.words.read(tensor.place.word + each * start, (stop - start) // RUN * RUN * each)
        drawn = self._computed(words.reshape(-1, RUN * each)[runs].reshape(-1), tensor, mean, stddev)
        values: Array = drawn[where * RUN + indices[:within] % RUN]
        if within < indices.size:
            tail = self._tail(tensor, mean, stddev)[indices[within:] - first_of_tail]
            values = np.concatenate([values, tail])
        return values

    def _runs(self, word: int, count: int, tensor: Tensor, mean: float, stddev: float) -> Array:
        """Return the normal values of whole runs."""
        return self._computed(self.words.read(word, count * tensor.words_each), tensor, mean, stddev)

    def _tail(self, tensor: Tensor, mean: float, stddev: float) -> Array:
        """Return the last 16 values of a tensor whose size is not a multiple of 16. They have words of their own."""
        return self._runs(after_normal(tensor).word - tensor.words_each * RUN, RUN, tensor, mean, stddev)

    def _computed(self, words: Array, tensor: Tensor, mean: float, stddev: float) -> Array:
        if tensor.dtype == np.float64:
            return normals64(words, mean, stddev)
        values = normals(words, float(np.float32(mean)), float(np.float32(stddev)), self.fused)
        return values.astype(tensor.dtype, copy=False)

    def _small(self, tensor: Tensor, mean: float, stddev: float) -> Array:
        """Return the values of a tensor of fewer than 16, two from each pair."""
        word, waiting = tensor.place
        values = [] if waiting is None else [pair(self.words.read(waiting, PAIR))[1]]
        while len(values) < tensor.size:
            values += pair(self.words.read(word, PAIR))
            word += PAIR
        drawn = np.array(values[: tensor.size])
        scaled = fma64(drawn, stddev, mean) if self.fused else drawn * stddev + mean
        return scaled.astype(tensor.dtype)
