"""A cache of parts of a file."""

from __future__ import annotations

from collections.abc import Iterator


class Spans:
    """Spans of bytes by their offsets, none of which overlap, oldest first."""

    def __init__(self) -> None:
        self.spans: dict[int, bytes | bytearray] = {}

    def add(self, offset: int, data: bytes | bytearray) -> None:
        if data:
            self.spans[offset] = data

    def trim(self, most: int) -> None:
        """Remove the oldest spans until at most so many bytes are left."""
        total = sum(map(len, self.spans.values()))
        while total > most:
            total -= len(self.spans.pop(next(iter(self.spans))))

    def missing(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of a range that no span has, in order."""
        for offset, data in sorted(self._overlapping(start, stop)):
            if start < offset:
                yield start, offset
            start = offset + len(data)
        if start < stop:
            yield start, stop

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes of a range, as far as the spans have them without a gap."""
        parts = []
        for offset, data in sorted(self._overlapping(start, stop)):
            if offset > start:  # a gap, beyond which nothing is returned
                break
            part = memoryview(data)[start - offset : stop - offset]
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def _overlapping(self, start: int, stop: int) -> list[tuple[int, bytes | bytearray]]:
        items = self.spans.items()
        return [(offset, data) for offset, data in items if offset < stop and offset + len(data) > start]
