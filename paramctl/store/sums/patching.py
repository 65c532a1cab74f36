"""Keep the record of a file true in a changed copy of it: new hashes for changed arrays, and a new seal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from paramctl.errors import InputError
from paramctl.parallel import in_parallel
from paramctl.store.format import Format
from paramctl.store.io.atomic import Temporary
from paramctl.store.location import Location
from paramctl.store.sums.array_sum import ArraySum, leaf_bytes, sum_of
from paramctl.store.sums.checking import RecordedFile, read_record
from paramctl.store.sums.record import ReadBytes
from paramctl.store.sums.sealing import altered, reading, seal_rest
from paramctl.store.sums.stored_array import StoredArray


def sealed(location: Location, format_: Format) -> RecordedFile | None:
    """Return a file with its record, None if it has none.

    Raises OutputError unless its seal is true: a copy with a new seal would hide the change.
    """
    record = read_record(location, format_)
    if record is not None and not record.is_whole:
        raise altered(location.name, f"{format_.frame} does not match the recorded seal")
    return record


def seal_again(temporary: Temporary, location: Location, record: RecordedFile, changed: Collection[int]) -> None:
    """Fill in the record of a changed copy of a file.

    changed: the offsets of the arrays whose values have changed. Those in the file must match their hashes.
    """
    recorded = dict(zip(record.arrays, record.sums or (), strict=False))
    arrays = [array for array in recorded if array.begin in changed]
    for array, digest in array_sums(location.read, arrays, location.name):
        if digest != recorded[array]:
            raise altered(location.name, f"{array.path}: its values do not match the recorded hash")
    # a hash is patched at the array's place in the record
    positions = {array: position for position, array in enumerate(record.arrays)}
    new = array_sums(reading(temporary), arrays, temporary.target)
    seal_rest(temporary, record.ranges, record.seal, {positions[array]: digest for array, digest in new})


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
