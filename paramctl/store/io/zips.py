"""Zips: the archives that npz and Keras' files are, opened within limits.

https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from paramctl.store.location import Location

MOST_MEMBERS = 100_000
MOST_DIRECTORY = 1 << 26
LOCAL = 30
"""How many bytes stand before a member's name and its values."""

AT_ONCE = 1 << 20
WEIGHTS = "model.weights.h5"

DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, OverflowError, RuntimeError)
"""What reading a zip raises that is damaged."""


class Damaged(ValueError):
    """What is wrong with a file."""


class _Wary(io.BufferedReader):
    """A file that is a zip: its directory is only read if it is of a size that can be."""

    wary = True

    def read(self, size: int | None = -1, /) -> bytes:
        if self.wary and size is not None and size > MOST_DIRECTORY:
            raise Damaged(f"its directory has {size:,} bytes; at most {MOST_DIRECTORY:,} are allowed")
        data = super().read(size)
        if self.wary and data.count(b"PK\1\2") > MOST_MEMBERS:
            raise Damaged(f"it has more than {MOST_MEMBERS:,} members")
        return data


def opened(file: Location) -> zipfile.ZipFile:
    """The zip, its directory within limits."""
    wary = _Wary(io.FileIO(file.descriptor(), closefd=False))
    archive = zipfile.ZipFile(wary)
    wary.wary = False
    return archive


def is_keras(file: Location) -> bool:
    """Whether a zip is Keras' archive and no npz."""
    try:
        names = opened(file).namelist()
    except DAMAGED:
        return False
    return "config.json" in names and WEIGHTS in names


def check_sums(file: Location) -> None:
    """Read what is stored as it is in a zip, and hold it against its sums. Raises Damaged."""
    for member in opened(file).infolist():
        if member.compress_type == zipfile.ZIP_STORED:  # what is not is held against its sum as it is read
            offset, left, total = data_offset(file, member), member.file_size, 0
            while left:
                block = file.read(offset, min(AT_ONCE, left))
                if not block:
                    raise Damaged(f"it ends within {member.filename}")
                total = zlib.crc32(block, total)
                offset, left = offset + len(block), left - len(block)
            if total != member.CRC:
                raise Damaged(f"{member.filename} has not the sum (CRC-32) that was written with it")


def data_offset(file: Location, member: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes begin: after its local header, which may be longer than the central one."""
    local = file.read(member.header_offset, LOCAL)
    name, extra = struct.unpack("<HH", local[26:LOCAL])
    return member.header_offset + LOCAL + int(name) + int(extra)
