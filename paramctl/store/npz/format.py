"""npz as a format: a zip of npy files, as numpy.savez writes it.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

Pickles are never loaded. A member that is stored in C order is read by its extent; one in Fortran order, or compressed,
in slabs. Metadata is in the zip's comments. A member's comment has its dtype, if NumPy lacks it, and the facts about
the parameter. The archive's comment has the document, the ties, and the versions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from paramctl.store.format import Format
from paramctl.store.location import Location
from paramctl.store.npz import NAME

if TYPE_CHECKING:
    from paramctl.model import Model
    from paramctl.store.checkpoint import Checkpoint
    from paramctl.store.contents import Contents, MetadataItem
    from paramctl.store.io.write_values import WriteOptions, Written
    from paramctl.store.sums.stored_array import StoredArray

ZIP_SIGNATURES = (b"PK\3\4", b"PK\5\6")


class Npz(Format):
    """One npz file."""

    name = NAME
    suffixes = (".npz",)
    frame = "the zip structure, a header or a comment"

    def matches(self, location: Location) -> bool:
        return location.read(0, 4) in ZIP_SIGNATURES

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.npz import reading

        return reading.read(location)

    def stored_arrays(self, location: Location) -> Sequence[StoredArray]:
        from paramctl.store.npz import reading

        return reading.stored_arrays(location)

    def read_metadata(self, location: Location) -> Iterator[MetadataItem]:
        from paramctl.store.npz import reading

        return reading.read_metadata(location)

    def check_names(self, model: Model, target: str) -> None:
        from paramctl.store.npz.names import check_names

        check_names(model.parameters, target)

    def write(self, path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
        from paramctl.store.npz import writing

        return writing.write(path, contents, options)
