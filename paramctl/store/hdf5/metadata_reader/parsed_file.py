"""A parsed file: a walk over its objects, whose results have the form of the worker's answer; see walk.py."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from paramctl.errors import InputError
from paramctl.store.hdf5.budget import Budget
from paramctl.store.hdf5.claims import Claims, Storage
from paramctl.store.hdf5.element import OPAQUE, ArrayEntry, is_opaque, named_by
from paramctl.store.hdf5.limits import size_of_data
from paramctl.store.hdf5.metadata_reader.attribute import Attribute, Attributes, read_text
from paramctl.store.hdf5.metadata_reader.blocks import Blocks
from paramctl.store.hdf5.metadata_reader.datatype import Datatype, Text, read_datatype
from paramctl.store.hdf5.metadata_reader.links import is_group, read_links
from paramctl.store.hdf5.metadata_reader.messages import CACHED, bytes_of, has_fill_value, read_dataspace, read_layout
from paramctl.store.hdf5.metadata_reader.object_header import (
    DATASPACE,
    DATATYPE,
    FILL_VALUE,
    LAYOUT,
    OLD_FILL_VALUE,
    ObjectHeader,
    read_object_header,
)
from paramctl.store.hdf5.metadata_reader.superblock import read_superblock
from paramctl.store.hdf5.metadata_reader.symbol_table import Link
from paramctl.store.hdf5.metadata_reader.unknown import Unknown
from paramctl.store.hdf5.native import ATTRIBUTES, MAX_DEPTH, METADATA_GROUP, NUMBERS, TEXTS
from paramctl.store.hdf5.refusal import Refused
from paramctl.store.location import Location
from paramctl.store.sums import KEY as SUMS

DIGITS = "0123456789"
NOTE = 64
"""Bytes counted for an attribute that is noted again at each path."""
NOT_KNOWN = (Unknown, Refused, struct.error, LookupError, ValueError, OverflowError)
"""The errors of what this reader does not know, or of what the library may refuse."""
MAX_TEXT = 1 << 26
"""Bytes of a text in the metadata group."""


def parse_file(file: Location, begin: int = 0, size: int | None = None) -> ParsedFile:
    """Read the metadata of an HDF5 file.

    Args:
        file, begin, size: the file, and the part of it that is HDF5, in bytes; see list_file.
    """
    left = max(0, file.size() - begin)
    size = left if size is None else max(0, min(size, left))  # a zip's directory may claim more than the file
    parsed = ParsedFile(file, begin, size, min(size, _data_size(file, left)))
    parsed.read()
    return parsed


def _data_size(file: Location, size: int) -> int:
    """Return the bytes of data in a file, without its holes."""
    if file.connections > 1:
        return size
    try:
        return size_of_data(f"/dev/fd/{file.descriptor()}")  # a file with a position of its own
    except OSError:
        return size


class _Dataset(NamedTuple):
    """A dataset without the place of its values.

    shape: None if it is null. size: the bytes of the values.
    has_fill_value: True if values that were never written read as a fill value.
    """

    datatype: Datatype
    shape: tuple[int, ...] | None
    size: int
    has_fill_value: bool

    @classmethod
    def of(cls, header: ObjectHeader) -> _Dataset:
        """Return the dataset that an object header describes. Raises Unknown."""
        single = header.single
        return _dataset(single[DATATYPE], single[DATASPACE], single.get(FILL_VALUE), single.get(OLD_FILL_VALUE))


@lru_cache(CACHED)
def _dataset(datatype: bytes, dataspace: bytes, fill_value: bytes | None, old_fill_value: bytes | None) -> _Dataset:
    """Return a dataset, given its messages: many datasets of a file have the same ones."""
    type_, shape = read_datatype(datatype), read_dataspace(dataspace)
    size, old = type_.element.size, old_fill_value
    # for old releases of the library, beside the newer message
    if old is not None and (fill_value is None or old[:4] != struct.pack("<I", size) or len(old) < 4 + size):
        raise Unknown("a fill value of another version")
    return _Dataset(type_, shape, 0 if shape is None else bytes_of(shape, size), has_fill_value(fill_value, size))


class ParsedFile:
    """A walk over a file, and its results so far. The attributes are those of a Listing."""

    def __init__(self, file: Location, begin: int, size: int, data_size: int) -> None:
        self.blocks = Blocks(file, begin, size, data_size)
        self.budget, self.claims = Budget(data_size), Claims(size)
        self.attributes_of = Attributes(self.blocks)
        self.is_known = False
        """False if only the HDF5 library may list the file."""
        self.arrays: list[ArrayEntry] = []
        self.links: list[list[str]] = []
        self.skipped: dict[str, str] = {}
        self.lost: list[str] = []
        self.attributes: list[str] = []
        self.groups: dict[str, list[Attribute]] = {}
        self.metadata: dict[str, Any] | None = None
        self.first: dict[int, tuple[str, int | None]] = {}
        """By the address of its object header, an array's first path and the offset of its values."""
        self.explained = {"dtype"}
        """The attributes that the native layout or a dtype explains."""

    def read(self) -> None:
        """Read the file, up to the first object that only the library reads."""
        try:
            self._read()
            self.is_known = True
        except InputError:  # the file cannot be read
            raise
        except NOT_KNOWN:
            pass

    def listing(self, texts: Sequence[str], lists: Sequence[str]) -> dict[str, Any] | None:
        """Return the contents as the worker does, None if only the HDF5 library may list the file.

        texts, lists: the attributes of groups to return; see list_file.
        """
        if not self.is_known:
            return None
        try:
            self.blocks.checksums.check()
            groups = {path: self._group_attributes(items, texts, lists) for path, items in self.groups.items()}
        except InputError:
            raise
        except NOT_KNOWN:
            return None
        return {
            "arrays": self.arrays,
            "links": self.links,
            "skipped": self.skipped,
            "lost": self.lost,
            "attributes": self.attributes,
            "metadata": self.metadata,
            "groups": groups,
        }

    def _read(self) -> None:
        self.superblock = read_superblock(self.blocks)
        root = read_object_header(self.blocks, self.superblock.root)
        links = self._links(root)
        self.metadata = self._metadata(links)
        if self.metadata is not None:
            self.explained = {*ATTRIBUTES, "type", "dtype"}
        self.groups[""] = self._noted_attributes(root, "")
        self._visit(links, "", {self.superblock.root})
        self.claims.check_together()

    def _links(self, header: ObjectHeader) -> list[Link]:
        # the library tells the kind of an object by its messages, so no object may have those of two
        if not is_group(header) or DATATYPE in header.single:
            raise Unknown("a group that is also something else")
        return read_links(self.blocks, self.superblock, header)

    def _visit(self, links: Sequence[Link], prefix: str, above: set[int]) -> None:
        """Visit the links of a group. above: the addresses of this group and of those that contain it."""
        for name, address, _ in links:
            path = self.budget.path_of(name, prefix)
            if path == METADATA_GROUP:
                continue
            if address is None:
                self.skipped[path] = "a soft link"
                continue
            header = read_object_header(self.blocks, address)
            if not is_group(header):
                self._visit_dataset(header, address, path)
            elif len(above) >= MAX_DEPTH:
                raise Unknown("groups are nested too deep")
            elif address in above:  # each array has a path that does not pass here again
                self._skip(path, "a hard link to a group that contains it")
            else:
                self.groups[path] = self._noted_attributes(header, path)
                self._visit(self._links(header), f"{path}/", above | {address})

    def _visit_dataset(self, header: ObjectHeader, address: int, path: str) -> None:
        (element, *_), shape, size, has_fill_value = _Dataset.of(header)
        storage = self._storage(header, size)
        attributes = {attribute.name: attribute for attribute in self.attributes_of.of(header)}
        named = self.attributes_of.value(attributes["dtype"]) if "dtype" in attributes else None
        name = element.name
        dtype = named_by(named, element.size) if name == OPAQUE else name
        if dtype is None or shape is None:
            self.skipped[path] = element.words if shape is not None else "a null dataspace"
            return
        unwritten = not storage.size and 0 not in shape
        if unwritten and not has_fill_value:
            self._skip(path, "an array that was never written and has no fill value")
            return
        if attributes:
            self._note(attributes.values(), path)
        # the library refuses it, and so does the worker
        if named is not None and name != OPAQUE and is_opaque(named):
            raise Unknown("an attribute that gives another dtype")
        if address in self.first:  # the object header is the same, so this is a hard link to the same array
            first, offset = self.first[address]
            self.links.append([first, path])
        else:
            offset = self.claims.add(storage, shape, element, path)
            self.first[address] = path, offset
        self.arrays.append(
            {
                "path": path,
                "shape": list(shape),
                "dtype": dtype,
                "order": element.order,
                "offset": offset,
                "unwritten": unwritten,
                "attributes": self._native_attributes(attributes) if attributes and self.metadata is not None else {},
            }
        )

    def _storage(self, header: ObjectHeader, size: int) -> Storage:
        """Return the storage of a dataset's values. size: their bytes."""
        return read_layout(header.single[LAYOUT], size, self.blocks.base, self.blocks.end)

    def _native_attributes(self, attributes: dict[str, Attribute]) -> dict[str, Any]:
        """Return the attributes of the native layout that have the right type."""
        values = ((name, type_, attributes.get(name)) for name, type_ in ATTRIBUTES.items())
        plain = ((name, type_, self.attributes_of.value(item)) for name, type_, item in values if item is not None)
        return {name: value for name, type_, value in plain if isinstance(value, type_)}

    def _skip(self, path: str, kind: str) -> None:
        self.skipped[path] = kind
        self.lost.append(f"{path} ({kind})")

    def _noted_attributes(self, header: ObjectHeader, path: str) -> list[Attribute]:
        """Return the attributes of an object, after they are noted."""
        attributes = self.attributes_of.of(header)
        self._note(attributes, path)
        return attributes

    def _note(self, attributes: Any, path: str) -> None:
        """Note the attributes of an object, except for those that are explained."""
        for attribute in attributes:
            if attribute.name not in self.explained:
                self.blocks.spend(NOTE)
                if attribute.name == SUMS:  # of this file; a new one has its own
                    continue
                subject = f"{attribute.name} of {path or '/'}"
                if attribute.name in ATTRIBUTES:
                    self.lost.append(f"the attribute {subject}")
                else:
                    self.attributes.append(subject)

    def _group_attributes(
        self, attributes: Sequence[Attribute], texts: Sequence[str], lists: Sequence[str]
    ) -> dict[str, Any]:
        """Return the attributes of a group that the caller asked for, with the parts of long lists joined."""
        values: dict[str, Any] = {}
        parts: dict[str, list[tuple[int, list[Any]]]] = {}
        for attribute in attributes:
            name = attribute.name
            base = name.rstrip(DIGITS)
            if name in texts and isinstance(text := self.attributes_of.value(attribute), str):
                values[name] = text
            elif base in lists:  # a list of more than 64 KB is stored as NAME0, NAME1, and so on
                parts.setdefault(base, []).append((int(name[len(base) :] or 0), self.attributes_of.texts(attribute)))
        for base, numbered in parts.items():
            numbered.sort(key=lambda part: part[0])
            if len({number for number, _ in numbered}) < len(numbered):  # such as "names1" and "names01"
                raise Unknown("two parts of one number")
            values[base] = [text for _, part in numbered for text in part]
        return values

    def _metadata(self, links: Sequence[Link]) -> dict[str, Any] | None:
        """Return the contents of paramctl's metadata group, None without one."""
        address = {link.name: link.address for link in links}.get(METADATA_GROUP.encode())
        if address is None:
            return None
        header = read_object_header(self.blocks, address)
        items = {link.name: link.address for link in self._links(header)}
        metadata: dict[str, Any] = {}
        for name in TEXTS:
            item = items.get(name.encode())
            if item is not None:
                header_of_text = read_object_header(self.blocks, item)
                dataset = _Dataset.of(header_of_text)
                if dataset.shape == () and dataset.datatype.text is Text.FIXED:
                    storage = self._storage(header_of_text, dataset.size)
                    metadata[name] = self._text(storage, dataset.datatype, f"{METADATA_GROUP}/{name}")
        for attribute in self.attributes_of.of(header):
            if attribute.name in NUMBERS and isinstance(number := self.attributes_of.value(attribute), int):
                metadata[attribute.name] = number
        return metadata

    def _text(self, storage: Storage, datatype: Datatype, path: str) -> str:
        """Return a scalar text, checked like any other dataset before it is read."""
        if storage.offset is None or storage.size > min(MAX_TEXT, self.blocks.left):
            raise Unknown("a text that was never written, or too long")
        self.claims.add(storage, (), datatype.element, path)
        return read_text(datatype, self.blocks.file.read(self.blocks.begin + storage.offset, storage.size))
