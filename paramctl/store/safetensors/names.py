"""The names that safetensors files can hold, so that a tie is never taken for other metadata or the reverse."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from paramctl.errors import OutputError
from paramctl.store.names import bad_name, check_unicode
from paramctl.store.safetensors import KEYS
from paramctl.store.safetensors.header import MAX_ARRAYS, METADATA


def check_names(names: Collection[str], tied: Iterable[str], target: str) -> None:
    """Raise OutputError for a name that the header, or the metadata for a tied name, has another meaning for."""
    check_unicode(names, target)
    if METADATA in names:
        hint = f"Rename the array with --rename '{METADATA}=NAME'"
        raise bad_name(target, f"safetensors reserves the name {METADATA!r} for a file's metadata", METADATA, hint)
    for name in tied:
        if name in KEYS:
            rule = "safetensors stores a tie under the second name, which must not be a key of the metadata"
            raise bad_name(target, rule, name)
    if len(names) > MAX_ARRAYS:
        raise OutputError(f"{target}: a file may have at most {MAX_ARRAYS:,} arrays (got {len(names):,})")
