"""The recorded hashes of the arrays of a checkpoint, by the paths of its model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from paramctl.errors import InputError
from paramctl.store import registry
from paramctl.store.checkpoint import Checkpoint
from paramctl.store.contents import RecordedSum
from paramctl.store.format import Format
from paramctl.store.location import Location
from paramctl.store.sums.array_sum import empty_sum
from paramctl.store.sums.checking import RecordedFile, read_record
from paramctl.store.sums.stored_array import StoredArray

MAX_RANGES = 16
"""Ranges to read from a server, each with a request."""
MAX_FRAME = 1 << 20
"""Bytes to read from a server that are not values. Those of compressed arrays, which paramctl never writes, count."""


def recorded_sums(checkpoint: Checkpoint) -> dict[str, RecordedSum]:
    """Return the hashes that a checkpoint's files record, by the paths of its arrays; none from a file without any.

    They are what the file says, true or not.
    """
    location, model = checkpoint.origin.location, checkpoint.model
    if location is None or not checkpoint.origin.format:
        return {}
    # Keras' "layers/dense/vars/0" is the parameter "dense/kernel"
    names = {stored: path for path, stored in model.aliases.items()}
    sums: dict[str, RecordedSum] = {}
    with suppress(InputError):  # a file that cannot be read has no record; reading its values fails later
        for file, format_ in _files(location, registry.by_name(checkpoint.origin.format)):
            record = read_record(file, format_) if _is_near(file, format_) else None
            for array, recorded in _of_file(file, format_, record) if record is not None else ():
                path = names.get(array.path, array.path)
                tie = model.tied.get(path)
                if tie is None:
                    sums[path] = recorded
                elif not tie.transpose:  # a file may have the array under a tied name; a copy of it is not read
                    sums.setdefault(model.owner(path).path, recorded)
    empty = (owner for owner in model.owners() if not owner.size)
    if not sums:
        return {}
    return sums | {owner.path: RecordedSum(empty_sum(owner.dtype, owner.shape), location.name) for owner in empty}


def _of_file(file: Location, format_: Format, record: RecordedFile) -> Iterator[tuple[StoredArray, RecordedSum]]:
    """Yield each array with its recorded hash, and the fault of the file's header, if its owner can drop the record."""
    fault = "" if record.is_whole or not format_.edits_metadata else f"{format_.frame} does not match the recorded seal"
    if record.sums is not None or fault:
        digests = record.sums or [""] * len(record.arrays)
        for array, digest in zip(record.arrays, digests, strict=True):
            yield array, RecordedSum(digest, file.name, fault)


def _files(location: Location, format_: Format) -> Iterator[tuple[Location, Format]]:
    names = format_.set_files(location)
    if not names:
        yield location, format_
    for name in names:
        file = location.sibling(name)
        if (own := registry.detect(file)) is not None:
            yield file, own


def _is_near(file: Location, format_: Format) -> bool:
    """Return whether everything but the values is read at little cost: from a disk, or in few and short ranges."""
    if file.connections <= 1:
        return True
    arrays = format_.stored_arrays(file) or ()
    return len(arrays) < MAX_RANGES and file.size() - sum(each.end - each.begin for each in arrays) < MAX_FRAME
