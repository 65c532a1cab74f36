"""npz files, read and written as numpy.savez writes them: a zip of npy files.
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

Pickles are never loaded. A member that is stored in C order is read by its extent; one in Fortran order, or compressed,
in slabs. The zip's comments hold the metadata: a member's its dtype, if NumPy lacks it, and what is known of the
parameter; the archive's the document, the ties and the versions.
"""

from __future__ import annotations

from paramctl.store.npz.npy import npy_header
from paramctl.store.npz.reading import read
from paramctl.store.npz.writing import write, write_model

__all__ = ["clear_provenance", "npy_header", "read", "write", "write_model"]


def clear_provenance(temporary: object, paths: object) -> None:
    """Do nothing: an npz is only edited in place where no value changes, so every scheme and seed stays true."""
