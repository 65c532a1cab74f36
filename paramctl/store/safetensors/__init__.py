"""The safetensors format: a JSON header followed by the bytes of the tensors."""

from __future__ import annotations

from paramctl.store.location import Location
from paramctl.store.sums import KEY

NAME = "safetensors"
SHARDS_NAME = "sharded safetensors"
MAX_HEADER = 100_000_000
"""Bytes of a header, the limit of the safetensors library."""
RECORD = "paramctl"
"""The key of paramctl's own metadata."""
FRAMEWORK = "format"
"""The key of the framework that wrote a file, ``pt`` for torch. transformers refuses a file without it."""
TOTAL = "total_size"
"""The key of the bytes of all values, in the index of a set."""
SUMS = KEY
"""The key of the record of hashes."""
KEYS = (FRAMEWORK, RECORD, TOTAL, SUMS)
"""The keys of metadata that are never the second name of an array."""


def has_header(location: Location) -> bool:
    """Return whether a file begins with the length of a header, and with its first character."""
    start = location.read(0, 9)
    is_length = len(start) > 8 and int.from_bytes(start[:8], "little") <= MAX_HEADER
    return is_length and start[8:] in (b"{", b" ")
