"""Values that have no extent, read through the HDF5 library: chunked, compact, or of a type that must be converted."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from paramctl.core.indexing import boxes


class ValueReader:
    """A reader of the datasets in an open file. The last dataset stays open, and its last chunks stay in memory."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.open: tuple[str, Any] | None = None

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes of the values start to stop in C order, one box after the other."""
        dataset = self._dataset(path)
        for box in boxes(dataset.shape, start, stop):
            yield dataset[tuple(slice(axis.start, axis.stop) for axis in box)].tobytes()

    def cost(self, path: str, start: int, stop: int) -> int:
        """Return the bytes that the library handles to read these values: all of every chunk that holds any."""
        dataset = self._dataset(path)
        chunk = dataset.chunks or (1,) * dataset.ndim
        chunk_bytes = prod(chunk) * dataset.dtype.itemsize
        return sum(
            chunk_bytes
            * prod((axis.stop - 1) // size - axis.start // size + 1 for axis, size in zip(box, chunk, strict=True))
            for box in boxes(dataset.shape, start, stop)
        )

    def _dataset(self, path: str) -> Any:
        if self.open is None or self.open[0] != path:
            self.open = path, self.file[path]
        return self.open[1]
