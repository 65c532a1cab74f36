"""Attributes: their messages, and their values as JSON has them. Texts of variable length are in the global heap."""

from __future__ import annotations

from math import prod
from struct import Struct, unpack_from
from typing import NamedTuple

from paramctl.store.hdf5.metadata_reader.blocks import Blocks
from paramctl.store.hdf5.metadata_reader.btree import read_records
from paramctl.store.hdf5.metadata_reader.datatype import SPACE_PADDED, Datatype, Text, read_datatype
from paramctl.store.hdf5.metadata_reader.fractal_heap import FractalHeap
from paramctl.store.hdf5.metadata_reader.messages import bytes_of, read_dataspace
from paramctl.store.hdf5.metadata_reader.object_header import ATTRIBUTE_INFO, ObjectHeader
from paramctl.store.hdf5.metadata_reader.superblock import UNDEFINED
from paramctl.store.hdf5.metadata_reader.unknown import Unknown

BY_NAME, BY_ORDER = 8, 9
"""The types of B-trees over attributes."""
NAME_RECORD, ORDER_RECORD = Struct("<8sBII"), Struct("<8sBI")
TRACKED, INDEXED = 1, 2
PREFIX, OBJECT, REFERENCE = Struct("<BBHHH"), Struct("<HH4xQ"), Struct("<IQI")
LEAST_COLLECTION = 4_096
MAX_COLLECTIONS = 1_000

Value = str | bool | int | None


class Attribute(NamedTuple):
    """An attribute. shape: None if it has no value. data: the bytes of its value."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...] | None
    data: bytes


class Attributes:
    """The reader of the attributes of one file."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.collections: dict[int, dict[int, bytes]] = {}

    def of(self, header: ObjectHeader) -> list[Attribute]:
        """Return the attributes of an object, in the order of their names. Raises Unknown."""
        messages, info = header.attributes, header.single.get(ATTRIBUTE_INFO)
        if info is not None:
            messages = self._dense(info, messages)
        if not messages:
            return []
        attributes = sorted((self._read(message) for message in messages), key=lambda item: item[0])
        if len({name for name, _ in attributes}) < len(attributes):
            raise Unknown("two attributes of one name")
        return [attribute for _, attribute in attributes]

    def _dense(self, info: bytes, messages: list[bytes]) -> list[bytes]:
        """Return the messages of an object, those in its fractal heap if it has one."""
        flags = info[1]
        if info[0] or flags & ~(TRACKED | INDEXED):
            raise Unknown("attributes of another version")
        at = 4 if flags & TRACKED else 2
        heap, names = unpack_from("<QQ", info, at)
        if heap == UNDEFINED:  # a few attributes, in the object header
            return messages
        if messages:
            raise Unknown("attributes in two forms")
        reader, dense, before = FractalHeap(self.blocks, heap), [], -1
        orders = {}
        for record in read_records(self.blocks, names, BY_NAME, NAME_RECORD.size):
            identifier, message_flags, order, checksum = NAME_RECORD.unpack(record)
            if message_flags or checksum < before:
                raise Unknown("an attribute that is shared, or out of order")
            before = checksum
            orders[order] = identifier
            message = reader.read(identifier)
            self.blocks.checksums.add_hash(_name(message)[0], checksum)  # the library finds a name by it
            dense.append(message)
        if flags & INDEXED:
            records = read_records(self.blocks, unpack_from("<Q", info, at + 16)[0], BY_ORDER, ORDER_RECORD.size)
            if [ORDER_RECORD.unpack(record) for record in records] != [(orders[key], 0, key) for key in sorted(orders)]:
                raise Unknown("two indexes that differ")
        return dense

    def _read(self, message: bytes) -> tuple[bytes, Attribute]:
        """Return an attribute with the bytes of its name, given its message."""
        name, at = _name(message)
        version, _, _, type_size, space_size = PREFIX.unpack_from(message)
        type_end = at + type_size
        space_at = at + (_padded(type_size) if version == 1 else type_size)
        space_end = space_at + space_size
        datatype = read_datatype(message[at:type_end])
        shape = read_dataspace(message[space_at:space_end])
        start = space_at + (_padded(space_size) if version == 1 else space_size)
        size = 0 if shape is None else bytes_of(shape, datatype.element.size)
        data = message[start : start + size]
        if len(data) != size:
            raise Unknown("an attribute without its value")
        return name, Attribute(name.decode("utf-8"), datatype, shape, data)

    def value(self, attribute: Attribute) -> Value:
        """Return the value of an attribute if it is one text, boolean or integer, else None. Raises Unknown."""
        _, datatype, shape, data = attribute
        if shape != () or (datatype.element.name is None and datatype.text is None):
            return None
        name = datatype.element.name
        if name == "bool":
            if data[0] > 1:  # neither FALSE nor TRUE
                raise Unknown("a boolean")
            return bool(data[0])
        if name is not None and "int" in name:
            data = data[::-1] if datatype.element.order == ">" else data
            return int.from_bytes(data, "little", signed=name.startswith("int"))
        return None if datatype.text is None else self._text(datatype, data)

    def texts(self, attribute: Attribute) -> list[Value]:
        """Return the texts of an attribute that holds a list of them. Raises Unknown."""
        _, datatype, shape, data = attribute
        if shape is None:
            raise Unknown("a list without a shape")
        if not prod(shape):
            return []
        if datatype.text is None:
            raise Unknown("a list that is not of texts")
        size = datatype.element.size
        return [self._text(datatype, data[at : at + size]) for at in range(0, len(data), size)]

    def _text(self, datatype: Datatype, data: bytes) -> str:
        if datatype.text is Text.VARIABLE:
            length, collection, index = REFERENCE.unpack(data)
            data = self._collection(collection).get(index, b"")
            # the library returns a text of no bytes in two forms, and ends a text at a NUL
            if not length or len(data) != length or b"\0" in data:
                raise Unknown("a text in the global heap")
            return data.decode("utf-8")
        return read_text(datatype, data)

    def _collection(self, address: int) -> dict[int, bytes]:
        """Return the objects of a collection of the global heap, by index."""
        if address in self.collections:
            return self.collections[address]
        head = self.blocks.read(address, 16)
        size = int.from_bytes(head[8:], "little")
        if head[:8] != b"GCOL\x01\0\0\0" or size < LEAST_COLLECTION:
            raise Unknown("a global heap")
        data, at = self.blocks.read(address, size), 16
        objects: dict[int, bytes] = {}
        while at + OBJECT.size <= size:
            index, _, length = OBJECT.unpack_from(data, at)
            if not index:  # the free space
                if length != size - at:
                    raise Unknown("free space that is not the rest of the heap")
                break
            at += OBJECT.size
            if at + length > size or index in objects:
                raise Unknown("an object beyond the heap")
            objects[index] = data[at : at + length]
            at += _padded(length)
        # each has at least 4 KiB, and a writer fills one after the other
        if len(self.collections) >= MAX_COLLECTIONS:
            self.collections.clear()
        self.collections[address] = objects
        return objects


def read_text(datatype: Datatype, data: bytes) -> str:
    """Return a text of fixed length. Raises Unknown."""
    # NumPy keeps the spaces, and the library does not
    if datatype.padding >= SPACE_PADDED:
        raise Unknown("a text padded with spaces")
    text = data.rstrip(b"\0")
    if b"\0" in text:
        raise Unknown("a text with a NUL")
    return text.decode("utf-8", "replace")


def _name(message: bytes) -> tuple[bytes, int]:
    """Return the name of an attribute, and where the next part of its message begins."""
    version, flags, name_size, _, _ = PREFIX.unpack_from(message)
    if version not in (1, 2, 3) or flags:
        raise Unknown("an attribute of another version, or with a shared type")
    at = 9 if version == 3 else 8
    name = message[at : at + name_size]
    if len(name) != name_size or name.find(b"\0") != name_size - 1 or name_size < 2:
        raise Unknown("the name of an attribute")
    return name[:-1], at + (_padded(name_size) if version == 1 else name_size)


def _padded(size: int) -> int:
    return (size + 7) & ~7
