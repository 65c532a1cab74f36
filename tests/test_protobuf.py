"""The wire format of protocol buffers: fields of bytes and of ranges of a file, and every kind of damage."""

from pathlib import Path

import pytest

from paramctl.store.io.protobuf import BYTES, FIXED32, FIXED64, VARINT, Field, message, message_at
from paramctl.store.location import open_location

MESSAGE = bytes.fromhex("089601120774657374696e671d0100008021feffffffffffffff28ffffffffffffffffff01")
"""1: 150, 2: "testing", 3: a fixed32, 4: a fixed64, 5: -1."""


def fields(data: bytes) -> list[Field]:
    return list(message(data).fields())


def test_every_wire_type_is_read() -> None:
    """Numbers are unsigned until the schema says that they are signed."""
    one, two, three, four, five = fields(MESSAGE)
    assert [field.kind for field in (one, two, three, four, five)] == [VARINT, BYTES, FIXED32, FIXED64, VARINT]
    assert (one.number, one.unsigned, one.signed) == (1, 150, 150)
    assert (two.text(), two.read(), len(two.message)) == ("testing", b"testing", 7)
    assert (three.unsigned, three.signed) == (0x80000001, -0x7FFFFFFF)
    assert (four.unsigned, four.signed) == (2**64 - 2, -2)
    assert (five.unsigned, five.signed) == (2**64 - 1, -1)


def test_repeated_integers_may_be_packed() -> None:
    assert [n for field in fields(b"\x08\x03\x0a\x04\x04\x96\x01\x05") for n in field.integers()] == [3, 4, 150, 5]


def test_a_range_of_a_file_is_read_without_its_payloads(tmp_path: Path) -> None:
    """A payload of 1 TB in a sparse file costs nothing. The messages before and behind it are read."""
    size = 10**12
    head = b"\x12" + bytes([*(size >> 7 * i & 0x7F | 0x80 for i in range(5)), size >> 35])
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.write(b"##" + b"\x0a\x02\x08\x01" + head)
        file.seek(size, 1)
        file.write(b"\x0a\x02\x08\x07##")
    location = open_location(str(path))
    before, big, behind = message_at(location, 2, path.stat().st_size - 2).fields()
    assert len(big.message) == size
    assert [next(field.message.fields()).value for field in (before, behind)] == [1, 7]
    with pytest.raises(ValueError, match="must have at most 67,108,864 bytes"):
        big.read()
    location.close()


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"\x08", "truncated within a number"),
        (b"\x08\x96", "truncated within a number"),
        (b"\x1d\x01\x02", "truncated within a number"),
        (b"\x12\x05ab", "a field of 5 bytes is longer than its message"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "more than 64 bits"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "more than 64 bits"),
        (b"\x00\x00", "a number from 1 to 536,870,911"),
        (b"\x0b\x0c", "wire type 3, which is not supported"),
        (b"\x0f\x0c", "wire type 7, which is not supported"),
    ],
)
def test_damage_is_a_value_error(data: bytes, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        fields(data)


def test_a_field_of_another_type_than_the_schemas_is_damage() -> None:
    number, text = fields(b"\x08\x01\x12\x01\xff")
    for wrong in (lambda: number.message, lambda: number.text(), lambda: text.signed, lambda: text.text()):
        with pytest.raises(ValueError, match=r"field [12] must be"):
            wrong()


def test_fields_are_counted_in_nested_messages_too() -> None:
    """Many fields in few bytes cost time and memory, so a file has a budget."""
    data = b"\x0a\x64" + b"\x08\x01" * 50
    (inner,) = message(data, budget=51).fields()
    assert len(list(inner.message.fields())) == 50
    (inner,) = message(data, budget=50).fields()
    with pytest.raises(ValueError, match="must have at most 50 fields"):
        list(inner.message.fields())
