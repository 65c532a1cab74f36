"""Errors about a file, in the worker: the parent adds the file's name."""

from __future__ import annotations


class Refused(Exception):
    """A file that the worker does not read or carry over. The message is the reason."""


def library_error(error: Exception) -> str:
    """Return an exception of the HDF5 library, or of a limit, in one line of at most some 300 characters."""
    text = " ".join(str(error.args[0] if error.args else "").split())[:300] or type(error).__name__
    return f"the HDF5 library says: {text}"
