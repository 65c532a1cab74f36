"""Dialect: a framework's layout of HDF5 files. The registry of formats hands dialects to the reader of HDF5."""

from __future__ import annotations

from typing import Protocol

from paramctl.store.checkpoint import Checkpoint
from paramctl.store.hdf5.listing import Listing


class Dialect(Protocol):
    """A layout that a framework defines on top of HDF5, such as Keras'.

    texts: the group attributes it needs that hold one text.
    lists: the group attributes it needs that hold a list of texts.
    """

    @property
    def texts(self) -> tuple[str, ...]: ...

    @property
    def lists(self) -> tuple[str, ...]: ...

    def matches(self, listing: Listing) -> bool:
        """Return whether a file has this layout.

        Raises InputError for a file that has the layout's marks and breaks its rules.
        """

    def read(self, listing: Listing) -> Checkpoint:
        """Return the checkpoint in a file that matches."""
