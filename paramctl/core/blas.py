"""The threads of the OpenBLAS in NumPy's wheels: one for the products and factorizations of paramctl.

LAPACK's rounding depends on the number of threads, and for matrices of common sizes threads take several times as long.
Only a program that starts NumPy can set the number in the environment; this sets it for a while, for a library.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple


class Threads(NamedTuple):
    """The functions of a library that return and set its number of threads."""

    get: Callable[[], int]
    set: Callable[[int], Any]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let OpenBLAS use one thread until the end of the block, and then as many as before.

    Blocks may overlap in several threads: the last one to end restores the number. Without OpenBLAS, as on macOS, this
    does nothing.
    """
    threads = _threads()
    if threads is None:
        yield
        return
    with _blocks:
        _before.append(_before[0] if _before else threads.get())
        threads.set(1)
    try:
        yield
    finally:
        with _blocks:
            number = _before.pop()
            if not _before:
                threads.set(number)


_blocks = threading.Lock()
_before: list[int] = []
"""The number of threads before the first block, once for each block that has not ended."""


@cache
def _threads() -> Threads | None:
    numpy = find_spec("numpy")
    if numpy is None or not numpy.origin:
        return None
    for path in sorted((Path(numpy.origin).parent.parent / "numpy.libs").glob("*openblas*")):
        try:
            library = ctypes.CDLL(str(path))
            setter = library.scipy_openblas_set_num_threads64_
            setter.argtypes, setter.restype = [ctypes.c_int], None
            return Threads(library.scipy_openblas_get_num_threads64_, setter)
        except (OSError, AttributeError):
            continue
    return None
