"""Compressed members, read from any offset.

A deflated stream can only be read forward. It is read on from where the last read ended. A step back starts the stream
again, once; the next one inflates all of it into an unnamed temporary file, because each further step back would cost
another pass over the whole member.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO

from paramctl.errors import InputError
from paramctl.store.io.zips import ZIP_ERRORS
from paramctl.store.location import LocalFile

AT_ONCE = 1 << 20
MAX_STARTS = 2
"""Starts of a stream before it is inflated into a file."""


class InflatedStream:
    """The values of a compressed npy member.

    Args:
        open_member: opens the stream at its beginning.
        header: the bytes of the npy header, before the values.
        size: the bytes of the values.
        small: never inflate into a file, because one read takes all of it.
        name: the file and the array, for errors.
    """

    def __init__(self, open_member: Callable[[], IO[bytes]], header: int, size: int, small: bool, name: str) -> None:
        self.open_member, self.header, self.size, self.small, self.name = open_member, header, size, small, name
        self.stream: IO[bytes] | None = None
        self.inflated: LocalFile | None = None
        self.offset = self.starts = 0

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Read the bytes from an offset into a buffer. Raises InputError if they are damaged or missing."""
        try:
            if self.inflated is None and (self.stream is None or offset < self.offset):
                self._start()
            if self.inflated is not None:
                done = self.inflated.read_into(offset, buffer)
            else:
                self._skip(offset - self.offset)
                done = self._read(buffer)
        except InputError:  # also an OSError, but its message is complete
            raise
        except ZIP_ERRORS as error:
            self.close()
            raise InputError(f"{self.name}: {(getattr(error, 'strerror', None) or error)}") from error
        if done < len(buffer):
            raise InputError(f"{self.name}: truncated")

    def close(self) -> None:
        """Close the stream and delete the temporary file. A later read starts again."""
        if self.stream is not None:
            self.stream.close()
        self.stream = self.inflated = None

    def _start(self) -> None:
        """Start the stream at the first value. Inflate it into a file if it has started too often."""
        self.close()
        self.stream = self.open_member()
        self.offset = -self.header
        self._skip(self.header)
        self.starts += 1
        if self.starts > MAX_STARTS and not self.small:
            self._inflate()

    def _inflate(self) -> None:
        import tempfile  # deferred: slow to import, and few files need it

        with tempfile.TemporaryFile() as file:
            buffer = memoryview(bytearray(AT_ONCE))
            # a bomb inflates to no more than the size in the header, which the directory confirms
            while self.offset < self.size and (done := self._read(buffer[: self.size - self.offset])):
                file.write(buffer[:done])
            file.flush()
            self.close()
            self.inflated = LocalFile(os.dup(file.fileno()), self.name)

    def _skip(self, size: int) -> None:
        unused = memoryview(bytearray(min(size, AT_ONCE)))
        while size and (done := self._read(unused[:size])):
            size -= done

    def _read(self, buffer: memoryview) -> int:
        """Read the next bytes into a buffer. Return their number, smaller than the buffer only at the end."""
        assert self.stream is not None
        done = 0
        while done < len(buffer) and (data := self.stream.read(min(len(buffer) - done, AT_ONCE))):
            buffer[done : done + len(data)] = data
            done += len(data)
        self.offset += done
        return done
