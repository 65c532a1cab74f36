"""The superblock: where a file's addresses begin and end, and where its root group is."""

from __future__ import annotations

from struct import unpack_from
from typing import NamedTuple

from paramctl.store.hdf5 import MAX_USER_BLOCK, SIGNATURE
from paramctl.store.hdf5.metadata_reader.blocks import Blocks
from paramctl.store.hdf5.metadata_reader.unknown import Unknown

UNDEFINED = 2**64 - 1
"""The address of what does not exist."""
OLD_BYTES, INDEXED_BYTES, NEW_BYTES = 96, 100, 48
"""Of versions 0, 1, and 2 or 3."""


class Superblock(NamedTuple):
    """The superblock.

    root: the address of the root group's object header.
    leaf_k, internal_k: half of the most entries of a symbol table node, and of a B-tree node of version 1.
    """

    root: int
    leaf_k: int
    internal_k: int


def read_superblock(blocks: Blocks) -> Superblock:
    """Return the superblock, and have addresses count from it. Raises Unknown."""
    start = _start(blocks)
    version = blocks.read(start, 9)[8]
    if version in (0, 1):
        return _old(blocks, start, version)
    if version not in (2, 3):
        raise Unknown("a superblock of another version")
    data = blocks.read_checked(start, NEW_BYTES)
    sizes, flags, base, extension, end, root = unpack_from("<HBQQQQ", data, 9)
    # flags: a writer has not closed the file. An extension has rules for messages that all objects share
    if sizes != 0x0808 or flags or extension != UNDEFINED:
        raise Unknown("a superblock with extensions")
    _move(blocks, start, base, end)
    return Superblock(root, 4, 16)


def _old(blocks: Blocks, start: int, version: int) -> Superblock:
    """Return a superblock of version 0 or 1."""
    data = blocks.read(start, INDEXED_BYTES if version else OLD_BYTES)
    versions, sizes, leaf_k, internal_k, flags = unpack_from("<4sHxHHI", data, 9)
    at = 24
    if version:
        chunk_k, at = int.from_bytes(data[24:26], "little"), 28
        if not chunk_k:  # of the B-trees over chunks, which this reader leaves to the library
            raise Unknown("a B-tree without entries")
    base, free_space, end, driver, _, root, cached = unpack_from("<QQQQQQI", data, at)
    is_plain = free_space == driver == UNDEFINED and cached <= 1
    if versions[0] or versions[1] or versions[3] or sizes != 0x0808 or flags or not is_plain:
        raise Unknown("a superblock with extensions")
    if not leaf_k or not internal_k:
        raise Unknown("a B-tree without entries")
    _move(blocks, start, base, end)
    return Superblock(root, leaf_k, internal_k)


def _move(blocks: Blocks, start: int, base: int, end: int) -> None:
    """Have addresses count from the base address. end: the offset after the last byte of the file."""
    if base != start or end > blocks.size:  # a user block was added later, or the file is truncated
        raise Unknown("addresses that do not fit the file")
    blocks.move_base(base, end - base)


def _start(blocks: Blocks) -> int:
    """Return the offset of the superblock, after a user block."""
    start = 0
    while start <= MAX_USER_BLOCK:
        if blocks.read(start, len(SIGNATURE)) == SIGNATURE:
            return start
        start = max(512, 2 * start)
    raise Unknown("no signature")
