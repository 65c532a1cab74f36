"""The names that npz files can hold, so that NumPy reads each array under its own name."""

from __future__ import annotations

from collections.abc import Collection

from paramctl.errors import OutputError
from paramctl.store.io.zips import MAX_DIRECTORY, MAX_MEMBERS
from paramctl.store.names import bad_name, check_unicode

SUFFIX = ".npy"
MAX_NAME = 65_535 - len(SUFFIX)
"""Bytes of a name: a zip's limit, without the suffix of the member."""


def check_names(names: Collection[str], target: str) -> None:
    """Raise OutputError for a name that a zip cannot hold, or that NumPy takes for another one."""
    check_unicode(names, target)
    known, total = set(names), 0
    for name in names:
        size = len(name.encode())
        total += size
        if "\0" in name or size > MAX_NAME:  # zipfile would cut a name at its NUL
            raise bad_name(target, f"npz names must have at most {MAX_NAME:,} bytes and no NUL", name)
        # for "w.npy", numpy.load returns the member "w.npy", which holds the array "w"
        if name.endswith(SUFFIX) and name.removesuffix(SUFFIX) in known:
            raise bad_name(target, "numpy.load takes a name that ends in .npy for the name without it", name)
    if len(names) > MAX_MEMBERS:
        raise OutputError(f"{target}: an npz may have at most {MAX_MEMBERS:,} arrays (got {len(names):,})")
    if total > MAX_DIRECTORY // 4:  # the rest is for the comments
        raise OutputError(f"{target}: all names together may have at most {MAX_DIRECTORY // 4:,} bytes (got {total:,})")
