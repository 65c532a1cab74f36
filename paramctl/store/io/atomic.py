"""Atomic and durable files: the old file or the new one, complete, whatever happens in between.

A temporary file beside the target is written under a lock, synced, given the target's mode and renamed over the target;
then the folder is synced. The target itself is never opened. Temporary files of writers that were killed are removed by
the next writer's sweep: a temporary file whose lock is free has no writer.
pending_files.py has several files at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from paramctl.errors import OutputError, ParamctlError
from paramctl.store.io.locks import (
    IN_USE,
    PREFIX,
    SUFFIX,
    exclusive,
    is_at,
    is_in_use,
    lock,
    remove_leftover,
    unlock,
)

FICLONE = 0x40049409
"""Linux' ioctl by which a file shares the blocks of another."""
COPY_AT_ONCE = 1 << 24
READ_AT_ONCE = 1 << 20

NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
"""The errors of a file system that has no hard links, or allows no more of them."""

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class Temporary:
    """A file that will replace the target."""

    def __init__(self, path: str, descriptor: int, target: str) -> None:
        self.path, self.descriptor, self.target = path, descriptor, target

    def reserve(self, size: int) -> None:
        """Allocate space for this many bytes before any is written. Raises OutputError if the disk is full."""
        if not size:
            return
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self.descriptor, 0, size)
            else:  # macOS: this sets the size, but reserves no blocks
                os.ftruncate(self.descriptor, size)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that cannot reserve
                return
            raise self.error(error) from error

    def write(self, data: memoryview | bytes, offset: int) -> None:
        """Write all the data at an offset. Safe from several threads at once."""
        view = memoryview(data)
        begin = offset
        try:
            while view:
                count = os.pwrite(self.descriptor, view, offset)  # Linux writes at most 2 GiB at once
                view, offset = view[count:], offset + count
            self._start_sync(begin, offset)
        except OSError as error:
            raise self.error(error) from error

    def copy(self, descriptor: int) -> None:
        """Copy an open file: by sharing its blocks where the file system can, otherwise in the kernel."""
        if self.share(descriptor):
            return
        for begin, end in parts_to_copy(0, self.reserve_like(descriptor)):
            self.copy_range(descriptor, begin, end)

    def share(self, descriptor: int) -> bool:
        """Share the blocks of an open file until either changes, and return whether the file system can."""
        # Btrfs, XFS, and others do it in constant time, whatever the size
        with suppress(OSError):
            fcntl.ioctl(self.descriptor, FICLONE, descriptor)
            return True
        return False

    def reserve_like(self, descriptor: int) -> int:
        """Reserve the space of an open file, and return its size."""
        size = os.fstat(descriptor).st_size
        self.reserve(size)
        os.ftruncate(self.descriptor, size)
        return size

    def copy_range(self, descriptor: int, begin: int, end: int) -> None:
        """Copy the bytes of an open file to the same place. Safe from several threads at once."""
        offset = begin
        try:
            while offset < end:
                count = _copy_range(descriptor, self.descriptor, end - offset, offset)
                if not count:
                    raise OSError(errno.EIO, "the source was truncated while it was copied")
                offset += count
            self._start_sync(begin, end)
        except OSError as error:
            raise self.error(error) from error

    def _start_sync(self, begin: int, end: int) -> None:
        """Start writing a range to the disk, so that little is left to sync."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.descriptor, begin, end - begin, os.POSIX_FADV_DONTNEED)

    @property
    def address(self) -> str:
        """A path by which another process can open this file, even after its name was removed."""
        by_process = f"/proc/{os.getpid()}/fd/{self.descriptor}"
        return by_process if os.path.exists(by_process) else self.path

    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def open(self) -> IO[bytes]:
        """Open the file for writing from its start. The caller turns an OSError into ``error``."""
        return os.fdopen(os.dup(self.descriptor), "wb")

    def empty(self) -> None:
        os.ftruncate(self.descriptor, 0)

    def error(self, error: OSError) -> OutputError:
        """Return a system error as an OutputError that names the target."""
        return OutputError(f"{self.target}: {error.strerror or error}", error.errno)


def parts_to_copy(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range in which it is copied."""
    return ((at, min(at + COPY_AT_ONCE, end)) for at in range(begin, end, COPY_AT_ONCE))


def _copy_range(source: int, target: int, size: int, offset: int) -> int:
    """Copy bytes at an offset of one file to the same offset of another, and return their number."""
    if hasattr(os, "copy_file_range"):
        with suppress(OSError):  # between file systems, or on one that cannot
            return os.copy_file_range(source, target, size, offset, offset)
    return os.pwrite(target, os.pread(source, min(size, READ_AT_ONCE), offset), offset)


def check_target(path: str, force: bool) -> None:
    """Raise OutputError, before any work, for a target that exists (unless ``force``) or cannot be a file."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        folder = os.path.dirname(os.path.realpath(path))
        if not os.path.basename(path):
            raise OutputError(f"{path!r}: must be the name of a file", errno.EISDIR) from None
        if not os.path.isdir(folder):
            raise OutputError(f"{path}: no such folder: {folder}", errno.ENOENT) from None
        return
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}", error.errno) from error
    except ValueError as error:  # a NUL in the name
        raise OutputError(f"{path!r}: {error}", errno.EINVAL) from error
    if not stat.S_ISREG(status.st_mode):
        raise OutputError(f"{path}: must be a regular file (use '-' for standard output)", errno.EINVAL)
    if not force:
        raise already_exists(path)
    check_not_in_use(path)


def check_not_in_use(path: str) -> None:
    """Raise OutputError for a file that another process has open for writing: it would go on in the old file."""
    try:
        # O_NONBLOCK: a named pipe must not block
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # it does not exist, or may not be read
        return
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and is_in_use(descriptor):
            raise OutputError(f"{path}: {IN_USE}", errno.EBUSY)
    finally:
        os.close(descriptor)


def already_exists(path: str) -> OutputError:
    """Return the error for an existing file that may not be replaced."""
    return OutputError(f"{path}: already exists (use --force to overwrite)", errno.EEXIST)


def changed(path: str) -> OutputError:
    """Return the error for a file that has changed since it was read: replacing it would undo the change."""
    return OutputError(f"{path}: changed since it was read, so it was not replaced. Read it again.")


@contextmanager
def replacing(path: str, force: bool, confirm: Callable[[], None] = lambda: None) -> Iterator[Temporary]:
    """Open a temporary file that replaces ``path`` when the block ends, and is removed if it fails.

    A symbolic link is kept, and the file that it points to is replaced. The new file has the mode of the replaced file,
    or the umask's default.

    confirm: called when the new file is complete; if it raises an error, the old file stays.
    Raises OutputError.
    """
    check_target(path, force)
    target = os.path.realpath(path)  # rename would replace the symbolic link itself
    folder = os.path.dirname(target)
    _sweep(folder)
    created: list[str] = []  # each path before its file exists, so that a signal at any moment leaves none behind
    try:
        temporary = _create(folder, path, created)
        try:
            yield temporary
            with exclusive(path) if force else nullcontext():
                confirm()
                _finish(temporary, target, force)
        except OSError as error:
            raise (error if isinstance(error, ParamctlError) else temporary.error(error)) from error
        finally:
            with suppress(OSError):  # the data is synced: an error of close changes nothing
                os.close(temporary.descriptor)
    except BaseException:
        remove(created)
        raise


@contextmanager
def scratch(path: str) -> Iterator[Temporary]:
    """Open a temporary file beside ``path`` for intermediate results. It is removed when the block ends."""
    created: list[str] = []
    try:
        temporary = _create(os.path.dirname(os.path.realpath(path)), path, created)
        try:
            yield temporary
        finally:
            with suppress(OSError):
                os.close(temporary.descriptor)
    finally:
        remove(created)


def write_text(path: str, text: str, force: bool, confirm: Callable[[], None] = lambda: None) -> None:
    """Replace a file by a text, atomically; see replacing. Raises OutputError."""
    with replacing(path, force, confirm) as temporary:
        temporary.write(text.encode("utf-8"), 0)


def remove(paths: Iterable[str]) -> None:
    """Remove files, ignoring those that cannot be removed."""
    for path in paths:
        with suppress(OSError):
            os.unlink(path)


def new_name(folder: str) -> str:
    """Return a path for a temporary file or folder that no other writer has."""
    return os.path.join(folder, f"{PREFIX}{os.urandom(8).hex()}{SUFFIX}")


def _create(folder: str, target: str, created: list[str]) -> Temporary:
    """Create a temporary file and lock it. Between the two a sweeper may remove it: then create another.

    created: receives the path of each file before it is created.
    """
    while True:
        path = new_name(folder)
        created.append(path)
        try:
            descriptor = os.open(path, NEW, 0o600)
        except OSError as error:
            raise OutputError(f"{target}: {error.strerror or error}", error.errno) from error
        # None, from a file system without locks, is accepted: no sweeper can take a lock there either
        if lock(descriptor) is not False and is_at(descriptor, path):
            return Temporary(path, descriptor, target)
        os.close(descriptor)


def _finish(temporary: Temporary, target: str, force: bool) -> None:
    """Sync the temporary file and rename it over the target."""
    try:
        os.fchmod(temporary.descriptor, mode_for(target))
        os.fsync(temporary.descriptor)  # before the rename: after a power failure, the name must not lead to a hole
        # renaming by path would put a file of another process over the target
        if not is_at(temporary.descriptor, temporary.path):
            raise OutputError(
                f"{temporary.target}: its temporary file {temporary.path} was replaced by another process"
            )
        if force:
            os.replace(temporary.path, target)
        elif give_name(temporary.path, target):
            os.unlink(temporary.path)
        unlock(temporary.descriptor)  # no sweeper can remove it now, and a reader takes a locked file for one in use
        sync_folder(os.path.dirname(target))
    except FileExistsError as error:
        raise already_exists(temporary.target) from error


def give_name(path: str, target: str, folder: int | None = None) -> bool:
    """Give a file a name that must be free, and return True if it also keeps the old one, as a hard link.

    A rename, which is for file systems without links, could replace a file that has appeared meanwhile.
    folder: the descriptor of the folder of a relative ``path``.
    Raises FileExistsError.
    """
    try:
        os.link(path, target, src_dir_fd=folder)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
        os.rename(path, target, src_dir_fd=folder)
        return False
    return True


def mode_for(target: str) -> int:
    """Return the mode for a file that replaces the target: the target's mode, or the umask's default if it is new."""
    try:
        return stat.S_IMODE(os.stat(target).st_mode)
    except FileNotFoundError:
        mask = os.umask(0)  # the umask can only be read by setting it
        os.umask(mask)
        return 0o666 & ~mask


def sync_folder(folder: str) -> None:
    """Make renames in a folder durable, where the file system can sync a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


def _sweep(folder: str) -> None:
    """Remove the temporary files of writers that have ended."""
    with suppress(OSError):
        for path in Path(folder).glob(f"{PREFIX}*{SUFFIX}"):
            remove_leftover(str(path))
