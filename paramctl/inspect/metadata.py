"""The metadata of a checkpoint as rows: everything that its file records beside the arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

from paramctl.store.contents import MetadataItem, Omitted, Origin
from paramctl.store.registry import by_name


class MetadataRow(NamedTuple):
    """A value of a file's metadata.

    place: the path of the group or array that it belongs to; None for the file.
    value: a text, a number, a boolean, a list or a mapping of these; None if it is left out.
    omitted: a description of a value that is left out, such as ``151,936 texts``; else None.
    """

    place: str | None
    key: str
    value: Any
    omitted: str | None


def metadata_rows(origin: Origin) -> list[MetadataRow]:
    """Return the rows of the file that a source comes from. Raises InputError if it is damaged."""
    items = [MetadataItem("", key, value) for key, value in origin.metadata.items()]
    if origin.location is not None and origin.format:
        items += by_name(origin.format).read_metadata(origin.location)
    return [_row(item) for item in items]


def _row(item: MetadataItem) -> MetadataRow:
    is_left_out = isinstance(item.value, Omitted)
    value = None if is_left_out else item.value
    return MetadataRow(item.place or None, item.key, value, str(item.value) if is_left_out else None)
