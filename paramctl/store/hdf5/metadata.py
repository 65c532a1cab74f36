"""The metadata of HDF5 files: the attributes of the file, its groups and its arrays, and paramctl's own record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paramctl.errors import InputError, OutputError
from paramctl.store.contents import MetadataItem, Omitted
from paramctl.store.hdf5.client import Client, WorkerExited
from paramctl.store.hdf5.files import parse_metadata
from paramctl.store.hdf5.listing import list_file, shared_file
from paramctl.store.hdf5.native import ATTRIBUTES, METADATA_GROUP, NUMBERS
from paramctl.store.io.atomic import Temporary
from paramctl.store.location import Location
from paramctl.store.metadata import record_items
from paramctl.store.sums import KEY as SUMS
from paramctl.store.sums import SUMMARY


def read_metadata(location: Location) -> Iterator[MetadataItem]:
    """Yield paramctl's own record, and every attribute. Raises InputError if the file is damaged."""
    record = list_file(location).metadata
    if record is not None:
        # its numbers are attributes of the group
        yield from record_items({key: value for key, value in parse_metadata(record).items() if key not in NUMBERS})
    try:
        answer = Client(location).ask("attributes", file=shared_file(location), native=record is not None)
    except WorkerExited as exited:
        raise InputError(f"{location.name}: {exited}") from exited
    if "error" in answer:
        raise InputError(f"{location.name}: {answer['error']}")
    for place, name, value, *kind in answer["items"]:
        is_own = record is not None and place == METADATA_GROUP
        place, name = ("", f"paramctl.{name}") if is_own else (place, name)
        if name == SUMS and not place:
            value, kind = None, [SUMMARY]
        yield MetadataItem(place, name, Omitted(kind[0]) if kind else value)


def change(temporary: Temporary, location: Location, changes: Mapping[str, str | None]) -> None:
    """Write a copy of a file with other attributes; see Format.change_metadata.

    changes: by NAME for an attribute of the file, and by PATH@NAME for one of a group or an array.
    """
    is_native = list_file(location).metadata is not None
    attributes = []
    for key, text in changes.items():
        place, _, name = key.rpartition("@")
        is_own = is_native and (name in ATTRIBUTES or name == "type" or place.strip("/") == METADATA_GROUP)
        # without a record of hashes a file is as others write it; a text would be a false one
        if name == "dtype" or is_own or (name == SUMS and not place and text is not None):
            raise OutputError(
                f"{temporary.target}: the attribute {key!r} describes the arrays, so it cannot be changed"
            )
        attributes.append([place.strip("/"), name, text])
    temporary.copy(location.descriptor())
    _ask(temporary, attributes)


def _ask(temporary: Temporary, attributes: list[list[Any]]) -> None:
    try:
        answer = Client().ask("set_attributes", path=temporary.address, changes=attributes)
    except WorkerExited as exited:
        raise OutputError(f"{temporary.target}: changing its attributes {exited}") from exited
    if "error" in answer:
        raise OutputError(f"{temporary.target}: {answer['error']}")
