"""Run jobs in threads, in order. The only module that starts threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
J = TypeVar("J")


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
