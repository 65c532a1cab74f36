"""Jobs in threads: those whose results are no longer awaited end early."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError

import pytest

from paramctl.parallel import check_awaited, in_parallel, pause


def waits(seconds: float, started: threading.Event, ended: list[str]) -> Callable[[int], int]:
    def work(job: int) -> int:
        if job == 0:
            started.wait(10)
            raise ValueError("job 0")
        started.set()
        try:
            pause(seconds)
        except CancelledError:
            ended.append("cancelled")
            raise
        return job

    return work


def test_an_error_ends_the_jobs_that_wait() -> None:
    """The other job would wait a minute for its server."""
    ended: list[str] = []
    begun = time.monotonic()
    with pytest.raises(ValueError, match="job 0"):
        list(in_parallel(waits(60, threading.Event(), ended), range(2), 2))
    assert ended == ["cancelled"]
    assert time.monotonic() - begun < 30


def test_jobs_within_jobs_end_too() -> None:
    """A job that itself waits for jobs, such as those that fetch the parts of an array."""
    started, ended = threading.Event(), list[str]()

    def inner(job: int) -> int:
        started.set()
        try:
            for _ in range(600):
                check_awaited()
                time.sleep(0.1)
        except CancelledError:
            ended.append("cancelled")
            raise
        return job

    def outer(job: int) -> list[int]:
        if job:
            return list(in_parallel(inner, range(1), 1))
        started.wait(10)
        raise ValueError("job 0")

    with pytest.raises(ValueError, match="job 0"):
        list(in_parallel(outer, range(2), 2))
    assert ended == ["cancelled"]


def test_a_job_that_is_awaited_goes_on() -> None:
    def work(job: int) -> int:
        pause(0.001)
        check_awaited()
        return job

    assert list(in_parallel(work, range(20), 3)) == [*range(20)]
    check_awaited()  # outside of a job nothing is cancelled
