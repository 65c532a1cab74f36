"""The error for what the reader does not know."""

from __future__ import annotations


class Unknown(Exception):
    """A part of a file that only the HDF5 library reads. The message is for tests and never shown."""
