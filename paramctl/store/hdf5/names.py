"""The paths that HDF5 files can hold."""

from __future__ import annotations

import re
from collections.abc import Sequence

from paramctl.errors import OutputError
from paramctl.store.hdf5.native import MAX_DEPTH, MAX_OBJECTS, MAX_PATH, METADATA_GROUP
from paramctl.store.names import bad_name, check_unicode


def check_paths(paths: Sequence[str], target: str) -> None:
    """Raise OutputError for a path that HDF5 cannot hold, would resolve to another one, or the parser refuses."""
    check_unicode(paths, target)
    groups = {path[: match.start()] for path in paths for match in re.finditer("/", path)}
    if len(paths) + len(groups) > MAX_OBJECTS:
        rule = f"an HDF5 file may have at most {MAX_OBJECTS:,} arrays and groups"
        raise OutputError(f"{target}: {rule} (got {len(paths) + len(groups):,})")
    for path in paths:
        parts = path.split("/")
        if "\0" in path or len(path) > MAX_PATH or not {"", ".", ".."}.isdisjoint(parts):
            rule = (
                f"an HDF5 path has at most {MAX_PATH:,} characters, no NUL, and parts joined by '/', none of which "
                "is empty, '.' or '..'"
            )
            raise bad_name(target, rule, path)
        if len(parts) > MAX_DEPTH:
            raise bad_name(target, f"an HDF5 path has at most {MAX_DEPTH} parts joined by '/'", path)
        if path in groups:
            raise bad_name(target, "other names begin with the name of an array", path)
        if parts[0] == METADATA_GROUP:
            raise bad_name(target, f"{METADATA_GROUP!r} is reserved for metadata", path)
