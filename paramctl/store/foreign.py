"""Files that are neither checkpoints nor documents, recognized by their first bytes, so that an error can name them."""

from __future__ import annotations

from paramctl.errors import InputError
from paramctl.store.location import Location

FOREIGN = {
    (b"\x80\2", b"\x80\4", b"\x80\5"): (
        "a pickle, which can run code, so it is never read. Save its arrays as safetensors"
    ),
    (b"\x93numpy",): "an array without a name (npy). Save it under a name with numpy.savez",
    (b"version https://git-lfs",): "a Git LFS pointer, not the file itself. Fetch it with git lfs pull",
    (b"<!doctype html", b"<html"): "an HTML page, often an error message saved in place of the file",
    (b"gguf",): "GGUF, which is not supported",
    (b"\x1f\x8b",): "compressed with gzip. Decompress it with gunzip",
}
"""The descriptions of such files, by their first bytes in lower case."""


def check_not_foreign(location: Location) -> None:
    """Raise InputError for a file of a known format that is not supported."""
    start = location.read(0, 32).lstrip().lower()  # HTML may begin with white space, and in upper case
    for prefixes, description in FOREIGN.items():
        if start.startswith(prefixes):
            raise InputError(f"{location.name}: {description}")
