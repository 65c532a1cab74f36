"""Git LFS: the object that a pointer file names, if the repository has it.

https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""

from __future__ import annotations

import os
import re

from paramctl.errors import InputError

MAX_POINTER = 1024
"""The specification allows no larger pointer."""

_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})\n")
"""A pointer without extensions, which would change the bytes of the object."""


def object_path(pointer: bytes, path: str) -> str | None:
    """Return the path of the object of a pointer file; None for another file, or if the object was not fetched.

    pointer: the content of the file at ``path``. Raises InputError if the object has not the size in the pointer.
    """
    match = _POINTER.fullmatch(pointer)
    git = _git_folder(os.path.dirname(os.path.realpath(path))) if match else None
    if match is None or git is None:
        return None
    oid, size = match[1].decode(), int(match[2])
    stored = os.path.join(git, "lfs", "objects", oid[:2], oid[2:4], oid)
    if not os.path.isfile(stored):
        return None
    if os.path.getsize(stored) != size:
        rule = f"its Git LFS object must have {size:,} bytes (got {os.path.getsize(stored):,})"
        raise InputError(f"{path}: {rule}. Remove {stored}, and fetch it with git lfs pull")
    return stored


def _git_folder(folder: str) -> str | None:
    """Return the folder with the data of the repository that a folder belongs to, or None."""
    while not os.path.lexists(os.path.join(folder, ".git")):
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
    git = os.path.join(folder, ".git")
    # in a submodule or another work tree, .git is a file that names the folder
    if os.path.isfile(git):
        git = os.path.join(folder, _line(git).removeprefix("gitdir: "))
    common = os.path.join(git, "commondir")
    return os.path.join(git, _line(common)) if os.path.isfile(common) else git


def _line(path: str) -> str:
    """Return the first line of a small file."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline(4096).rstrip("\n")
