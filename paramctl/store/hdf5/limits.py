"""Limits under which the worker parses a file: several times what a sound file of its size needs.

A small file can take at most MAX_MEMORY beyond the process's memory at its start, and little more than a second. The
limits grow with the data in the file, not with its apparent size: a sparse file of a terabyte costs its author nothing.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
from contextlib import suppress

MAX_MEMORY = 232 << 20
MAX_EXTRA_MEMORY = 1 << 30
"""The most that a file's own size adds to the limit on memory."""
SECONDS = 1.0
PARSED_PER_SECOND = 1 << 20
MAX_SECONDS = 20.0
MAX_SEGMENTS = 10_000
"""Segments of data to count in a sparse file. Data after them is not counted."""


def size_of_data(path: str) -> int:
    """Return the number of bytes in a file, without its holes."""
    with open(path, "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if status.st_blocks * 512 >= status.st_size:
            return status.st_size
        # fewer blocks can also mean compression, or blocks not yet allocated, so the holes themselves are looked for
        total = place = 0
        for _ in range(MAX_SEGMENTS):
            try:
                begin = os.lseek(file.fileno(), place, os.SEEK_DATA)
                place = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            except OSError as error:  # ENXIO: no data follows. Any other: the file system cannot tell
                return total if error.errno == errno.ENXIO else status.st_size
            total += place - begin
        return total


def limit_memory(size: int) -> None:
    """Limit this process to the memory that a file with so many bytes of data needs."""
    with suppress(OSError, ValueError):  # no /proc, or a lower limit set by the user
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        most = pages * resource.getpagesize() + MAX_MEMORY + min(size, MAX_EXTRA_MEMORY)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def limit_time(seconds: float) -> None:
    """End this process with SIGPROF after so many seconds of processor time. 0 removes the limit.

    A timer's signal also ends a loop inside the library, where no Python code runs.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)


def limit_parsing(size: int, factor: int = 1) -> None:
    """Limit memory, and ``factor`` times the time to list a file with so many bytes of data."""
    limit_memory(size)
    limit_time(factor * min(SECONDS + size / PARSED_PER_SECOND, MAX_SECONDS))
