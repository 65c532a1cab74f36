"""The recorded hashes of the arrays of a checkpoint, by the paths of its model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from paramctl.errors import InputError
from paramctl.store import registry
from paramctl.store.checkpoint import Checkpoint
from paramctl.store.format import Format
from paramctl.store.location import Location
from paramctl.store.sums.array_sum import empty_sum
from paramctl.store.sums.checking import read_record

MAX_RANGES = 16
"""Ranges to read from a server, each with a request."""


def recorded_sums(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the hashes that a checkpoint's files record, by the paths of its arrays; none from a file without any.

    They are what the file says, true or not.
    """
    location, model = checkpoint.origin.location, checkpoint.model
    if location is None or not checkpoint.origin.format:
        return {}
    # Keras' "layers/dense/vars/0" is the parameter "dense/kernel"
    names = {stored: path for path, stored in model.aliases.items()}
    sums: dict[str, str] = {}
    with suppress(InputError):  # a file that cannot be read has no record; reading its values fails later
        for file, format_ in _files(location, registry.by_name(checkpoint.origin.format)):
            record = read_record(file, format_) if _is_near(file, format_) else None
            if record is not None and record.sums is not None:
                pairs = zip(record.arrays, record.sums, strict=True)
                sums |= {names.get(array.path, array.path): digest for array, digest in pairs}
    empty = (owner for owner in model.owners() if not owner.size)
    return sums | {owner.path: empty_sum(owner.dtype, owner.shape) for owner in empty} if sums else {}


def _files(location: Location, format_: Format) -> Iterator[tuple[Location, Format]]:
    names = format_.set_files(location)
    if not names:
        yield location, format_
    for name in names:
        file = location.sibling(name)
        if (own := registry.detect(file)) is not None:
            yield file, own


def _is_near(file: Location, format_: Format) -> bool:
    return file.connections <= 1 or len(format_.stored_arrays(file) or ()) < MAX_RANGES
