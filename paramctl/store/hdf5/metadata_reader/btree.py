"""The records of a B-tree of version 2."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from paramctl.store.hdf5.metadata_reader.blocks import Blocks
from paramctl.store.hdf5.metadata_reader.superblock import UNDEFINED
from paramctl.store.hdf5.metadata_reader.unknown import Unknown

HEADER = Struct("<4sBBIHHBBQHQI")
NODE_BYTES = 10
"""Signature, version, type and checksum of a node."""
MAX_DEPTH = 16


class _Level(NamedTuple):
    """The nodes of one depth; a leaf has depth 0.

    most: the most records of a node.
    pointer: the bytes of a pointer to a node: address, its records, and those below it.
    count_size, total_size: the bytes of these two numbers. total_size is 0 for leaves.
    most_below: the most records of a node and of all below it.
    """

    most: int
    pointer: int
    count_size: int
    total_size: int
    most_below: int


def read_records(blocks: Blocks, address: int, kind: int, size: int) -> list[bytes]:
    """Return the records of a B-tree in their order.

    Args:
        blocks: the file.
        address: of the tree's header.
        kind: the type of the records.
        size: the bytes of each.
    """
    header = HEADER.unpack(blocks.read_checked(address, HEADER.size))
    signature, version, its_kind, node_size, its_size, depth, _, _, root, root_count, total, _ = header
    if signature != b"BTHD" or version or (its_kind, its_size) != (kind, size) or depth > MAX_DEPTH:
        raise Unknown("a B-tree of another kind")
    if root == UNDEFINED or not total:  # such as after the last link was deleted
        if total or root_count:
            raise Unknown("a B-tree without a root")
        return []
    tree = _Tree(blocks, kind, size, _levels(node_size, size, depth))
    records = list(tree.records(root, depth, root_count))
    if len(records) != total:
        raise Unknown("records are missing")
    return records


def _levels(node_size: int, record_size: int, depth: int) -> list[_Level]:
    """Return the levels of a tree, the leaves first."""
    most = (node_size - NODE_BYTES) // record_size
    if most < 1:
        raise Unknown("a node without records")
    count_size = _bytes_of(most)
    levels = [_Level(most, 8 + count_size, count_size, 0, most)]
    for _ in range(depth):
        below = levels[-1]
        most = (node_size - NODE_BYTES - below.pointer) // (record_size + below.pointer)
        if most < 1:
            raise Unknown("a node without records")
        most_below = (most + 1) * below.most_below + most
        total_size = _bytes_of(most_below)
        levels.append(_Level(most, 8 + count_size + total_size, count_size, total_size, most_below))
    return levels


def _bytes_of(most: int) -> int:
    """Return the bytes that hold a number of at most this size."""
    return (most.bit_length() - 1) // 8 + 1


class _Tree:
    """The nodes of a tree."""

    def __init__(self, blocks: Blocks, kind: int, size: int, levels: list[_Level]) -> None:
        self.blocks, self.kind, self.size, self.levels = blocks, kind, size, levels

    def records(self, address: int, depth: int, count: int) -> Iterator[bytes]:
        """Yield the records of a node and of all below it, in their order."""
        if count > self.levels[depth].most:
            raise Unknown("too many records")
        pointer = self.levels[depth - 1].pointer if depth else 0
        length = NODE_BYTES + count * self.size + ((count + 1) * pointer if depth else 0)
        data = self.blocks.read_checked(address, length)
        if data[:6] != (b"BTIN" if depth else b"BTLF") + bytes([0, self.kind]):
            raise Unknown("a B-tree node")
        for number in range(count + (1 if depth else 0)):
            if depth:
                yield from self._below(data, 6 + count * self.size + number * pointer, depth - 1)
            if number < count:  # the last pointer has no record after it
                yield data[6 + number * self.size : 6 + (number + 1) * self.size]

    def _below(self, data: bytes, at: int, depth: int) -> Iterator[bytes]:
        """Yield the records below a pointer."""
        level = self.levels[depth]
        address = int.from_bytes(data[at : at + 8], "little")
        count = int.from_bytes(data[at + 8 : at + 8 + level.count_size], "little")
        yield from self.records(address, depth, count)
