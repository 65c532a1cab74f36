"""Unfolding: what is compressed as one stream, read from any place on.

It is read on from where it was. Whoever goes back makes it begin anew, once; the next time it is unfolded into a
temporary file without a name, as a pipe is, for else each step back would unfold all that is before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO

from paramctl.errors import InputError
from paramctl.store.io.zips import DAMAGED
from paramctl.store.location import LocalFile

AT_ONCE = 1 << 20
BEGINNINGS = 2
"""How often a stream is unfolded from its beginning before it is kept."""


class InflatedStream:
    """An array's bytes in a stream, after a header. size: how many; small: whether they are never kept."""

    def __init__(self, opened: Callable[[], IO[bytes]], header: int, size: int, small: bool, name: str) -> None:
        self.opened, self.header, self.size, self.small, self.name = opened, header, size, small, name
        self.stream: IO[bytes] | None = None
        self.kept: LocalFile | None = None
        self.place = self.beginnings = 0

    def fill(self, place: int, buffer: memoryview) -> None:
        """The bytes from a place on. Raises InputError if it ends before, or is damaged."""
        try:
            if self.kept is None and (self.stream is None or place < self.place):
                self._begin()
            if self.kept is not None:
                done = self.kept.read_into(place, buffer)
            else:
                self._pass(place - self.place)
                done = self._take(buffer)
        except InputError:
            raise
        except DAMAGED as error:
            self.close()
            raise InputError(f"{self.name}: {(getattr(error, 'strerror', None) or error)}") from error
        if done < len(buffer):
            raise InputError(f"{self.name}: it ends before all of its values")

    def close(self) -> None:
        """Let go of the stream, and of what is kept."""
        if self.stream is not None:
            self.stream.close()
        self.stream = self.kept = None

    def _begin(self) -> None:
        """Go back to where the values begin, or keep all of them."""
        self.close()
        self.stream = self.opened()
        self.place = -self.header
        self._pass(self.header)
        self.beginnings += 1
        if self.beginnings > BEGINNINGS and not self.small:
            self._keep()

    def _keep(self) -> None:
        import tempfile  # here, for it is slow to import and few files need it

        with tempfile.TemporaryFile() as file:
            buffer = memoryview(bytearray(AT_ONCE))
            while self.place < self.size and (done := self._take(buffer[: self.size - self.place])):
                file.write(buffer[:done])
            file.flush()
            self.close()
            self.kept = LocalFile(os.dup(file.fileno()), self.name)

    def _pass(self, size: int) -> None:
        """Go on by some bytes."""
        aside = memoryview(bytearray(min(size, AT_ONCE)))
        while size and (done := self._take(aside[:size])):
            size -= done

    def _take(self, buffer: memoryview) -> int:
        """The next bytes, fewer only at the end; how many."""
        assert self.stream is not None
        done = 0
        while done < len(buffer) and (data := self.stream.read(min(len(buffer) - done, AT_ONCE))):
            buffer[done : done + len(data)] = data
            done += len(data)
        self.place += done
        return done
