"""Reads of parts of a file, by address, within a budget."""

from __future__ import annotations

from paramctl.store.hdf5.metadata_reader.checksum import Checksums
from paramctl.store.hdf5.metadata_reader.unknown import Unknown
from paramctl.store.location import Location

LOCAL, REMOTE = 14, 12
"""The binary logarithm of the bytes to read at once. The library places metadata together, in pieces of 2 KiB."""
MAX_CACHED = 1 << 25
"""Bytes to keep."""
MAX_STRUCTURE = 1 << 23
"""Bytes of one structure."""
SPARE, MAX_TOTAL = 1 << 20, 1 << 28
"""Bytes to parse beyond twice the data of a file, and at most."""


class Blocks:
    """A file, or the part of one that is HDF5, with the blocks of it that were read.

    Args:
        file: the file.
        begin, size: the part of it, in bytes.
        data_size: the bytes of data in it, without holes. They limit the bytes to parse, each time that it is parsed.
    """

    def __init__(self, file: Location, begin: int, size: int, data_size: int) -> None:
        self.file, self.begin, self.size = file, begin, size
        self.base, self.end = 0, size
        """The offset of address 0, and the address after the last one."""
        self.left = min(2 * data_size + SPARE, MAX_TOTAL)
        self.shift = REMOTE if file.connections > 1 else LOCAL
        self.mask = (1 << self.shift) - 1
        self.blocks: dict[int, bytes] = {}
        """By number, blocks from the base on. The last ends with the last address."""
        self.checksums = Checksums()

    def move_base(self, base: int, end: int) -> None:
        """Count addresses from an offset on, up to an address."""
        self.base, self.end = base, end
        self.blocks.clear()

    def spend(self, size: int) -> None:
        """Count bytes that are parsed. Raises Unknown beyond the budget."""
        self.left -= size
        if self.left < 0:
            raise Unknown("more to parse than a file of this size should have")

    def read(self, address: int, size: int) -> bytes:
        """Return the bytes of a structure. Raises Unknown if the file does not have them."""
        self.left -= size
        block = self.blocks.get(address >> self.shift)
        if block is not None and self.left >= 0:  # almost always
            start = address & self.mask
            data = block[start : start + size]
            if len(data) == size:
                return data
        return self._read_more(address, size)

    def _read_more(self, address: int, size: int) -> bytes:
        """Return the bytes of a structure that is not in a block that was read."""
        if address + size > self.end or size > MAX_STRUCTURE:
            raise Unknown("a structure outside of the file")
        self.spend(0)
        first, last = address >> self.shift, (address + size - 1) >> self.shift
        start = address & self.mask
        data = b"".join([self._block(number) for number in range(first, last + 1)])[start : start + size]
        if len(data) < size:
            raise Unknown("the file is shorter than it says")
        return data

    def read_checked(self, address: int, size: int) -> bytes:
        """Return the bytes of a structure that ends with the checksum of the rest."""
        data = self.read(address, size)
        self.checksums.add(data)
        return data

    def _block(self, number: int) -> bytes:
        block = self.blocks.get(number)
        if block is None:
            if len(self.blocks) >= MAX_CACHED >> self.shift:
                self.blocks.clear()  # to read a block again costs little
            start = number << self.shift
            count = min(1 << self.shift, max(0, self.end - start))
            block = self.file.read(self.begin + self.base + start, count)
            self.blocks[number] = block
        return block
