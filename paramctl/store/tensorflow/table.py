"""The table of LevelDB in which a checkpoint has its index: sorted keys with their values, in checked blocks.

https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from paramctl.store.io.crc32c import checksum, unmask
from paramctl.store.io.protobuf import parse_varint

MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER = 48
TRAILER = 5
"""Bytes after a block: its compression, and the checksum of both."""
UNCOMPRESSED = 0
COMPRESSIONS = {1: "Snappy", 2: "zstd"}
MAX_ENTRIES = 300_000
MAX_KEY_BYTES = 1 << 27
"""Bytes of all keys together: a key repeats the start of the key before it at no cost to the file."""

Entries = Iterator[tuple[bytes, bytes]]


def table_entries(data: bytes) -> Entries:
    """Yield the keys and values of a table in order. Raises ValueError if it is damaged, or over a limit."""
    if len(data) < FOOTER or not data.endswith(MAGIC):
        raise ValueError("its last 8 bytes are not those of an index, so it is truncated or another file")
    at = len(data) - FOOTER
    for _ in range(2):  # the handle of the metaindex, which is empty, precedes that of the index
        offset, at = parse_varint(data, at, len(data))
        size, at = parse_varint(data, at, len(data))
    handles = (value for _, value in _block_entries(_block(data, offset, size)))
    count, key_bytes, last = 0, 0, b""
    for key, value in chain.from_iterable(map(_block_entries, _blocks(data, handles))):
        count, key_bytes = count + 1, key_bytes + len(key)
        if count > MAX_ENTRIES or key_bytes > MAX_KEY_BYTES:
            raise ValueError(f"more than {MAX_ENTRIES:,} keys, or {MAX_KEY_BYTES:,} bytes of keys")
        # sorted keys also mean that no key is there twice
        if count > 1 and key <= last:
            raise ValueError("its keys are not in order")
        yield key, value
        last = key


def _blocks(data: bytes, handles: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the blocks at handles. They follow each other, so that none is read twice."""
    end = 0
    for handle in handles:
        offset, at = parse_varint(handle, 0, len(handle))
        size, _ = parse_varint(handle, at, len(handle))
        # an index could name one block many times
        if offset < end:
            raise ValueError("its blocks overlap")
        yield _block(data, offset, size)
        end = offset + size + TRAILER


def _block(data: bytes, offset: int, size: int) -> bytes:
    end = offset + size + TRAILER
    if end > len(data) - FOOTER:
        raise ValueError(f"a block ends at byte {end:,} of {len(data) - FOOTER:,}")
    checked = data[offset : offset + size + 1]
    if checksum(checked) != unmask(int.from_bytes(data[end - 4 : end], "little")):
        raise ValueError(f"the block at byte {offset:,} does not match its CRC-32C checksum")
    if checked[-1] != UNCOMPRESSED:
        compression = COMPRESSIONS.get(checked[-1], f"type {checked[-1]}")
        raise ValueError(f"a block is compressed ({compression}), as TensorFlow does not write it")
    return checked[:-1]


def _block_entries(block: bytes) -> Entries:
    """Yield the keys and values of a block, in which a key shares its start with the key before it."""
    restarts = int.from_bytes(block[-4:], "little") if len(block) >= 4 else -1
    end = len(block) - 4 * (restarts + 1)
    if restarts < 0 or end < 0:
        raise ValueError("a block has no entries")
    at, key = 0, b""
    while at < end:
        shared, at = parse_varint(block, at, end)
        rest, at = parse_varint(block, at, end)
        size, at = parse_varint(block, at, end)
        if shared > len(key) or at + rest + size > end:
            raise ValueError("an entry is longer than its block")
        key = key[:shared] + block[at : at + rest]
        at += rest + size
        yield key, block[at - size : at]
