"""Object headers: the messages that describe a group or a dataset."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from paramctl.store.hdf5.metadata_reader.blocks import Blocks
from paramctl.store.hdf5.metadata_reader.unknown import Unknown

NIL, DATASPACE, LINK_INFO, DATATYPE, OLD_FILL_VALUE, FILL_VALUE, LINK, LAYOUT, GROUP_INFO = 0, 1, 2, 3, 4, 5, 6, 8, 10
ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, MODIFICATION_TIME, ATTRIBUTE_INFO, REFERENCE_COUNT = 12, 16, 17, 18, 21, 22
"""The types of messages, those of the specification."""
SINGLE = {
    DATASPACE,
    LINK_INFO,
    DATATYPE,
    OLD_FILL_VALUE,
    FILL_VALUE,
    LAYOUT,
    GROUP_INFO,
    SYMBOL_TABLE,
    MODIFICATION_TIME,
    ATTRIBUTE_INFO,
    REFERENCE_COUNT,
}
"""The messages of which an object has one at most."""
CONSTANT, NEVER_SHARED = 1, 4
KNOWN_FLAGS = {0, CONSTANT, NEVER_SHARED, CONSTANT | NEVER_SHARED}
"""The flags of messages that are in the object header itself."""
MAX_CHUNKS = 1_000
"""Continuation blocks of an object."""

OLD_PREFIX, OLD_MESSAGE = Struct("<BxHII4x"), Struct("<HHB3x")
NEW_MESSAGE, ORDERED_MESSAGE, CONTINUED = Struct("<BHB"), Struct("<BHB2x"), Struct("<QQ")
HAS_CREATION_ORDER, HAS_PHASES, HAS_TIMES, NEW_FLAGS = 4, 16, 32, 0x3F


class ObjectHeader(NamedTuple):
    """An object header.

    single: by type, the data of the messages that occur once. It may be longer than the message.
    attributes, links: the data of those messages, in their order.
    """

    single: dict[int, bytes]
    attributes: list[bytes]
    links: list[bytes]


class _Messages:
    """The messages of one object so far, and the blocks in which others follow."""

    __slots__ = ("continued", "count", "header")

    def __init__(self) -> None:
        self.header = ObjectHeader({}, [], [])
        self.continued: list[tuple[int, int]] = []
        self.count = 0

    def add_other(self, kind: int, data: bytes) -> None:
        """Add a message of which an object may have several."""
        if kind == ATTRIBUTE:
            self.header.attributes.append(data)
        elif kind == LINK:
            self.header.links.append(data)
        elif kind == CONTINUATION:
            self.continued.append(CONTINUED.unpack_from(data))
            if len(self.continued) > MAX_CHUNKS or len(set(self.continued)) < len(self.continued):
                raise Unknown("too many blocks of messages")
        else:
            raise Unknown(f"a message of the type {kind}")


def read_object_header(blocks: Blocks, address: int) -> ObjectHeader:
    """Return the header of the object at an address. Raises Unknown."""
    prefix = blocks.read(address, OLD_PREFIX.size)
    messages = _Messages()
    if prefix[0] == 1:
        _, count, _, size = OLD_PREFIX.unpack(prefix)
        _read(blocks.read(address + OLD_PREFIX.size, size), 0, size, OLD_MESSAGE, messages, 8)
        for at, length in messages.continued:
            _read(blocks.read(at, length), 0, length, OLD_MESSAGE, messages, 8)
        if messages.count != count:  # newer versions do not count them
            raise Unknown("messages are missing")
    elif prefix.startswith(b"OHDR\x02"):
        flags = prefix[5]
        head = 6 + (16 if flags & HAS_TIMES else 0) + (4 if flags & HAS_PHASES else 0)
        width = 1 << (flags & 3)
        # phases: limits on the number of attributes in the header, which the library checks
        if flags & ~NEW_FLAGS or flags & HAS_PHASES:
            raise Unknown("an object header with other flags")
        size = int.from_bytes(blocks.read(address + head, width), "little")
        message = ORDERED_MESSAGE if flags & HAS_CREATION_ORDER else NEW_MESSAGE
        start = head + width
        _read(blocks.read_checked(address, start + size + 4), start, start + size, message, messages)
        for at, length in messages.continued:
            data = blocks.read_checked(at, length)
            if not data.startswith(b"OCHK"):
                raise Unknown("a continuation block without signature")
            _read(data, 4, length - 4, message, messages)
    else:
        raise Unknown("an object header of another version")
    time = messages.header.single.get(MODIFICATION_TIME)
    if time is not None and (len(time) < 8 or time[0] != 1):
        raise Unknown("a modification time of another version")
    return messages.header


def _read(data: bytes, at: int, end: int, head: Struct, messages: _Messages, unit: int = 1) -> None:
    """Read the messages of a block.

    Args:
        data: the block.
        at, end: where its messages begin and end.
        head: the head of each: type, size and flags.
        messages: the messages so far.
        unit: the number of which every size is a multiple.
    """
    unpack, head_size, single = head.unpack_from, head.size, messages.header.single
    count = 0
    while at + head_size <= end:  # fewer bytes are a gap
        kind, size, flags = unpack(data, at)
        at += head_size
        stop = at + size
        if stop > end or size % unit:
            raise Unknown("a message beyond its block")
        count += 1
        if flags not in KNOWN_FLAGS:
            raise Unknown("a message that is shared, or must be understood")
        if kind in SINGLE:
            if kind in single:
                raise Unknown("a message occurs twice")
            single[kind] = data[at:stop]
        elif kind:
            messages.add_other(kind, data[at:stop])
        at = stop
    messages.count += count
    if at != end and unit > 1:
        raise Unknown("a gap between messages")
