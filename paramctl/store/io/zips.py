"""Zip archives, such as npz and ``.keras`` files, opened within limits.

https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

from paramctl.errors import InputError
from paramctl.store.location import Location

MAX_MEMBERS = 100_000
MAX_DIRECTORY = 1 << 26
"""Bytes of the central directory, which zipfile reads at once."""
LOCAL_HEADER = 30
"""Bytes of a local header before the member's name."""
END_RECORD = 22
"""Bytes of the record at the end of an archive before its comment, whose length is the last field."""
SIGNATURE = b"PK"
END_SIGNATURE = b"PK\5\6"
DIRECTORY_ENTRY = b"PK\1\2"

ENCRYPTED = 1
"""The flag of a member that needs a password."""
AT_ONCE = 1 << 20

ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, OverflowError, RuntimeError)
"""The exceptions that zipfile raises for a damaged archive, and DamagedZip."""


class DamagedZip(ValueError):
    """An archive, or a member of one, that is damaged or over a limit. The caller adds the file's name."""


class _GuardedFile(io.BufferedReader):
    """A file that limits the central directory while zipfile opens it.

    zipfile believes the size that the archive claims for its directory, reads all of it, and makes an object of each
    entry, before any caller can look.
    """

    guarded = True

    def read(self, size: int | None = -1, /) -> bytes:
        if self.guarded and size is not None and size > MAX_DIRECTORY:
            raise DamagedZip(f"the central directory may have at most {MAX_DIRECTORY:,} bytes (got {size:,})")
        data = super().read(size)
        # the directory's own count of members may be false, so its entries are counted
        if self.guarded and data.count(DIRECTORY_ENTRY) > MAX_MEMBERS:
            raise DamagedZip(f"more than {MAX_MEMBERS:,} members")
        return data


def open_zip(file: Location) -> zipfile.ZipFile:
    """Open an archive. Raises one of ZIP_ERRORS if its central directory is damaged or too large."""
    if file.read(0, 2) != SIGNATURE:  # zipfile searches for the end record alone
        raise DamagedZip("the signature at its beginning is missing")
    guarded = _GuardedFile(file.as_file())
    archive = zipfile.ZipFile(guarded)
    guarded.guarded = False  # the limit is for the directory only: a member may have any size
    _check_whole_comment(file, len(archive.comment))
    return archive


def _check_whole_comment(file: Location, length: int) -> None:
    """Raise DamagedZip if an archive ends within its comment, of which zipfile has read this many bytes.

    zipfile returns the rest of the comment, and an npz would lose its document and ties without an error.
    """
    size = file.size()
    record = file.read(size - length - END_RECORD, END_RECORD)
    if record.startswith(END_SIGNATURE) and (claimed := int.from_bytes(record[-2:], "little")) > length:
        raise DamagedZip(f"truncated within its comment: {length:,} of {claimed:,} bytes")


@contextmanager
def zip_errors(file: Location) -> Iterator[None]:
    """Turn every error of a damaged zip archive into an InputError that names the file."""
    try:
        yield
    except DamagedZip as error:
        raise InputError(f"{file.name}: {error}") from error
    except InputError:
        raise
    except ZIP_ERRORS as error:
        reason = " ".join(str(error).split()) or "unexpected end"
        raise InputError(f"{file.name}: damaged zip file ({reason})") from error


def member_names(file: Location) -> frozenset[str]:
    """Return the names of an archive's members, or none if it is damaged."""
    try:
        return frozenset(open_zip(file).namelist())
    except ZIP_ERRORS:
        return frozenset()


def verify_checksums(file: Location) -> None:
    """Check the members of a zip archive against their checksums. Raises InputError for a damaged one."""
    if file.connections > 1:
        # a temporary copy of the file, or of the whole of which it is a part, so that a server sends the values once
        getattr(file, "whole", file).descriptor()
    try:
        _check_stored_members(file)
    except ZIP_ERRORS as error:
        raise InputError(f"{file.name}: damaged zip file ({' '.join(str(error).split())})") from error


def _check_stored_members(file: Location) -> None:
    """Check the stored members of an archive against their CRC-32. Raises DamagedZip for one that differs."""
    members = open_zip(file).infolist()
    if not any(member.CRC for member in members):  # torch can leave them out, and then writes zeros
        return
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            continue  # zipfile checks compressed members as they are read; stored ones are read by their offset
        offset, left, checksum = data_offset(file, member), member.file_size, 0
        while left:
            block = file.read(offset, min(AT_ONCE, left))
            if not block:
                raise DamagedZip(f"truncated within {member.filename}")
            checksum = zlib.crc32(block, checksum)
            offset, left = offset + len(block), left - len(block)
        if checksum != member.CRC:
            raise DamagedZip(f"{member.filename} does not match its CRC-32 checksum")


def data_offset(file: Location, member: zipfile.ZipInfo) -> int:
    """Return the offset of a member's data.

    The sizes come from the local header: its extra field may be longer than the central directory's.
    """
    header = file.read(member.header_offset, LOCAL_HEADER)
    name, extra = struct.unpack("<HH", header[26:LOCAL_HEADER])  # the lengths of the two fields after the header
    return member.header_offset + LOCAL_HEADER + int(name) + int(extra)


def check_members(members: Sequence[zipfile.ZipInfo], methods: str) -> None:
    """Raise DamagedZip for a member that is encrypted, not stored and not deflated, or that overlaps another.

    methods: the compression methods of the format, for the message.
    """
    for member in members:
        name = repr(member.filename)
        if member.flag_bits & ENCRYPTED:
            raise DamagedZip(f"the member {name} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DamagedZip(f"the member {name} has an unsupported compression method ({methods})")
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise DamagedZip(f"the member {name} is not compressed but has two different sizes")
    # overlapping members are how a zip bomb of 40 KB makes gigabytes
    for first, second in pairwise(sorted(members, key=lambda member: member.header_offset)):
        if first.header_offset + LOCAL_HEADER + first.compress_size > second.header_offset:
            raise DamagedZip(f"the members {first.filename!r} and {second.filename!r} overlap")
