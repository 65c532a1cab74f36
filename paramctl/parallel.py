"""Run jobs in threads and return results in order, and report progress. The only module that starts threads."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Job = TypeVar("Job")
Result = TypeVar("Result")

KEPT = 8 << 20
"""The size of the block that is freed. glibc keeps twice as many bytes at the end of an arena."""

Progress = Callable[[int, int], object]
"""A function that is called with the bytes done so far and the bytes in total."""


def workers() -> int:
    """Return the number of threads to use: one for each processor available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def keep_freed_memory() -> None:
    """Have glibc keep the memory of a freed block for the next one, up to 16 MiB.

    It returns freed memory to the system at once, until a block of this size is freed that no arena holds. The system
    then clears each page of the next block again, which can cost as much as drawing random values into it.
    """
    bytes(KEPT)  # zeros that are mapped, but never touched


def in_parallel(work: Callable[[Job], Result], jobs: Iterable[Job], threads: int | None = None) -> Iterator[Result]:
    """Yield the result of ``work`` for each job, in the order of the jobs.

    At most about twice as many jobs as threads are in flight, so ``jobs`` may be long and results large.
    The first error, or closing the iterator, cancels the jobs that have not begun, and those that look whether they
    are cancelled.
    """
    from concurrent.futures import ThreadPoolExecutor  # imports logging, which no reader of headers needs

    keep_freed_memory()
    count = threads or workers()
    pending: deque[Future[Result]] = deque()
    ended = (*_ended(), threading.Event())

    def run(job: Job) -> Result:
        _thread.ended = ended
        return work(job)

    with ThreadPoolExecutor(count) as pool:
        try:
            for job in jobs:
                pending.append(pool.submit(run, job))
                if len(pending) > 2 * count:  # enough that no worker waits, few enough to bound memory
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            ended[-1].set()
            for future in pending:
                future.cancel()


_thread = threading.local()


def _ended() -> tuple[threading.Event, ...]:
    """Return the events of this thread's job, and of the jobs that wait for it: set when no result is awaited."""
    events: tuple[threading.Event, ...] = getattr(_thread, "ended", ())
    return events


def check_awaited() -> None:
    """Raise CancelledError in a job whose result is no longer awaited. A job that takes seconds calls this."""
    if any(event.is_set() for event in _ended()):
        from concurrent.futures import CancelledError

        raise CancelledError


def pause(seconds: float) -> None:
    """Wait. Raises CancelledError at once in a job whose result is no longer awaited."""
    event = _ended()[-1] if _ended() else threading.Event()
    event.wait(seconds)
    check_awaited()


def advancing(progress: Progress | None, total: int) -> Callable[[int], None]:
    """Return a function that adds up the sizes it is called with, and reports the sum to ``progress``."""
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress(done, total)

    return advance
