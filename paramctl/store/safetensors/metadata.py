"""The metadata of safetensors files and sets: paramctl's own record as items, and changes of the other keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from paramctl.errors import OutputError, message
from paramctl.store.contents import MetadataItem
from paramctl.store.io.atomic import Temporary
from paramctl.store.io.json_limits import parse_json
from paramctl.store.io.shard_index import read_index
from paramctl.store.location import BLOCK_BYTES, Location
from paramctl.store.metadata import record_items, sums_item
from paramctl.store.safetensors import FRAMEWORK, MAX_HEADER, RECORD, SUMS, TOTAL
from paramctl.store.safetensors.files import parse_record
from paramctl.store.safetensors.header import METADATA, header_text, parse_header


def read_record(location: Location) -> Iterator[MetadataItem]:
    """Yield paramctl's own record of a file."""
    header = parse_header(location)
    yield from sums_item(header.metadata)
    yield from record_items(parse_record(header.metadata, len(header.entries)))


def read_index_record(location: Location) -> Iterator[MetadataItem]:
    """Yield paramctl's own record of a set."""
    index = read_index(location)
    yield from sums_item(index.metadata)
    yield from record_items(parse_record(index.metadata, len(index.weight_map)))


def change(temporary: Temporary, location: Location, changes: Mapping[str, str | None]) -> None:
    """Write a copy of a file with other metadata; see Format.change_metadata. Its values are copied as they are."""
    header = parse_header(location)
    metadata = _changed(header.metadata, changes, header.entries, temporary.target)
    entries: dict[str, Any] = {METADATA: metadata} if metadata else {}
    data = header_text(entries | {name: entry.as_json() for name, entry in header.entries.items()})
    data += b" " * (-len(data) % 8)
    # the offsets in a header count from its end, so they stay the same when its length changes
    if len(data) > MAX_HEADER:
        raise OutputError(f"{temporary.target}: the header must have at most {MAX_HEADER:,} bytes (got {len(data):,})")
    temporary.write(len(data).to_bytes(8, "little") + data, 0)
    source, target = header.start, 8 + len(data)
    while block := location.read(source, BLOCK_BYTES):
        temporary.write(block, target)
        source, target = source + len(block), target + len(block)


def change_index(temporary: Temporary, location: Location, changes: Mapping[str, str | None]) -> None:
    """Write a copy of an index with other metadata."""
    weight_map = read_index(location).weight_map
    index = parse_json(location.read(0, location.size()).decode())
    index["metadata"] = _changed(index.get("metadata") or {}, changes, weight_map, temporary.target)
    temporary.write((json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode(), 0)


def _changed(
    metadata: Mapping[str, Any], changes: Mapping[str, str | None], arrays: Mapping[str, Any], target: str
) -> dict[str, Any]:
    """Return changed metadata. Raises OutputError for a key, or a text, that has a meaning for the arrays."""
    changed = dict(metadata)
    for key, text in changes.items():
        # {"format": "pt"} is no tie in a file that has an array called pt
        is_tie = key not in arrays and metadata.get(key) in arrays
        # without a record of hashes a file is as others write it; a text would be a false one
        if key in (RECORD, TOTAL) or (key == SUMS and text is not None) or (is_tie and key != FRAMEWORK):
            reason = f"records a tie with {metadata[key]}" if is_tie else "describes the arrays"
            hint = "Use: paramctl untie" if is_tie else ""
            raise OutputError(message(f"{target}: the metadata {key!r} {reason}, so it cannot be changed", hint=hint))
        # Hugging Face's helpers read {second name: first name} as a tie
        if text is not None and text in arrays and key not in arrays:
            raise OutputError(f"{target}: the text {text!r} of {key!r} is the name of an array, so it would be a tie")
        if text is None and key == FRAMEWORK:
            raise OutputError(f"{target}: transformers refuses a file without the metadata {key!r}")
        if text is None and key not in changed:
            raise OutputError(f"{target}: has no metadata {key!r}")
        changed[key] = text
    return {key: text for key, text in changed.items() if text is not None or key not in changes}
