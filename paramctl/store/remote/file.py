"""A remote file as a location.

Headers are kept as they are read. The first request asks for the few bytes that identify a format, and the second for
exactly what a format wants, so that the header of a safetensors file takes two requests and no byte too many. From the
third on, small requests that read on double, because a format then parses a long header piece by piece. Values are
never read ahead, nor kept.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from typing import Any

from paramctl.errors import InputError
from paramctl.parallel import in_parallel
from paramctl.store.location import LocalFile, Location, PositionedFile
from paramctl.store.remote.ranges import Ranges
from paramctl.store.remote.spans import Spans

FIRST = 16
"""Bytes of the first request, by which a format is recognized."""
SMALL = 1 << 12
"""Bytes of a request that is so small that more are read with it, if it reads on from the last one."""
LEAST_AHEAD, MOST_AHEAD = 1 << 10, 1 << 18
MAX_CACHED = 1 << 24
TAIL = 1 << 14
"""Bytes at the end of a zip, where its directory is."""
CONNECTIONS = 8
SPOOL_BLOCK = 1 << 23


class RemoteFile:
    """A file that is read by ranges. others: the other checkpoints in its folder, which are not read."""

    connections: int = CONNECTIONS

    def __init__(self, ranges: Ranges, others: tuple[str, ...] = ()) -> None:
        self.ranges, self.name = ranges, ranges.name
        self.others: Sequence[str] = others
        self.cached = Spans()
        self.requests = 0
        self.end_of_last, self.ahead = -1, 0
        self.lock = threading.Lock()
        self.spooled: LocalFile | None = None

    def read(self, offset: int, size: int) -> bytes:
        with self.lock:  # two threads that want one header read it once
            if self.spooled is not None:
                return self.spooled.read(offset, size)
            stop = self._clipped(offset + size)
            self.cached.trim(MAX_CACHED)
            for start, end in list(self.cached.missing(offset, stop)):
                self.cached.add(start, self._fetch_ahead(start, end))
            return self.cached.read(offset, self._clipped(stop))

    def _fetch_ahead(self, start: int, end: int) -> bytes | bytearray:
        """Return a part of a header, and what a format will probably read next."""
        if not self.requests:
            end = max(end, FIRST)
        elif self.requests > 1 and start == self.end_of_last and end - start < SMALL:
            self.ahead = min(max(LEAST_AHEAD, 2 * self.ahead), MOST_AHEAD)
            end = max(end, start + self.ahead)
        else:
            self.ahead = 0
        # what follows may be cached already, such as the tail of a zip
        later = [offset for offset in self.cached.spans if offset >= start]
        end = min([self._clipped(end), *later])
        self.requests += 1
        data = self.ranges.fetch(start, end)
        self.end_of_last = start + len(data)
        return data

    def read_into(self, offset: int, buffer: memoryview) -> int:
        if self.spooled is not None:
            return self.spooled.read_into(offset, buffer)
        stop = self._clipped(offset + len(buffer))
        with self.lock:
            is_cached = not any(self.cached.missing(offset, stop))
            data: bytes | bytearray = self.cached.read(offset, stop) if is_cached else b""
        if not is_cached:  # outside of the lock, so that threads read at the same time
            data = self.ranges.fetch(offset, stop)
        buffer[: len(data)] = data
        return len(data)

    def size(self) -> int:
        if self.ranges.size is None:
            self.read(0, 1)
        assert self.ranges.size is not None
        return self.ranges.size

    def descriptor(self) -> int:
        """Return the descriptor of a temporary file with all the bytes, which are read once."""
        size = self.size()
        with self.lock:
            if self.spooled is None:
                self.spooled = self._spool(size)
            return self.spooled.descriptor()

    def _spool(self, size: int) -> LocalFile:
        import tempfile  # slow to import, and needed for few commands

        starts = range(0, size, SPOOL_BLOCK)
        with tempfile.TemporaryFile(buffering=0) as file:
            blocks = in_parallel(lambda start: self.ranges.fetch(start, min(start + SPOOL_BLOCK, size)), starts, 4)
            try:
                for block in blocks:
                    view = memoryview(block)
                    while view:
                        view = view[file.write(view) :]
            except InputError:
                raise
            except OSError as error:
                raise InputError(f"{self.name}: cannot be kept in a temporary file: {error.strerror}") from error
            return LocalFile(os.dup(file.fileno()), self.name)

    def as_file(self) -> io.RawIOBase:
        # zipfile searches backward from the end, in several short reads
        self.read(max(0, self.size() - TAIL), TAIL)
        return _File(self)

    def sibling(self, name: str) -> Location:
        if {"", ".", ".."} & set(name.split("/")):
            raise InputError(f"{self.name}: another file of its folder cannot be called {name!r}")
        return RemoteFile(self.ranges.sibling(name))

    def address(self) -> str | None:
        return self.ranges.address()

    def fingerprint(self) -> list[Any]:
        """Return the facts that show a change of the file: its size, and its ETag or time of modification."""
        return [self.size(), *self.ranges.version()]

    def close(self) -> None:
        if self.spooled is not None:
            self.spooled.close()

    def _clipped(self, stop: int) -> int:
        return stop if self.ranges.size is None else min(stop, self.ranges.size)


class _File(PositionedFile):
    """A file of a server, of which more is read ahead while a member is read to its end."""

    def __init__(self, location: RemoteFile) -> None:
        super().__init__(location)
        self.end_of_last, self.ahead = -1, 0

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        # a compressed member is read from its beginning to its end
        is_next = self.position == self.end_of_last
        self.ahead = min(2 * max(self.ahead, len(view)), MOST_AHEAD) if is_next else 0
        data = self.location.read(self.position, max(len(view), self.ahead))[: len(view)]
        view[: len(data)] = data
        self.position += len(data)
        self.end_of_last = self.position
        return len(data)
