"""A source read from a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from paramctl.core.parameter import Parameter
from paramctl.errors import InputError, OutputError
from paramctl.source.base import Description
from paramctl.store.checkpoint import Checkpoint
from paramctl.store.contents import Piece, RecordedSum, blocks

if TYPE_CHECKING:
    from paramctl.core.dtypes import Array


class Stored:
    """The arrays of a checkpoint. dtype: the floating-point dtype they are cast to; None keeps that of the file."""

    def __init__(self, checkpoint: Checkpoint, dtype: str | None = None) -> None:
        self.checkpoint, self.dtype = checkpoint, dtype
        self.model, self.origin = checkpoint.model.with_dtype(dtype), checkpoint.origin

    def read(self, path: str, start: int, stop: int) -> Array:
        from paramctl.core.dtypes import cast  # NumPy, which a summary needs not

        array = self.checkpoint.reader.read(path, start, stop)
        sys.audit("paramctl.read", self.model.name, path, array.nbytes)
        try:
            return cast(array, self.model.parameters[path].dtype)
        except OverflowError as error:
            raise OutputError(f"{path}: {error}") from error

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        return blocks(parameter)

    @cached_property
    def _recorded(self) -> dict[str, RecordedSum]:
        from paramctl.store.sums.recorded import recorded_sums  # for a save or a check alone

        # read once for all files of a new set
        return recorded_sums(self.checkpoint)

    def recorded_sums(self) -> dict[str, RecordedSum]:
        """Return the hashes that the file records, of the arrays that keep its dtype."""
        kept = self.checkpoint.model.parameters
        state = self.origin.optimizer.arrays if self.origin.optimizer else {}
        # a cast array has other values, whose hash no file records
        return {
            path: digest
            for path, digest in self._recorded.items()
            if path in state or (path in kept and kept[path].dtype == self.model.parameters[path].dtype)
        }

    def describe(self) -> Description:
        location = self.origin.location
        address = None if location is None else location.address()
        if location is None or address is None:
            rule = "only a regular file, or a URL without credentials, can be opened again in another process"
            raise InputError(f"{self.model.name}: {rule}")
        return {
            "source": "stored",
            "path": address,
            "fingerprint": location.fingerprint(),
            "dtype": self.dtype,
        }
