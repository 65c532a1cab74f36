"""npy as a format: one array without a name, as numpy.save writes it.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from paramctl.errors import OutputError
from paramctl.store.format import Format
from paramctl.store.location import Location

if TYPE_CHECKING:
    from paramctl.model import Model
    from paramctl.store.checkpoint import Checkpoint
    from paramctl.store.contents import Contents
    from paramctl.store.io.write_values import WriteOptions, Written

ARRAY = "arr_0"
"""The name of the array, which the file does not record: NumPy's for arrays that numpy.savez is given without names."""


class Npy(Format):
    """One npy file."""

    name = "npy"
    suffixes = (".npy",)
    unnamed: ClassVar[bool] = True
    records_trainable = False

    def matches(self, location: Location) -> bool:
        return location.read(0, 6) == b"\x93NUMPY"

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.npz import reading

        return reading.read_single(location, ARRAY)

    def check_names(self, model: Model, target: str) -> None:
        """Raise OutputError unless the model has one array under one name."""
        if len(model.parameters) != 1:
            count = f"{len(model.parameters):,} names"
            raise OutputError(f"{target}: an npy file holds one array (got {count}). Save it as .npz")

    def write(self, path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
        from paramctl.store.npz import writing

        return writing.write_single(path, contents, options)
