"""Files to read from any place: those on a disk, and what comes through a pipe."""

from __future__ import annotations

import os
import stat
import sys
import threading
from typing import Protocol

from paramctl.errors import InputError

AT_ONCE = 1 << 20


class Location(Protocol):
    """What can be read from any place: a name for errors, and bytes; fewer than asked for at the end."""

    name: str

    def read(self, offset: int, size: int) -> bytes: ...

    def read_into(self, offset: int, buffer: memoryview) -> int: ...

    def descriptor(self) -> int:
        """An open file that holds all of it."""


class LocalFile:
    """A regular file."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.file = os.fdopen(descriptor, "rb", buffering=0)
        self.name = name

    def read(self, offset: int, size: int) -> bytes:
        buffer = memoryview(bytearray(min(size, max(0, self.size() - offset))))
        return bytes(buffer[: self.read_into(offset, buffer)])

    def read_into(self, offset: int, buffer: memoryview) -> int:
        done = 0
        while done < len(buffer):
            try:
                more = os.preadv(self.file.fileno(), [buffer[done:]], offset + done)
            except OSError as error:
                raise InputError(f"{self.name}: {error.strerror or error}") from error
            if not more:
                break
            done += more
        return done

    def descriptor(self) -> int:
        return self.file.fileno()

    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size


class SpooledPipe:
    """A pipe: what passes is kept in a temporary file without a name, as far as it has been read."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.pipe, self.name = descriptor, name
        import tempfile  # here, for it is slow to import and few read from a pipe

        self.kept = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  kept as long as this is
        self.disk = LocalFile(os.dup(self.kept.fileno()), name)
        self.passed = 0
        self.ended = False
        self.lock = threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        self.pass_on(offset + size)
        return self.disk.read(offset, size)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        self.pass_on(offset + len(buffer))
        return self.disk.read_into(offset, buffer)

    def descriptor(self) -> int:
        self.pass_on(sys.maxsize)
        return self.disk.descriptor()

    def pass_on(self, until: int) -> None:
        """Keep what comes, up to a place at least; one thread at a time, or it would be kept in another order."""
        with self.lock:
            while self.passed < until and not self.ended:
                try:
                    block = memoryview(os.read(self.pipe, AT_ONCE))
                    self.ended = not block
                    while block:
                        done = os.pwrite(self.kept.fileno(), block, self.passed)
                        self.passed += done
                        block = block[done:]
                except OSError as error:
                    raise InputError(f"{self.name}: {error.strerror or error}") from error


def open_location(path: str) -> LocalFile | SpooledPipe:
    """A file by its path, or standard input if that is ``-``; whatever is no regular file is spooled.

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
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == 0:
            return LocalFile(descriptor, name)
        return SpooledPipe(descriptor, name)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{name!r}: {error}") from error
