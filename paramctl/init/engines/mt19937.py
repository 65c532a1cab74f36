"""The words of a Mersenne Twister, at any position: the stream behind torch's CPU generator.

A word needs all words before it, so a distant position costs a pass over the words between. States of the generator,
of 2.5 KB each, are kept on the way, so that reading a model in order, from several threads, passes over each word once.

Source: Matsumoto and Nishimura (1998), "Mersenne Twister: a 623-dimensionally equidistributed uniform generator".
"""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections import OrderedDict
from typing import Any, TypeAlias

import numpy as np

from paramctl.core.dtypes import Array

AT_ONCE = 1 << 16
"""The number of words to draw at once, while they are in the processor's cache."""
SKIPPED = 1 << 18
"""The number of words to pass over at once."""
STRIDE = 1 << 22
"""The distance of the states that are kept for good: 2.5 KB for 16 MiB of float32 values."""
RECENT = 64
"""The number of further states that are kept, from where reads ended that others did not continue."""

State: TypeAlias = Any
"""A state of NumPy's generator, as its attribute ``state``."""


class Words:
    """The 32-bit words of MT19937 from a seed. Its methods may be called from several threads.

    Only the low 32 bits of the seed matter, as in torch; a negative seed is taken modulo 2^64.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.MT19937()
        state: State = np.random.RandomState(seed & 0xFFFFFFFF).get_state(legacy=False)
        self._bits.state = state
        self._generator = np.random.Generator(self._bits)
        self._position = 0
        self._kept: dict[int, State] = {0: self._bits.state}
        self._positions = [0]  # of the states that are kept for good, in order
        self._recent: OrderedDict[int, State] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, start: int, count: int) -> Array:
        """Return ``count`` words from position ``start`` on, in uint32."""
        words = np.empty(count, np.uint32)
        with self._lock:
            self._seek(start)
            for begin in range(0, count, AT_ONCE):
                self._draw(words[begin : begin + AT_ONCE])
            self._move(start + count)
        return words

    def _draw(self, out: Array) -> None:
        """Write the next words into ``out``."""
        # two words at once are faster than one; the first is the high half
        pairs = self._generator.integers(0, 1 << 64, out.size // 2, dtype=np.uint64).astype("<u8", copy=False)
        halves = pairs.view("<u4")
        out[0 : out.size - 1 : 2], out[1::2] = halves[1::2], halves[::2]
        if out.size % 2:
            out[-1] = self._generator.integers(0, 1 << 32, dtype=np.uint32)

    def _seek(self, start: int) -> None:
        """Bring the generator to a position, from the nearest known state before it."""
        if start == self._position:
            return
        self._recent[self._position] = self._bits.state  # a reader may continue there
        self._recent.move_to_end(self._position)
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        known = self._positions[bisect_right(self._positions, start) - 1]
        recent = max((position for position in self._recent if position <= start), default=0)
        self._position = max(known, recent)
        self._bits.state = self._kept[known] if known >= recent else self._recent[recent]
        skipped = np.empty(min(SKIPPED, start - self._position), np.uint32)
        while self._position < start:
            count = min(SKIPPED, start - self._position)
            self._draw(skipped[:count])
            self._move(self._position + count)

    def _move(self, position: int) -> None:
        """Note the generator's new position, and keep its state at wide steps."""
        self._position = position
        if position - self._positions[bisect_right(self._positions, position) - 1] >= STRIDE:
            insort(self._positions, position)
            self._kept[position] = self._bits.state
