"""Atomic and durable files: the old one or the new one, complete, whatever happens in between.

A temporary file beside the target, under a lock; synced, given the target's mode, renamed over it, and the
folder synced. The target itself is never opened. What writers that were killed have left is swept by the
next: a temporary that nobody holds the lock of is nobody's. See together.py for several files at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from paramctl.errors import OutputError, ParamctlError

FICLONE = 0x40049409
"""Linux' ioctl by which a file shares the blocks of another."""

PREFIX, SUFFIX = ".paramctl-", ".tmp"

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class Temporary:
    """A file that will take the target's place."""

    def __init__(self, path: str, descriptor: int, target: str) -> None:
        self.path, self.descriptor, self.target = path, descriptor, target

    def reserve(self, size: int) -> None:
        """Have the space for this many bytes before any is written. Raises OutputError if there is none."""
        if not size:
            return
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self.descriptor, 0, size)
            else:
                os.ftruncate(self.descriptor, size)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that cannot reserve
                return
            raise self.trouble(error) from error

    def write(self, data: memoryview | bytes, offset: int) -> None:
        view = memoryview(data)
        begin = offset
        try:
            while view:
                done = os.pwrite(self.descriptor, view, offset)
                view, offset = view[done:], offset + done
            if hasattr(os, "posix_fadvise"):  # begin to move it to the disk, so that little is left to sync
                os.posix_fadvise(self.descriptor, begin, offset - begin, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            raise self.trouble(error) from error

    def copy(self, descriptor: int) -> None:
        """All that is in an open file: by a link to the same blocks where the file system can, else in the kernel."""
        try:
            with suppress(OSError):
                fcntl.ioctl(self.descriptor, FICLONE, descriptor)
                return
            left, offset = os.fstat(descriptor).st_size, 0
            self.reserve(left)
            while left:
                done = _copied(descriptor, self.descriptor, left, offset)
                if not done:
                    raise OSError(errno.EIO, "the file that is copied has become shorter")
                left, offset = left - done, offset + done
        except OSError as error:
            raise (error if isinstance(error, OutputError) else self.trouble(error)) from error

    @property
    def address(self) -> str:
        """A path by which another process opens this file, whatever has become of its name."""
        by_process = f"/proc/{os.getpid()}/fd/{self.descriptor}"
        return by_process if os.path.exists(by_process) else self.path

    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def open(self) -> IO[bytes]:
        """The same file, to be written from its beginning; an OSError is the caller's to tell as ``trouble``."""
        return os.fdopen(os.dup(self.descriptor), "wb")

    def empty(self) -> None:
        os.ftruncate(self.descriptor, 0)

    def trouble(self, error: OSError) -> OutputError:
        return OutputError(f"{self.target}: {error.strerror or error}", error.errno)


def _copied(source: int, target: int, size: int, offset: int) -> int:
    """Copy some bytes from a place in one file to the same place in another; how many."""
    if hasattr(os, "copy_file_range"):
        with suppress(OSError):  # between file systems, or on one that cannot
            return os.copy_file_range(source, target, min(size, 1 << 30), offset, offset)
    return os.pwrite(target, os.pread(source, min(size, 1 << 20), offset), offset)


def check_target(path: str, force: bool) -> None:
    """Refuse, before any work, a target that exists (unless ``force``) or that cannot be one."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        folder = os.path.dirname(os.path.realpath(path))
        if not os.path.basename(path):
            raise OutputError(f"{path!r}: this names no file", errno.EISDIR) from None
        if not os.path.isdir(folder):
            raise OutputError(f"{path}: there is no folder {folder}", errno.ENOENT) from None
        return
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}", error.errno) from error
    except ValueError as error:  # a NUL in the name
        raise OutputError(f"{path!r}: {error}", errno.EINVAL) from error
    if not stat.S_ISREG(there.st_mode):
        rule = "it is no regular file, and a checkpoint must be one ('-' is standard output)"
        raise OutputError(f"{path}: {rule}", errno.EINVAL)
    if not force:
        raise OutputError(f"{path}: it exists already; --force replaces it", errno.EEXIST)


@contextmanager
def replacing(path: str, force: bool) -> Iterator[Temporary]:
    """A temporary file that takes the place of ``path`` when the block ends, and vanishes if it fails.

    A symbolic link stays one, and its file is replaced. The mode is the replaced file's, else the umask's.
    Raises OutputError.
    """
    check_target(path, force)
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    _sweep(folder)
    made: list[str] = []  # each path before there is a file, so that none is left whenever a signal comes
    try:
        temporary = _create(folder, path, made)
        try:
            yield temporary
            _finish(temporary, target, force)
        except OSError as error:
            raise (error if isinstance(error, ParamctlError) else temporary.trouble(error)) from error
        finally:
            with suppress(OSError):  # all that counts has been synced
                os.close(temporary.descriptor)
    except BaseException:
        remove(made)
        raise


@contextmanager
def scratch(path: str) -> Iterator[Temporary]:
    """A temporary file beside ``path`` for what is done on the way to it; it vanishes when the block ends."""
    made: list[str] = []
    try:
        temporary = _create(os.path.dirname(os.path.realpath(path)), path, made)
        try:
            yield temporary
        finally:
            with suppress(OSError):
                os.close(temporary.descriptor)
    finally:
        remove(made)


def write_text(path: str, text: str, force: bool) -> None:
    """Replace a file by a text. Raises OutputError."""
    with replacing(path, force) as temporary:
        temporary.write(text.encode("utf-8"), 0)


def remove(paths: Iterable[str]) -> None:
    """Remove what nothing needs any more, as far as that can be done."""
    for path in paths:
        with suppress(OSError):
            os.unlink(path)


def new_name(folder: str) -> str:
    """The path of a temporary file or folder that nobody else has."""
    return os.path.join(folder, f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}")


def _create(folder: str, target: str, made: list[str]) -> Temporary:
    """A new file with its lock: taken after it was made, so made again should a sweeper have been between.

    made: gets the path of every file before it is made.
    """
    while True:
        path = new_name(folder)
        made.append(path)
        try:
            descriptor = os.open(path, NEW, 0o600)
        except OSError as error:
            raise OutputError(f"{target}: {error.strerror or error}", error.errno) from error
        if lock(descriptor) is not False and is_at(descriptor, path):
            return Temporary(path, descriptor, target)
        os.close(descriptor)


def _finish(temporary: Temporary, target: str, force: bool) -> None:
    try:
        os.fchmod(temporary.descriptor, mode_for(target))
        os.fsync(temporary.descriptor)
        if not is_at(temporary.descriptor, temporary.path):
            raise OutputError(f"{temporary.target}: somebody has replaced its temporary file {temporary.path}")
        if force:
            os.replace(temporary.path, target)
        else:
            _appear(temporary.path, target)
        sync_folder(os.path.dirname(target))
    except FileExistsError as error:
        raise OutputError(f"{temporary.target}: it exists already; --force replaces it", errno.EEXIST) from error


def _appear(path: str, target: str) -> None:
    """Rename to a name that nobody has taken meanwhile."""
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.replace(path, target)
    else:
        os.unlink(path)


def mode_for(target: str) -> int:
    """The mode of a file that takes the place of this one: its own, or if there is none what the umask leaves."""
    try:
        return stat.S_IMODE(os.stat(target).st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Have a folder for oneself, among those who rename several files of it; where the file system can lock one."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_folder(folder: str) -> None:
    """Make the rename last. A file system that cannot sync a folder makes it last by itself, or not at all."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


def _sweep(folder: str) -> None:
    """Remove the temporaries of writers that are no more."""
    with suppress(OSError):
        for left in Path(folder).glob(f"{PREFIX}*{SUFFIX}"):
            with suppress(OSError):
                descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    if stat.S_ISREG(os.fstat(descriptor).st_mode) and lock(descriptor) and is_at(descriptor, str(left)):
                        os.unlink(left)
                finally:
                    os.close(descriptor)


def lock(descriptor: int) -> bool | None:
    """Take the lock: False if somebody else has it, None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_at(descriptor: int, path: str) -> bool:
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except OSError:
        return False
