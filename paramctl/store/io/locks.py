"""Locks between processes: of temporary files, of folders, and of a file that is read and then replaced.

All are advisory, are freed by the system when their holder ends, and leave no file behind. A file system without locks
is used without them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from zlib import crc32

from paramctl.errors import OutputError

PREFIX, SUFFIX = ".paramctl-", ".tmp"
"""The beginning and the end of the name of every temporary file."""

CHANGE_SECONDS = 60.0
"""The longest wait for another process that reads and replaces a file: it will end by itself."""
NOTICE_SECONDS = 0.5
POLL_SECONDS = 0.01
LOCK_TRIES, LOCK_PAUSE = 5, 0.02
"""Attempts to find a file unlocked, and the seconds between them: paramctl locks a new file for a moment longer."""
IN_USE = "in use by another process, which has it open for writing. Close it there first"

_held: ContextVar[frozenset[str]] = ContextVar("held", default=frozenset())
"""The files that the current thread holds by ``exclusive``: it may ask for them again."""


def lock(descriptor: int, shared: bool = False) -> bool | None:
    """Take a lock without waiting. False: another process has it. None: the file system has no locks."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def unlock(descriptor: int) -> None:
    """Release a lock of an open file."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def is_in_use(descriptor: int) -> bool:
    """Return whether another program has locked an open file, as HDF5 does from opening it for writing to closing it.

    descriptor: of a file that only this process has open under it, because a lock belongs to the open file.
    """
    for attempt in range(LOCK_TRIES):
        if attempt:
            time.sleep(LOCK_PAUSE)
        if lock(descriptor, shared=True) is not False:
            unlock(descriptor)
            return False
    return True


def is_at(descriptor: int, path: str) -> bool:
    """Return whether a path still leads to this open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


def remove_leftover(path: str) -> None:
    """Remove a temporary file if its lock is free, so that no process uses it."""
    with suppress(OSError):
        # O_NONBLOCK: a named pipe must not block
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            # shared: a killed writer may have left it as a second name of the file that this process holds shared
            if is_file and lock(descriptor, shared=True) and is_at(descriptor, path):
                os.unlink(path)
        finally:
            os.close(descriptor)


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Hold a folder's lock, so that only one writer at a time renames several of its files."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(path: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep other processes from replacing a file while this block reads or replaces it. It need not exist.

    The lock is that of a temporary file beside it, because the file itself gets another inode, and because HDF5 refuses
    to read a file that is locked. A shared lock on the file itself keeps programs out that would write it with HDF5.

    waiting: called once if the wait takes longer than NOTICE_SECONDS.
    Raises OutputError if another process does not release the file in time.
    """
    target = os.path.realpath(path)
    if target in _held.get():
        yield
        return
    folder, name = os.path.split(target)
    beside = os.path.join(folder, f"{PREFIX}{crc32(os.fsencode(name)):08x}{SUFFIX}")
    opened: list[int] = []  # each at once, so that a signal at any moment leaves none locked
    with ExitStack() as stack:
        # in reverse order, and each twice: a signal interrupts only the first
        for _ in range(2):  # a signal while it is opened leaves it without a descriptor
            stack.callback(remove_leftover, beside)
        for _ in range(2):
            stack.callback(_close_all, opened)
        for _ in range(2):
            stack.callback(_remove_held, beside, opened)

        try:
            begun, is_noticed = time.monotonic(), False
            while not _lock_beside(beside, opened):
                waited = time.monotonic() - begun
                if waited > CHANGE_SECONDS:
                    raise OutputError(f"{path}: in use by another process. Try again later.", errno.EBUSY)
                if waited > NOTICE_SECONDS and not is_noticed:
                    is_noticed = True
                    waiting()
                time.sleep(POLL_SECONDS)
        except OSError as error:
            raise (
                error if isinstance(error, OutputError) else OutputError(f"{path}: {error.strerror}", error.errno)
            ) from error
        if not _share(target, opened):
            raise OutputError(f"{path}: {IN_USE}", errno.EBUSY)
        _held.set(_held.get() | {target})
        try:
            yield
        finally:
            _held.set(_held.get() - {target})


def _remove_held(path: str, opened: Sequence[int]) -> None:
    """Remove a locked file while the lock is held, so that it goes even if closing it fails."""
    if opened and is_at(opened[0], path):
        with suppress(OSError):
            os.unlink(path)


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        with suppress(OSError):
            os.close(descriptors[-1])
        descriptors.pop()


def _lock_beside(path: str, opened: list[int]) -> bool:
    """Open and lock the file at a path, which is created if necessary. Return False if it is in use."""
    opened.append(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644))
    # its last holder may have removed the file before this process locked it
    if lock(opened[-1]) is not False and is_at(opened[-1], path):
        return True
    os.close(opened.pop())
    return False


def _share(path: str, opened: list[int]) -> bool:
    """Open a file, if it exists, and lock it against HDF5's writers. Return False if one has it open."""
    try:
        opened.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError:
        return True
    return not is_in_use(opened[-1]) and lock(opened[-1], shared=True) is not False
