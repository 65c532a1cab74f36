"""The storage of a dataset, as the HDF5 library describes it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from h5py import h5d

from paramctl.store.hdf5.claims import Storage
from paramctl.store.hdf5.refusal import Refused


def storage_of(dataset: Any, properties: Any) -> Storage:
    """Return the storage of a dataset, given its creation properties."""
    layout = properties.get_layout()
    size = dataset.get_storage_size()
    # a compact dataset is inside its object header, so only a contiguous one has an offset. Without storage, the
    # library adds the size of a user block to an undefined address
    offset = dataset.get_offset() if layout == h5d.CONTIGUOUS and size else None
    return Storage(offset, size, properties.get_chunk() if layout == h5d.CHUNKED else None)


def has_unknown_values(dataset: Any, properties: Any, shape: Sequence[int]) -> bool:
    """Return whether some values were never written, and have no fill value: the library would leave memory unset."""
    is_filled = properties.get_fill_time() != h5d.FILL_TIME_NEVER
    if (is_filled and properties.fill_value_defined() != h5d.FILL_VALUE_UNDEFINED) or not prod(shape):
        return False
    if properties.get_layout() != h5d.CHUNKED:
        return not dataset.get_storage_size()
    chunk = properties.get_chunk()
    if len(chunk) != len(shape):  # refused as a claim
        return False
    return bool(dataset.get_num_chunks() < prod(-(-size // part) for size, part in zip(shape, chunk, strict=True)))


def check_inside(properties: Any, path: str) -> None:
    """Raise Refused for a dataset whose values are in another file, given its creation properties.

    External storage lets a checkpoint read any file of its user, such as /etc/passwd (CVE-2026-1669).
    """
    if properties.get_external_count():
        raise Refused(f"{path} has external storage, which paramctl never reads")
    if properties.get_layout() == h5d.VIRTUAL:
        raise Refused(f"{path} is a virtual dataset, which paramctl never reads")
