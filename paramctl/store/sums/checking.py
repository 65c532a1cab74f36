"""Check a file against its own record: the seal, and the hashes of its arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from paramctl.store.format import Format
from paramctl.store.location import Location
from paramctl.store.sums.record import Range, ReadBytes, Record, compute_seal, find_records, gaps, has_traces
from paramctl.store.sums.stored_array import StoredArray


class RecordedFile(NamedTuple):
    """A file with its record.

    arrays: those with values, in the order of their bytes.
    seal: the seal of the record; "" if no record can be read.
    is_whole: True if the seal is that of the file.
    sums: the recorded hash of each array, in the same order; None if the number of arrays is another.
    listed: the hashes in the record itself: in an index, the seals of the files.
    """

    arrays: Sequence[StoredArray]
    seal: str
    is_whole: bool
    sums: Sequence[str] | None
    listed: tuple[str, ...]

    @property
    def ranges(self) -> list[Range]:
        """The ranges of the arrays' values."""
        return [(array.begin, array.end) for array in self.arrays]


def read_record(location: Location, format_: Format) -> RecordedFile | None:
    """Return a file with its record, None if it has none. Reads everything but the values of arrays.

    Raises InputError if the file cannot be read.
    """
    listed = format_.stored_arrays(location)
    if listed is None:
        return None
    arrays = sorted((array for array in listed if array.end > array.begin), key=lambda array: array.begin)
    ranges = gaps(((array.begin, array.end) for array in arrays), location.size())
    records = find_records(location.read, ranges)
    if not records and not has_traces(location.read, ranges):
        return None
    # HDF5 may leave old copies of the attribute behind; only the true record has the seal of the file
    whole = next((record for record in records if _is_sealed(location.read, ranges, record)), None)
    best = whole or (records[-1] if records else None)
    seal, digests = (best.seal, best.sums) if best else ("", ())
    return RecordedFile(arrays, seal, whole is not None, _sums_of(arrays, records, whole), digests)


def seal_of(location: Location, arrays: Iterable[StoredArray]) -> str:
    """Return the recorded seal of a file, true or not; empty if it has none."""
    ranges = gaps(((array.begin, array.end) for array in arrays), location.size())
    return next((record.seal for record in find_records(location.read, ranges)), "")


def is_recorded(location: Location) -> bool:
    """Return whether a file that cannot be read has a record, or a part of one."""
    return has_traces(location.read, [(0, location.size())])


def _is_sealed(read: ReadBytes, ranges: Sequence[Range], record: Record) -> bool:
    return compute_seal(read, ranges, record.offsets) == record.seal


def _sums_of(arrays: Sequence[StoredArray], records: Sequence[Record], whole: Record | None) -> Sequence[str] | None:
    """Return the recorded hash of each array. Of several records, the one that is whole is preferred."""
    if all(array.digest is not None for array in arrays) and arrays:
        return [array.digest or "" for array in arrays]
    # in a .keras the record of the weights has the hashes, and that of the archive has none
    ordered = ([whole] if whole else []) + [*records]
    return next((record.sums for record in ordered if len(record.sums) == len(arrays)), None)
