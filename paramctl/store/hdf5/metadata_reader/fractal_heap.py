"""A fractal heap: the links or attributes of an object that has many, as messages."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from paramctl.store.hdf5.metadata_reader.blocks import Blocks
from paramctl.store.hdf5.metadata_reader.superblock import UNDEFINED
from paramctl.store.hdf5.metadata_reader.unknown import Unknown

HEADER = Struct("<4sBHHBIQQQQQQQQQQQQHQQHHQHI")
FREE_SPACE_BYTES = 82
CHECKED_BLOCKS = 2
"""A flag: direct blocks have checksums."""
KIND, VERSION = 0x30, 0xC0
"""The bits of an identifier's first byte."""


class _Table(NamedTuple):
    """The doubling table: rows of blocks, in which each row after the second has blocks twice as large.

    width: the blocks of a row.
    first: the bytes of a block of the first row.
    most_direct: the bytes of the largest blocks that hold objects.
    """

    width: int
    first: int
    most_direct: int

    @property
    def direct_rows(self) -> int:
        return (self.most_direct // self.first).bit_length() + 1

    def block_size(self, row: int) -> int:
        return self.first << max(0, row - 1)

    def place(self, offset: int) -> tuple[int, int, int]:
        """Return the row, the column, and the rest of an offset."""
        whole = self.first * self.width
        row = (offset // whole).bit_length()
        start = whole << (row - 1) if row else 0
        column, rest = divmod(offset - start, self.block_size(row))
        return row, column, rest

    def rows(self, size: int) -> int:
        """Return the rows of an indirect block that covers so many bytes."""
        return (size // (self.first * self.width)).bit_length()


class FractalHeap:
    """A fractal heap. Raises Unknown for filters, and for objects too large for its blocks."""

    def __init__(self, blocks: Blocks, address: int) -> None:
        self.blocks, self.address = blocks, address
        fields = HEADER.unpack(blocks.read_checked(address, HEADER.size))
        signature, version, self.id_size, filters, flags, self.most_managed = fields[:6]
        free_space = fields[9]
        width, first, most_direct, bits, _, self.root, self.root_rows = fields[18:25]
        if signature != b"FRHP" or version or filters or flags & ~(CHECKED_BLOCKS | 1):
            raise Unknown("a fractal heap")
        sizes = (width, first, most_direct)
        if any(size.bit_count() != 1 for size in sizes) or most_direct < first or not 8 <= bits <= 64:
            raise Unknown("a doubling table")
        self.table = _Table(width, first, most_direct)
        self.checked = bool(flags & CHECKED_BLOCKS)
        self.offset_size = -(-bits // 8)
        self.length_size = min((most_direct.bit_length() - 1) // 8 + 1, (self.most_managed.bit_length() - 1) // 8 + 1)
        self.indirect: dict[int, bytes] = {}
        self.direct: set[int] = set()
        if self.root_rows > bits or self.id_size < 1 + self.offset_size + self.length_size:
            raise Unknown("a fractal heap")
        if free_space != UNDEFINED:  # the library reads it for the size of the heap
            data = blocks.read_checked(free_space, FREE_SPACE_BYTES)
            if not data.startswith(b"FSHD\0\0"):
                raise Unknown("a manager of free space")

    def read(self, identifier: bytes) -> bytes:
        """Return the object with an identifier."""
        # a huge object has an address of its own, and a tiny one is in its identifier
        if identifier[0] & VERSION or identifier[0] & KIND:
            raise Unknown("an object outside of the heap's blocks")
        end = 1 + self.offset_size
        offset = int.from_bytes(identifier[1:end], "little")
        length = int.from_bytes(identifier[end : end + self.length_size], "little")
        if not length or self.root == UNDEFINED:
            raise Unknown("an object without bytes")
        address, rest, size = self._block(offset)
        if rest < 5 + 8 + self.offset_size or rest + length > size:
            raise Unknown("an object beyond its block")
        return self.blocks.read(address + rest, length)

    def _block(self, offset: int) -> tuple[int, int, int]:
        """Return the address of the direct block with an offset, the rest of the offset, and the size of the block."""
        address, rows, start = self.root, self.root_rows, 0
        rest = offset
        size = self.table.first
        while rows:
            row, column, rest = self.table.place(rest)
            if row >= rows:
                raise Unknown("an offset beyond the heap")
            size = self.table.block_size(row)
            # the blocks of the first rows hold objects, and those of later rows hold blocks
            data = self._indirect(address, rows, start)
            at = 5 + 8 + self.offset_size + 8 * (row * self.table.width + column)
            address, start = int.from_bytes(data[at : at + 8], "little"), offset - rest
            rows = 0 if row < self.table.direct_rows else self.table.rows(size)
        self._check_direct(address, start, size)
        return address, rest, size

    def _indirect(self, address: int, rows: int, start: int) -> bytes:
        if address not in self.indirect:
            length = 5 + 8 + self.offset_size + 8 * rows * self.table.width + 4
            data = self.blocks.read_checked(address, length)
            self._check_head(data, b"FHIB\0", start)
            self.indirect[address] = data
        return self.indirect[address]

    def _check_direct(self, address: int, start: int, size: int) -> None:
        if address in self.direct:
            return
        self.direct.add(address)
        data = self.blocks.read(address, size)
        self._check_head(data, b"FHDB\0", start)
        if self.checked:  # of all of the block, with zeros in its own place
            at = 5 + 8 + self.offset_size
            checksum = int.from_bytes(data[at : at + 4], "little")
            self.blocks.checksums.add_hash(data[:at] + bytes(4) + data[at + 4 :], checksum)

    def _check_head(self, data: bytes, signature: bytes, start: int) -> None:
        head = signature + self.address.to_bytes(8, "little") + start.to_bytes(self.offset_size, "little")
        if not data.startswith(head):
            raise Unknown("a block of a fractal heap")
