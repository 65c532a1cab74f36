"""The limits under which a file of somebody's is parsed: what an honest one of its size needs several times over.

A small file can cost no more than MOST_MEMORY beside what a process has at its start, and little more than a second;
any, MOST_PARSING. What counts is what of the file is there, without its holes.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
from contextlib import suppress

MOST_MEMORY = 232 << 20
LARGE_MEMORY = 1 << 30
"""What a file that is as large itself may cost more."""
SECONDS = 1.0
PARSED_A_SECOND = 1 << 20
MOST_PARSING = 20.0
MOST_PARTS = 10_000
"""Of a file with holes; what is behind them is not counted."""


def size_of_data(path: str) -> int:
    """How many bytes a file has, but for its holes."""
    with open(path, "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if found.st_blocks * 512 >= found.st_size:
            return found.st_size
        total = place = 0  # fewer blocks may mean that they are compressed, or not yet counted
        for _ in range(MOST_PARTS):
            try:
                begin = os.lseek(file.fileno(), place, os.SEEK_DATA)
                place = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            except OSError as error:
                return total if error.errno == errno.ENXIO else found.st_size
            total += place - begin
        return total


def limit_memory(size: int) -> None:
    """Let this process take no more memory than a file of this size needs."""
    with suppress(OSError, ValueError):
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        most = pages * resource.getpagesize() + MOST_MEMORY + min(size, LARGE_MEMORY)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def limit_time(seconds: float) -> None:
    """End this process by a signal when it has worked for so long; 0 is never."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def limit_parsing(size: int, times: int = 1) -> None:
    """Both, for a file of this size, from which so many times more is made than a list of what it holds."""
    limit_memory(size)
    limit_time(times * min(SECONDS + size / PARSED_A_SECOND, MOST_PARSING))
