"""Commands measured side by side, as whole processes: processor time and most memory, by the system's accounts."""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median
from typing import NamedTuple

RUNS = 7


class Cost(NamedTuple):
    """Processor seconds, user and system, and the most memory held at once."""

    seconds: float
    megabytes: float


def side_by_side(*commands: list[str], runs: int = RUNS) -> list[Cost]:
    """The median cost of each command, all run in turn, after one round that does not count."""
    rounds = [[cost(command) for command in commands] for _ in range(runs + 1)][1:]
    each = zip(*rounds, strict=True)
    return [Cost(median(c.seconds for c in costs), median(c.megabytes for c in costs)) for costs in each]


def cost(command: list[str]) -> Cost:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {errors.decode(errors='replace')}")
    unit = 1024 if sys.platform == "linux" else 1024**2
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / unit)
