"""Values that have no extent, read through the HDF5 library: chunked, compact, or of a type that must be converted."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from h5py import h5z

from paramctl.core.indexing import boxes
from paramctl.store.hdf5.refusal import Refused


class ValueReader:
    """A reader of the datasets in an open file. The last dataset stays open, and its last chunks stay in memory."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.open: tuple[str, Any] | None = None

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes of the values start to stop in C order, one box after the other."""
        dataset = self._dataset(path)
        for box in boxes(dataset.shape, start, stop):
            try:
                values = dataset[tuple(slice(axis.start, axis.stop) for axis in box)]
            except OSError as error:
                if (code := _missing_filter(dataset)) is not None:
                    rule = f"packed by the HDF5 filter {code}, which is not supported"
                    raise Refused(f"{rule}. Write it again with gzip") from error
                raise
            yield values.tobytes()

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


def _missing_filter(dataset: Any) -> int | None:
    """Return the number of a filter of a dataset that the library lacks, such as those of hdf5plugin; None if none."""
    properties = dataset.id.get_create_plist()
    codes = (int(properties.get_filter(index)[0]) for index in range(properties.get_nfilters()))
    return next((code for code in codes if not h5z.filter_avail(code)), None)
