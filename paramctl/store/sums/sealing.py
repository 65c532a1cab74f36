"""Fill in the record of a new file: the hashes of its arrays, and then its seal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from paramctl.address.quoting import shell_quoted
from paramctl.core.parameter import Parameter
from paramctl.errors import OutputError
from paramctl.store.contents import Contents, Recorded, RecordedSum
from paramctl.store.io.atomic import Temporary
from paramctl.store.sums import KEY
from paramctl.store.sums.array_sum import ArraySum, leaf_bytes, sum_of
from paramctl.store.sums.record import (
    DIGITS,
    MAX_RECORD,
    RECORD,
    START,
    UNSEALED,
    Range,
    ReadBytes,
    compute_seal,
    encode,
    find_records,
    gaps,
    unsealed_records,
)


def altered(place: str, rule: str) -> OutputError:
    """Return the error for a file that cannot be saved again, because a new record would hide a change."""
    command = f"paramctl set {shell_quoted(place)} --drop-metadata {KEY} --in-place"
    return OutputError(f"{place}: {rule}. If you have changed the file yourself, remove the record with: {command}")


class NewSums:
    """The hashes of the arrays that are being written, joined piece by piece, in the order of the pieces.

    expected: the hashes that the files of the values record, by path.
    """

    def __init__(self, expected: Mapping[str, RecordedSum] | None = None) -> None:
        self.expected = expected or {}
        self.partial: dict[str, ArraySum] = {}

    def add(self, key: str, piece: ArraySum) -> None:
        """Add the next piece of an array."""
        before = self.partial.get(key)
        self.partial[key] = piece if before is None else before.join(piece)

    def finish(self, key: str, parameter: Parameter) -> str:
        """Return the hash of an array. Raises OutputError unless it is the recorded one, if one is recorded."""
        digest = self.partial.pop(key).finish(parameter.dtype, parameter.shape)
        recorded = self.expected.get(key)
        if recorded is not None and recorded.digest != digest:
            raise altered(recorded.file, f"{key}: its values do not match the recorded hash")
        return digest


def new_sums(contents: Contents) -> NewSums:
    """Return the hashes of new arrays, none yet, which must match those that the files of the contents record.

    Raises OutputError if the header of one of these files does not match its seal.
    """
    recorded = contents.recorded_sums() if isinstance(contents, Recorded) else {}
    fault = next((each for each in recorded.values() if each.fault), None)
    if fault is not None:
        raise altered(fault.file, fault.fault)
    return NewSums(recorded)


def piece_sum(data: memoryview, dtype: str, begin: int) -> ArraySum:
    """Return the sum of a piece. begin: the offset of its bytes in the array."""
    return sum_of(data, begin, leaf_bytes(dtype))


class Placed(NamedTuple):
    """The values of an array in a file: the range of their bytes, and their hash."""

    range: Range
    digest: str


def seal_file(temporary: Temporary, arrays: Iterable[Placed], record_sums: bool = True) -> str:
    """Fill in the record of a file that is complete otherwise, and return its seal.

    record_sums: False if the hashes are elsewhere in the file, and the record has the seal alone.
    Raises OutputError.
    """
    ordered = sorted(arrays)
    ranges = gaps((array.range for array in ordered), temporary.size())
    read = reading(temporary)
    offsets = unsealed_records(read, ranges)
    if len(offsets) != 1:  # such as a model document with the text of a record
        raise OutputError(
            f"{temporary.target}: a text in the file must not begin as a record of hashes ({START.decode()})"
        )
    if record_sums:
        digits = "".join(encode(array.digest) for array in ordered).encode()
        temporary.write(digits, offsets[0] + len(UNSEALED) + 1)
    return _write_seal(temporary, ranges, offsets)


def seal_rest(temporary: Temporary, taken: Iterable[Range], old: str, changed: Mapping[int, str] | None = None) -> str:
    """Seal a changed copy of a sealed file again, and return the seal.

    taken: the ranges of the arrays' values.
    old: the seal of the file that was copied.
    changed: the new hashes of changed arrays, by the position in the record.
    """
    ranges, read = gaps(taken, temporary.size()), reading(temporary)
    offsets = next((record.offsets for record in find_records(read, ranges) if record.seal == old), ())
    for offset in offsets if changed else ():
        # HDF5 may leave a part of an old copy behind, which has no room for hashes
        if RECORD.match(read(offset - len(START), MAX_RECORD)):
            for position, digest in (changed or {}).items():
                temporary.write(encode(digest).encode(), offset + len(UNSEALED) + 1 + DIGITS * position)
    return _write_seal(temporary, ranges, offsets)


def erase_records(temporary: Temporary, taken: Iterable[Range]) -> None:
    """Erase the leftovers of a removed record. taken: the ranges of the arrays' values."""
    ranges, read = gaps(taken, temporary.size()), reading(temporary)
    # HDF5 leaves the text of a deleted attribute in the space that it frees
    for offset in [offset for record in find_records(read, ranges) for offset in record.offsets]:
        begin = offset - len(START)
        match = RECORD.match(read(begin, MAX_RECORD))
        temporary.write(b"\0" * (len(match[0]) if match else len(START) + len(UNSEALED)), begin)


def reading(temporary: Temporary) -> ReadBytes:
    """Return a function that reads the bytes of a file that is being written."""
    return lambda offset, size: os.pread(temporary.descriptor, size, offset)


def _write_seal(temporary: Temporary, ranges: Sequence[Range], offsets: Sequence[int]) -> str:
    seal = compute_seal(reading(temporary), ranges, offsets)
    for offset in offsets:
        temporary.write(seal.encode(), offset)
    return seal
