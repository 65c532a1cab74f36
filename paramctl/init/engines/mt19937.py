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

SKIPPED = 1 << 18
"""The number of words to pass over at once."""
STRIDE = 1 << 22
"""The distance of the states that are kept for good: 2.5 KB for 16 MiB of float32 values."""
RECENT = 64
"""The number of states after the last reads that are kept: enough for threads that read near each other."""

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
            pairs = self._generator.integers(0, 1 << 64, count // 2, dtype=np.uint64)
            if count % 2:
                words[-1] = self._generator.integers(0, 1 << 32, dtype=np.uint32)
            self._move(start + count)
        halves = pairs.astype("<u8", copy=False).view("<u4")  # two words at once are faster; the first is the high half
        words[0 : count - 1 : 2] = halves[1::2]
        words[1::2] = halves[::2]
        return words

    def _seek(self, start: int) -> None:
        """Bring the generator to a position, from the nearest known state before it."""
        if start == self._position:
            return
        known = self._positions[bisect_right(self._positions, start) - 1]
        recent = max((position for position in self._recent if position <= start), default=0)
        nearest = max(known, recent)
        if not nearest <= self._position <= start:
            self._bits.state = self._recent[nearest] if recent >= known and recent else self._kept[nearest]
            self._position = nearest
        while self._position < start:
            count = min(SKIPPED, start - self._position)
            self._generator.integers(0, 1 << 64, count // 2, dtype=np.uint64)
            self._generator.integers(0, 1 << 32, count % 2, dtype=np.uint32)
            self._move(self._position + count)

    def _move(self, position: int) -> None:
        """Note the generator's new position, and keep its state."""
        self._position = position
        self._recent[position] = state = self._bits.state
        self._recent.move_to_end(position)
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        if position - self._positions[bisect_right(self._positions, position) - 1] >= STRIDE:
            insort(self._positions, position)
            self._kept[position] = state
