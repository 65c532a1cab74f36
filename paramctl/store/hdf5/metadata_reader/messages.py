"""The messages of a dataset: its dataspace, data layout and fill value."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from struct import Struct, unpack_from

from paramctl.store.hdf5.claims import Storage
from paramctl.store.hdf5.metadata_reader.superblock import UNDEFINED
from paramctl.store.hdf5.metadata_reader.unknown import Unknown

ADDRESS_AND_SIZE = Struct("<QQ")
MAX_RANK = 32
CACHED = 256
"""A file has few shapes."""
SCALAR, SIMPLE, NULL = 0, 1, 2
COMPACT, CONTIGUOUS = 0, 1
NEVER = 1
"""The fill time of a dataset that is never filled."""


@lru_cache(CACHED)
def read_dataspace(data: bytes) -> tuple[int, ...] | None:
    """Return the shape of a dataspace, None if it is null: it has no elements, and no shape. Raises Unknown."""
    version, rank, flags, kind = data[:4]
    if version == 1:
        kind, at = SIMPLE if rank else SCALAR, 8  # version 1 has no null dataspace
    else:
        at = 4
    if version not in (1, 2) or rank > MAX_RANK or flags > 1 or kind > NULL or (kind == SIMPLE) != (rank > 0):
        raise Unknown("a dataspace")
    if kind == NULL:
        return None
    shape: tuple[int, ...] = unpack_from(f"<{rank}Q", data, at)
    if flags and unpack_from(f"<{rank}Q", data, at + 8 * rank) != shape:  # it can grow, as chunked ones do
        raise Unknown("a dataspace that can grow")
    return shape


def read_layout(data: bytes, bytes_needed: int, base: int, end: int) -> Storage:
    """Return the storage of a dataset, given its data layout.

    Args:
        data: the message.
        bytes_needed: the bytes of the dataset's values.
        base: the offset of address 0.
        end: the address after the last one.

    Raises Unknown for chunks, and for any storage of another size.
    """
    if data[0] not in (3, 4):
        raise Unknown("a data layout of another version")
    if data[1] == COMPACT:
        size = int.from_bytes(data[2:4], "little")
        if size != bytes_needed or len(data) < 4 + size:
            raise Unknown("compact storage of another size")
        return Storage(None, size)
    if data[1] != CONTIGUOUS:
        raise Unknown("chunks, or a virtual dataset")
    address, size = ADDRESS_AND_SIZE.unpack_from(data, 2)
    if size != bytes_needed:
        raise Unknown("storage of another size")
    if address == UNDEFINED:
        return Storage(None, 0)
    # the library takes an address without bytes for damage
    if not size or address + size > end:
        raise Unknown("storage outside of the file")
    return Storage(base + address, size)


def has_fill_value(data: bytes | None, element_size: int) -> bool:
    """Return whether values that were never written read as a fill value, given the message. Raises Unknown."""
    if data is None:
        return True
    if data[0] == 3:
        flags, size, at = data[1], 0, 6
        allocation, time, is_undefined, is_defined = flags & 3, flags >> 2 & 3, flags >> 4 & 1, flags >> 5 & 1
        if flags >> 6 or (is_undefined and is_defined):
            raise Unknown("a fill value with other flags")
        if is_defined:
            size = unpack_from("<I", data, 2)[0]
    elif data[0] == 2:
        allocation, time, is_defined = data[1:4]
        size, at = (unpack_from("<I", data, 4)[0] if is_defined else 0), 8
        is_undefined = not is_defined
    else:
        raise Unknown("a fill value of another version")
    if (
        not 1 <= allocation <= 3
        or time > 2
        or is_defined > 1
        or size not in (0, element_size)
        or (size and at + size > len(data))
    ):
        raise Unknown("a fill value")
    return time != NEVER and not is_undefined


@lru_cache(CACHED)
def bytes_of(shape: tuple[int, ...], element_size: int) -> int:
    """Return the bytes of an array. Raises Unknown if they are more than the library can count."""
    if prod(length for length in shape if length) * element_size >= 2**63:
        raise Unknown("too many elements")
    return prod(shape) * element_size
