"""HDF5: paramctl's native files, and any other HDF5 file that holds arrays.

The HDF5 library runs in a worker process, because a small damaged file can crash it. The parent never loads it.

In the parent:
format.py         read and write files
dialect.py        the protocol of a framework's layout, such as Keras'
listing.py        the worker's list of a file, as parameters and readers
client.py         the handle on a worker process
native.py         names that both processes share

In the worker:
worker.py         the request loop
limits.py         limits on memory and time
parser.py         opens a file and lists its contents
walk.py           visits groups and links within budgets
claims.py         checks the sizes that datasets claim
element_types.py  HDF5 types as NumPy dtypes
values.py         reads values that have no extent
layout.py         lays out new files
carry_over.py     copies attributes and non-numeric data from another file
window.py         a part of a file as a file
refusal.py        the error for a file that is not read
"""

from __future__ import annotations

from paramctl.store.location import Location

NAME = "HDF5"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_USER_BLOCK = 1 << 26
"""Bytes of a user block. The specification has no limit, but a pipe must be read up to it."""


def user_block(location: Location) -> int | None:
    """Return the bytes before the superblock of an HDF5 file, None for any other file.

    A user block, such as the text of a MATLAB file, has 512 bytes or a larger power of two.
    """
    offset = 0
    while offset <= MAX_USER_BLOCK:
        start = location.read(offset, len(SIGNATURE))
        if start == SIGNATURE:
            return offset
        if len(start) < len(SIGNATURE):
            break
        offset = max(512, 2 * offset)
    return None
