"""Locations: places with bytes, read at any offset. A format sees these, and neither paths nor file objects."""

from __future__ import annotations

import io
import os
import stat
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from paramctl.errors import InputError
from paramctl.store.io.locks import IN_USE, is_in_use
from paramctl.store.lfs import MAX_POINTER, object_path

BLOCK_BYTES = 1 << 20


class MissingFile(InputError):
    """A file that does not exist."""


class Location(Protocol):
    """A place with bytes, and a name for errors. A read beyond the end returns fewer bytes than requested.

    connections: the number of reads, and of siblings, that are worth reading at once: 1 for a disk.
    others: the names of other checkpoints in the folder that was named, if it is remote.
    """

    name: str
    connections: int
    others: Sequence[str]

    def read(self, offset: int, size: int) -> bytes: ...

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill a buffer from an offset on, and return the number of bytes that were read."""

    def size(self) -> int:
        """Return the number of bytes. A pipe is read to its end."""

    def descriptor(self) -> int:
        """Return the descriptor of an open file that holds all the bytes."""

    def as_file(self) -> io.RawIOBase:
        """Return a file object that reads the same bytes, for zipfile."""

    def sibling(self, name: str) -> Location:
        """Open a regular file in the same folder. Raises MissingFile if it does not exist."""

    def address(self) -> str | None:
        """Return the path or URL by which another process opens the same file, None if it cannot."""

    def fingerprint(self) -> list[Any]:
        """Return facts, in the types of JSON, of which one changes whenever the file does."""

    def close(self) -> None: ...


class PositionedFile(io.RawIOBase):
    """A location as a file with a position of its own: two archives on one descriptor would move each other's."""

    def __init__(self, location: Location) -> None:
        self.location, self.position = location, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position}.get(whence)
        position = offset + (self.location.size() if base is None else base)
        if position < 0:
            raise OSError("a position before the beginning of the file")
        self.position = position
        return position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: Any, /) -> int:
        done = self.location.read_into(self.position, memoryview(buffer).cast("B"))
        self.position += done
        return done


class LocalFile:
    """A regular file, read by position: safe to share between threads."""

    connections: int = 1
    others: Sequence[str] = ()

    def __init__(self, descriptor: int, name: str) -> None:
        self.opened: list[int] = [descriptor]
        """The descriptor until the file is closed. Without a last reference it is closed, and nothing warns of it."""
        self.name = name
        self.siblings: list[LocalFile] = []
        self.when_opened = self.fingerprint()

    def read(self, offset: int, size: int) -> bytes:
        buffer = memoryview(bytearray(min(size, max(0, self.size() - offset))))
        return bytes(buffer[: self.read_into(offset, buffer)])

    def read_into(self, offset: int, buffer: memoryview) -> int:
        count, descriptor = 0, self.descriptor()
        while count < len(buffer):  # a single read of more than 2 GiB is cut short on Linux
            try:
                received = os.preadv(descriptor, [buffer[count:]], offset + count)
            except OSError as error:
                raise InputError(f"{self.name}: {error.strerror or error}") from error
            if not received:
                break
            count += received
        return count

    def descriptor(self) -> int:
        if not self.opened:
            raise InputError(f"{self.name}: is closed")
        return self.opened[0]

    def size(self) -> int:
        return os.fstat(self.descriptor()).st_size

    def as_file(self) -> io.RawIOBase:
        return PositionedFile(self)

    def address(self) -> str | None:
        return self.name

    def close(self) -> None:
        while self.opened:
            os.close(self.opened.pop())
        for sibling in self.siblings:
            sibling.close()

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # the default outlives the modules, which Python may have cleared before it deletes the last objects
        while self.opened:  # the siblings close themselves: a reader may still have one
            close(self.opened.pop())

    def fingerprint(self) -> list[Any]:
        """Return device, inode, size, and modification time in ns, one of which changes whenever the file does."""
        return _fingerprint(os.fstat(self.descriptor()))

    def fingerprints(self) -> list[list[Any]]:
        """Return the fingerprints of the open file and of its siblings, in the order in which they were opened."""
        return [self.fingerprint(), *(sibling.fingerprint() for sibling in self.siblings)]

    def is_unchanged(self) -> bool:
        """Return whether its path still leads to the content that was opened, and so for its siblings."""
        try:
            is_same = _fingerprint(os.stat(self.name)) == self.when_opened
        except OSError:
            return False
        return is_same and all(sibling.is_unchanged() for sibling in self.siblings)

    def sibling(self, name: str) -> Location:
        path = os.path.join(os.path.dirname(self.name), name)
        try:
            # O_NONBLOCK: opening a named pipe must not wait for its writer
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            kind = InputError if os.path.lexists(path) else MissingFile  # a broken link is there
            raise kind(f"{path}: {error.strerror or error}") from error
        except ValueError as error:  # a surrogate, or a NUL: no file has such a name
            raise MissingFile(f"{path[:200]!r}: {error}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InputError(f"{path}: must be a regular file, as every file that an index names")
        _check_not_in_use(descriptor, path)
        self.siblings.append(_resolved(LocalFile(descriptor, path)))
        return self.siblings[-1]


def _fingerprint(status: os.stat_result) -> list[Any]:
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]


class SpooledPipe:
    """A pipe, copied into an unnamed temporary file as far as it was read, so that any offset can be read again."""

    connections: int = 1
    others: Sequence[str] = ()

    def __init__(self, descriptor: int, name: str) -> None:
        import tempfile  # slow to import, and needed for pipes only

        self.pipe, self.name = descriptor, name
        self.spool = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  open as long as this object lives
        self.disk = LocalFile(os.dup(self.spool.fileno()), name)
        self.spooled = 0
        self.ended = False
        self.lock = threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        self.spool_until(offset + size)
        return self.disk.read(offset, size)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        self.spool_until(offset + len(buffer))
        return self.disk.read_into(offset, buffer)

    def size(self) -> int:
        self.spool_until(sys.maxsize)
        return self.disk.size()

    def descriptor(self) -> int:
        self.spool_until(sys.maxsize)
        return self.disk.descriptor()

    def as_file(self) -> io.RawIOBase:
        self.spool_until(sys.maxsize)
        return self.disk.as_file()

    def address(self) -> str | None:
        return None

    def fingerprint(self) -> list[Any]:
        return []

    def sibling(self, name: str) -> Location:
        raise InputError(f"{self.name}: an index cannot be read from a pipe, for its files are in the same folder")

    def close(self) -> None:
        self.disk.close()
        self.spool.close()

    def spool_until(self, offset: int) -> None:
        """Spool the pipe at least up to an offset."""
        with self.lock:  # two threads would spool the blocks of the pipe out of order
            while self.spooled < offset and not self.ended:
                try:
                    block = memoryview(os.read(self.pipe, BLOCK_BYTES))
                    self.ended = not block
                    while block:
                        written = os.pwrite(self.spool.fileno(), block, self.spooled)
                        self.spooled += written
                        block = block[written:]
                except OSError as error:
                    raise InputError(f"{self.name}: {error.strerror or error}") from error


def in_memory(data: bytes, name: str) -> LocalFile:
    """Return bytes as the file of this name, which need not exist."""
    import tempfile  # as in SpooledPipe

    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(data)
        return LocalFile(os.dup(file.fileno()), name)


def open_location(path: str) -> LocalFile | SpooledPipe:
    """Open a file by its path, or standard input for ``-``. Anything but a regular file is spooled.

    Raises InputError if it cannot be opened.
    """
    name = "<stdin>" if path == "-" else path
    try:
        if path == "-":
            if sys.stdin is None:
                raise InputError("<stdin>: closed")
            descriptor = os.dup(sys.stdin.fileno())
        else:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InputError(f"{name}: Is a directory")
        if path != "-":  # a lock on standard input would be its owner's
            _check_not_in_use(descriptor, name)
        # standard input may be a file that another command has read in part: its content begins at its offset
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == 0:
            return _resolved(LocalFile(descriptor, name))
        return SpooledPipe(descriptor, name)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{name!r}: {error}") from error


def _resolved(file: LocalFile) -> LocalFile:
    """Return a file; for a pointer of Git LFS, its object, under the pointer's name."""
    pointer = file.read(0, MAX_POINTER) if file.size() <= MAX_POINTER else b""
    path = object_path(pointer, file.name) if pointer.startswith(b"version ") else None
    if path is None:
        return file
    opened = LocalFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC), file.name)
    # a change of the pointer is a change of the file; an edit in place replaces the pointer, never the object
    opened.when_opened = file.when_opened
    file.close()
    return opened


def _check_not_in_use(descriptor: int, name: str) -> None:
    """Raise InputError for a file that another process is writing, and close it."""
    if is_in_use(descriptor):
        os.close(descriptor)
        raise InputError(f"{name}: {IN_USE}")
