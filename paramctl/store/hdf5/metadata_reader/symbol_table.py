"""The links of an old group: a B-tree of version 1 over symbol table nodes, with the names in a local heap."""

from __future__ import annotations

from struct import Struct, unpack_from
from typing import NamedTuple

from paramctl.store.hdf5.metadata_reader.blocks import Blocks
from paramctl.store.hdf5.metadata_reader.superblock import UNDEFINED, Superblock
from paramctl.store.hdf5.metadata_reader.unknown import Unknown

HEAP, NODE, ENTRY = Struct("<4sB3xQQQ"), Struct("<4sBBHQQ"), Struct("<QQI4x16s")
LAST_FREE = 1
"""The end of the list of free blocks in a local heap."""
PLAIN, CACHED, SOFT = 0, 1, 2
MAX_LEVEL = 32


class Link(NamedTuple):
    """A link of a group. address: of the object header, None for a soft link. order: of creation, None if unknown."""

    name: bytes
    address: int | None
    order: int | None = None


def read_symbol_table(blocks: Blocks, superblock: Superblock, message: bytes) -> list[Link]:
    """Return the links of a group in the order of their names, given its symbol table message. Raises Unknown."""
    tree, heap = unpack_from("<QQ", message)
    reader = _SymbolTable(blocks, superblock, _LocalHeap(blocks, heap))
    reader.read(tree, None, b"", None)
    reader.check_siblings()
    return reader.links


class _LocalHeap:
    """A local heap: texts that end with a NUL."""

    def __init__(self, blocks: Blocks, address: int) -> None:
        signature, version, size, free, data = HEAP.unpack(blocks.read(address, HEAP.size))
        if signature != b"HEAP" or version:
            raise Unknown("a local heap")
        self.data = blocks.read(data, size)
        for _ in range(size // 16 + 1):  # the library checks the list of free blocks
            if free == LAST_FREE:
                return
            following, length = unpack_from("<QQ", self.data, free)
            if not following or free + length > size:
                break
            free = following
        raise Unknown("a list of free blocks")

    def text(self, offset: int) -> bytes:
        end = self.data.find(b"\0", offset)
        if end < 0:
            raise Unknown("a name without an end")
        return self.data[offset:end]


class _SymbolTable:
    """The B-tree of one group."""

    def __init__(self, blocks: Blocks, superblock: Superblock, heap: _LocalHeap) -> None:
        self.blocks, self.superblock, self.heap = blocks, superblock, heap
        self.links: list[Link] = []
        self.levels: dict[int, list[tuple[int, int, int]]] = {}
        """By level, the addresses of each node and of its siblings: (left, own, right)."""

    def read(self, address: int, level: int | None, low: bytes, high: bytes | None) -> None:
        """Read the links of a B-tree node.

        The library finds a name by the keys, so every name must be greater than ``low`` and at most ``high``.
        level: the level of the node, None for the root.
        """
        most = 2 * self.superblock.internal_k
        data = self.blocks.read(address, NODE.size + 16 * most + 8)
        signature, kind, its_level, count, left, right = NODE.unpack_from(data)
        if signature != b"TREE" or kind or count > most or its_level > MAX_LEVEL or level not in (None, its_level):
            raise Unknown("a B-tree node")
        self.levels.setdefault(its_level, []).append((left, address, right))
        keys_and_children = unpack_from(f"<{2 * count + 1}Q", data, NODE.size)
        keys = [self.heap.text(key) for key in keys_and_children[::2]] if count else []
        if keys and (keys[0] < low or (high is not None and keys[-1] > high)):
            raise Unknown("a key out of order")
        for number, child in enumerate(keys_and_children[1::2]):
            if its_level:
                self.read(child, its_level - 1, keys[number], keys[number + 1])
            else:
                self._read_node(child, keys[number], keys[number + 1])

    def check_siblings(self) -> None:
        """Raise Unknown unless the nodes of each level lead to each other: the library also follows these addresses."""
        for nodes in self.levels.values():
            if len(nodes) == 1 and nodes[0][::2] == (UNDEFINED, UNDEFINED):  # almost every group
                continue
            addresses = [UNDEFINED, *(own for _, own, _ in nodes), UNDEFINED]
            if nodes != list(zip(addresses, addresses[1:], addresses[2:], strict=False)):
                raise Unknown("siblings that differ from the children")

    def _read_node(self, address: int, low: bytes, high: bytes) -> None:
        """Read the links of a symbol table node."""
        most = 2 * self.superblock.leaf_k
        data = self.blocks.read(address, 8 + most * ENTRY.size)
        count = int.from_bytes(data[6:8], "little")
        if data[:5] != b"SNOD\x01" or not 0 < count <= most:
            raise Unknown("a symbol table node")
        names, links = self.heap.data, self.links
        for name_at, header, cached, scratch in ENTRY.iter_unpack(data[8 : 8 + count * ENTRY.size]):
            name = names[name_at : names.index(b"\0", name_at)]  # as text() does
            # names in another order would be listed, and then not found by the library
            if not low < name <= high:
                raise Unknown("a name out of order")
            low = name
            if cached == SOFT:  # the library reads its target, which must have an end
                self.heap.text(int.from_bytes(scratch[:4], "little"))
                links.append(Link(name, None))
            elif cached in (PLAIN, CACHED) and header != UNDEFINED:
                links.append(Link(name, header))
            else:
                raise Unknown("a symbol table entry")
