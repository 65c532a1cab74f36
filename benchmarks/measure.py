"""Commands measured side by side, as whole processes: processor time, memory and time, by the system's accounts."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from statistics import median
from typing import NamedTuple

RUNS = 7
UNIT = 1024 if sys.platform == "linux" else 1024**2
PR_SET_CHILD_SUBREAPER = 36

with suppress(AttributeError):  # on Linux, what a command leaves behind comes here, and is counted with it
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


class Cost(NamedTuple):
    """Processor seconds, user and system; the most memory held at once; and how long it took."""

    seconds: float
    megabytes: float
    elapsed: float


def side_by_side(*commands: list[str], runs: int = RUNS, before: Callable[[], None] | None = None) -> list[Cost]:
    """The median cost of each command, all run in turn, after one round that does not count.

    before: what is done before each run, such as removing what the one before it has written.
    """
    rounds = [[cost(command, before) for command in commands] for _ in range(runs + 1)][1:]
    return [Cost(*map(median, zip(*costs, strict=True))) for costs in zip(*rounds, strict=True)]


def cost(command: list[str], before: Callable[[], None] | None = None) -> Cost:
    """Return the cost of one run. The memory of its processes is added up."""
    if before is not None:
        before()
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {errors.decode(errors='replace')}")
    seconds, memory = used.ru_utime + used.ru_stime, used.ru_maxrss
    with suppress(ChildProcessError):
        while True:
            _, _, used = os.wait4(-1, 0)
            seconds, memory = seconds + used.ru_utime + used.ru_stime, memory + used.ru_maxrss
    return Cost(seconds, memory / UNIT, elapsed)
