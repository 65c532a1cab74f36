"""The links of a group, in any of its three forms: a symbol table, link messages, or a fractal heap of these."""

from __future__ import annotations

from itertools import pairwise
from struct import Struct, unpack_from

from paramctl.store.hdf5.metadata_reader.blocks import Blocks
from paramctl.store.hdf5.metadata_reader.btree import read_records
from paramctl.store.hdf5.metadata_reader.fractal_heap import FractalHeap
from paramctl.store.hdf5.metadata_reader.object_header import LINK_INFO, SYMBOL_TABLE, ObjectHeader
from paramctl.store.hdf5.metadata_reader.superblock import UNDEFINED, Superblock
from paramctl.store.hdf5.metadata_reader.symbol_table import Link, read_symbol_table
from paramctl.store.hdf5.metadata_reader.unknown import Unknown

BY_NAME, BY_ORDER = 5, 6
"""The types of B-trees over links."""
NAME_RECORD, ORDER_RECORD = Struct("<I7s"), Struct("<q7s")
TRACKED, INDEXED = 1, 2
HAS_ORDER, HAS_KIND, HAS_ENCODING = 4, 8, 16
HARD, SOFT = 0, 1


def is_group(header: ObjectHeader) -> bool:
    return SYMBOL_TABLE in header.single or LINK_INFO in header.single


def read_links(blocks: Blocks, superblock: Superblock, header: ObjectHeader) -> list[Link]:
    """Return the links of a group, in the order of creation if it is tracked, else of names. Raises Unknown."""
    table, info = header.single.get(SYMBOL_TABLE), header.single.get(LINK_INFO)
    if info is None:
        if table is None or header.links:
            raise Unknown("links in two forms")
        return read_symbol_table(blocks, superblock, table)
    flags = info[1]
    if table is not None or info[0] or flags & ~(TRACKED | INDEXED):
        raise Unknown("links in two forms")
    at = 10 if flags & TRACKED else 2
    heap, names, orders = (
        *unpack_from("<QQ", info, at),
        unpack_from("<Q", info, at + 16)[0] if flags & INDEXED else None,
    )
    if heap == UNDEFINED:  # at most some eight links, in the object header
        links = [read_link(message) for message in header.links]
    elif header.links:
        raise Unknown("links in two forms")
    else:
        links = _read_dense(blocks, heap, names, orders)
    links.sort(key=lambda link: link.name)
    if any(one.name == other.name for one, other in pairwise(links)):
        raise Unknown("two links of one name")
    # as h5py: in the order of creation if the file knows it
    if not flags & TRACKED:
        return links
    by_order = {link.order: link for link in links}
    if None in by_order or len(by_order) < len(links):
        raise Unknown("links without an order")
    return [by_order[order] for order in sorted(order for order in by_order if order is not None)]


def _read_dense(blocks: Blocks, heap: int, names: int, orders: int | None) -> list[Link]:
    """Return the links in a fractal heap.

    Args:
        blocks: the file.
        heap: the address of the heap.
        names, orders: the addresses of the B-trees over names and over the order of creation, None without one.
    """
    reader = FractalHeap(blocks, heap)
    links, identifiers, before = [], {}, -1
    for record in read_records(blocks, names, BY_NAME, NAME_RECORD.size):
        checksum, identifier = NAME_RECORD.unpack(record)
        link = read_link(reader.read(identifier))
        if checksum < before:
            raise Unknown("a record out of order")
        before = checksum
        blocks.checksums.add_hash(link.name, checksum)  # the library finds a name by it
        identifiers[link.order] = identifier
        links.append(link)
    if orders is not None:
        records = read_records(blocks, orders, BY_ORDER, ORDER_RECORD.size)
        by_order = sorted(identifiers.items(), key=lambda item: item[0] or 0)
        if [ORDER_RECORD.unpack(record) for record in records] != by_order:
            raise Unknown("two indexes that differ")
    return links


def read_link(data: bytes) -> Link:
    """Return a link, given its message. Raises Unknown."""
    version, flags = data[:2]
    if version != 1 or flags & ~0x1F:
        raise Unknown("a link of another version")
    at, kind, order = 2, HARD, None
    if flags & HAS_KIND:
        kind, at = data[at], at + 1
    if flags & HAS_ORDER:
        order, at = unpack_from("<q", data, at)[0], at + 8
    if flags & HAS_ENCODING:
        if data[at] > 1:
            raise Unknown("a name in another encoding")
        at += 1
    width = 1 << (flags & 3)
    length = int.from_bytes(data[at : at + width], "little")
    name, at = data[at + width : at + width + length], at + width + length
    if len(name) != length or not name or b"\0" in name:
        raise Unknown("a name")
    if kind == HARD:
        address = unpack_from("<Q", data, at)[0]
        if address == UNDEFINED:
            raise Unknown("a link to nothing")
        return Link(name, address, order)
    if kind != SOFT:  # external links, and links that a plugin defines
        raise Unknown("a link to another file")
    size = unpack_from("<H", data, at)[0]
    if not size or at + 2 + size > len(data):
        raise Unknown("a soft link to nothing")
    return Link(name, None, order)
