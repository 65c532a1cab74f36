"""Extents: where in a file the values of each array lie, read and written in parallel at those places.

A checkpoint whose arrays are contiguous is a header plus extents, whatever its format; this is the
one piece of code that moves values between such a file and memory.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from paramctl.arrays import Array
from paramctl.errors import InputError
from paramctl.store.files import Bytes

T = TypeVar("T")
J = TypeVar("J")


class Extent(NamedTuple):
    """The place of an array's first byte, and the dtype of its values, which lie in C order."""

    offset: int
    dtype: np.dtype[Any]


class Extents:
    """Reads values from the extents of one file."""

    def __init__(self, file: Bytes, extents: Mapping[str, Extent]) -> None:
        self.file, self.extents = file, extents

    def read(self, path: str, start: int, stop: int) -> Array:
        """The values from one place to another in C order, in the machine's byte order."""
        extent = self.extents[path]
        values = np.empty(stop - start, extent.dtype)
        buffer = values.view(np.uint8).data
        if self.file.read_into(extent.offset + start * extent.dtype.itemsize, buffer) < len(buffer):
            raise InputError(f"{self.file.name}: it ends within {path}")
        return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def as_bytes(values: Array) -> memoryview:
    """The bytes of an array in C order, little-endian, without a copy where it has them so."""
    if not values.dtype.isnative or (values.dtype.byteorder == ">"):
        values = values.astype(values.dtype.newbyteorder("<"))
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def workers() -> int:
    """How many threads work at once: as many as there are processors for this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_parallel(work: Callable[[J], T], jobs: Iterable[J], threads: int | None = None) -> Iterator[T]:
    """What ``work`` makes of each job, in their order; a few ahead are worked on, in threads.

    The first error ends it, and so does whoever stops listening: what is not begun is not done.
    """
    count = threads or workers()
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) > 2 * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
