"""Keep the record of a file true in a changed copy of it: new hashes for changed arrays, and a new seal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from paramctl.errors import InputError
from paramctl.parallel import in_parallel
from paramctl.store.format import Format
from paramctl.store.io.atomic import Temporary
from paramctl.store.location import Location
from paramctl.store.sums.array_sum import ArraySum, leaf_bytes, sum_of
from paramctl.store.sums.checking import RecordedFile, read_record
from paramctl.store.sums.record import ReadBytes
from paramctl.store.sums.sealing import altered, seal_rest
from paramctl.store.sums.stored_array import StoredArray


def sealed(location: Location, format_: Format) -> RecordedFile | None:
    """Return a file with its record, None if it has none.

    Raises OutputError unless its seal is true: a copy with a new seal would hide the change.
    """
    record = read_record(location, format_)
    if record is not None and not record.is_whole:
        raise altered(location.name, f"{format_.frame} does not match the recorded seal")
    return record


class PieceSums(NamedTuple):
    """The sums of a piece of an array before and after a change."""

    old: ArraySum
    new: ArraySum


class ChangedSums:
    """The hashes of arrays that are being changed in a copy of a file, before and after, joined piece by piece.

    record: of the file that is copied, None if it has none.
    """

    def __init__(self, record: RecordedFile | None, place: str) -> None:
        self.record, self.place = record, place
        stored = record.arrays if record is not None and record.sums is not None else ()
        self.by_offset = {array.begin: (position, array) for position, array in enumerate(stored)}
        self.old: dict[int, ArraySum] = {}
        self.new: dict[int, ArraySum] = {}

    def has(self, offset: int) -> bool:
        """Return whether the hash of the array at an offset is recorded."""
        return offset in self.by_offset

    def of_piece(
        self, offset: int, begin: int, before: memoryview | bytes, after: memoryview | bytes
    ) -> PieceSums | None:
        """Return the sums of a piece, None for an array without a recorded hash. Safe from several threads at once.

        offset: of the array in the file. begin: of the piece in the array.
        before, after: the bytes of the piece, the same object if nothing has changed.
        """
        if not self.has(offset):
            return None
        leaf = leaf_bytes(self.by_offset[offset][1].dtype)
        old = sum_of(before, begin, leaf)
        return PieceSums(old, old if after is before else sum_of(after, begin, leaf))

    def add(self, offset: int, sums: PieceSums | None) -> None:
        """Add the next piece of an array: all of its pieces, in order."""
        for partial, part in zip((self.old, self.new), sums or (), strict=False):
            partial[offset] = partial[offset].join(part) if offset in partial else part

    def seal(self, temporary: Temporary) -> None:
        """Fill in the record of the changed copy. The old values must match the hashes in the file; see altered."""
        if self.record is None:
            return
        changed = {}
        for offset, old in self.old.items():
            position, array = self.by_offset[offset]
            recorded = (self.record.sums or ())[position]
            if old.size != array.end - array.begin or old.finish(array.dtype, array.shape) != recorded:
                raise altered(self.place, f"{array.path}: its values do not match the recorded hash")
            # a hash is patched at the array's place in the record
            changed[position] = self.new[offset].finish(array.dtype, array.shape)
        seal_rest(temporary, self.record.ranges, self.record.seal, changed)


def array_sums(
    read: ReadBytes, arrays: Iterable[StoredArray], place: str, advance: Callable[[int], object] = lambda size: None
) -> Iterator[tuple[StoredArray, str]]:
    """Yield each array with its hash, from the bytes in a file. Raises InputError if the file is too short."""
    leaves = (
        (array, begin) for array in arrays for begin in range(0, array.end - array.begin, leaf_bytes(array.dtype))
    )

    def work(job: tuple[StoredArray, int]) -> tuple[StoredArray, ArraySum]:
        array, begin = job
        leaf = leaf_bytes(array.dtype)
        size = min(leaf, array.end - array.begin - begin)
        data = read(array.begin + begin, size)
        if len(data) < size:
            raise InputError(f"{place}: truncated within {array.path}")
        return array, sum_of(data, begin, leaf)

    total: ArraySum | None = None
    # one pool of threads for all arrays: a file may have many thousands of small ones
    for array, part in in_parallel(work, leaves):
        total = part if total is None else total.join(part)
        advance(part.size)
        if total.size == array.end - array.begin:
            yield array, total.finish(array.dtype, array.shape)
            total = None
