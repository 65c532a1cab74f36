"""The checksums of a file's structures, which are checked many at a time."""

from __future__ import annotations

from paramctl.store.hdf5.metadata_reader.unknown import Unknown

TOGETHER = 4_096
"""Structures to check at once."""
MAX_BYTES = 1 << 24
"""Bytes of the structures to check at once, each as long as the longest."""
MAX_LENGTH = 1 << 17
"""Bytes of one structure. The hash takes a step for every 12 bytes, for one as for thousands."""


class Checksums:
    """Structures whose checksum is still to be checked: (the bytes, the checksum)."""

    def __init__(self) -> None:
        self.pending: list[tuple[bytes, int]] = []
        self.bytes = 0

    def add(self, data: bytes) -> None:
        """Add a structure that ends with its checksum."""
        self.add_hash(data[:-4], int.from_bytes(data[-4:], "little"))

    def add_hash(self, data: bytes, checksum: int) -> None:
        """Add bytes and their checksum."""
        if len(data) > MAX_LENGTH:
            raise Unknown("a long structure with a checksum")
        self.pending.append((data, checksum))
        self.bytes += len(data)
        if len(self.pending) >= TOGETHER or self.bytes > MAX_BYTES:
            self.check()

    def check(self) -> None:
        """Check all that was added. Raises Unknown if one is wrong."""
        if not self.pending:
            return
        from paramctl.store.hdf5.metadata_reader.lookup3 import lookup3  # a worker starts while this loads NumPy

        # long ones first, so that at each step those that are not yet complete are at the beginning
        pending = sorted(self.pending, key=lambda item: -len(item[0]))
        self.pending, self.bytes = [], 0
        while pending:
            count = max(1, MAX_BYTES // (len(pending[0][0]) + 1))
            some, pending = pending[:count], pending[count:]
            if lookup3([data for data, _ in some]).tolist() != [checksum for _, checksum in some]:
                raise Unknown("a checksum is wrong")
