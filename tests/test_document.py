"""YAML is read by YAML 1.2's core schema, with the place of every value, within limits."""

import pytest

from paramctl.declare.located import Located
from paramctl.errors import DocumentError, InputError, Place
from paramctl.model import document
from paramctl.model.document import MAX_BYTES, MAX_DEPTH, parse, parse_value


def _read(path: str) -> Located:
    return parse(document.decode(document.read(path), path), path)


SCALARS = {
    "1": 1,
    "-12": -12,
    "+3": 3,
    "0": 0,
    "0o10": 8,
    "0x1F": 31,
    "9223372036854775807": 2**63 - 1,
    "1.5": 1.5,
    ".5": 0.5,
    "1.": 1.0,
    "1e-3": 0.001,
    "1E5": 100000.0,
    "12e03": 12000.0,
    "-1.0e3": -1000.0,
    "true": True,
    "False": False,
    "null": None,
    "~": None,
    "": None,
    "no": "no",
    "on": "on",
    "yes": "yes",
    "NO": "NO",
    "1:30": "1:30",
    "1_000": "1_000",
    "2026-01-01": "2026-01-01",
    "nan": "nan",
    "=": "=",
    "'1'": "1",
    '"true"': "true",
    "1.2.3": "1.2.3",
    "'-'": "-",
    "0b1": "0b1",
}


@pytest.mark.parametrize(("text", "value"), SCALARS.items())
def test_scalar(text: str, value: object) -> None:
    read = parse(f"x: {text}", "m.yaml").plain()
    assert isinstance(read, dict)
    assert read["x"] == value
    assert type(read["x"]) is type(value)


@pytest.mark.parametrize(
    "text", ["010", "-007", ".inf", "-.INF", ".nan", "1.0e+400", "9223372036854775808", "9" * 5000]
)
def test_numbers_without_one_finite_meaning_are_refused(text: str) -> None:
    with pytest.raises(DocumentError, match=r"^m\.yaml:1:4: "):
        parse(f"x: {text}", "m.yaml")


def test_every_value_and_key_knows_its_place() -> None:
    node = parse("a: 1\nlong:\n  - x: [5, {y: 6}]\n", "m.yaml")
    assert isinstance(node.value, dict)
    inner = node.value["long"].value[0].value["x"].value[1]  # type: ignore[index,union-attr,call-overload]
    assert inner.place == Place("m.yaml", 3, 12)
    assert inner.value["y"].place == Place("m.yaml", 3, 16)
    assert inner.key("y").place == Place("m.yaml", 3, 13)
    assert node.key("long").place == Place("m.yaml", 2, 1)


def test_columns_count_characters_not_bytes() -> None:
    node = parse("{é: 1, ü: x}", "m.yaml")
    assert isinstance(node.value, dict)
    assert node.value["ü"].place == Place("m.yaml", 1, 11)


def test_own_keys_win_over_merged_ones_and_earlier_merges_over_later() -> None:
    node = parse("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {z: 3, <<: [*a, *b]}", "m.yaml").plain()
    assert isinstance(node, dict)
    assert node["c"] == {"x": 1, "y": 1, "z": 3}


def test_a_merge_key_in_quotes_is_text() -> None:
    assert parse('"<<": 3', "m.yaml").plain() == {"<<": 3}


def test_bom_crlf_and_a_missing_last_newline_are_accepted(tmp_path: object) -> None:
    path = f"{tmp_path}/m.yaml"
    with open(path, "wb") as file:
        file.write(b"\xef\xbb\xbfname: x\r\nlayers:\r\n  - flatten")
    assert _read(path).plain() == {"name": "x", "layers": ["flatten"]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"name: caf\xe9", "1:10: a model document must be UTF-8 text (got the byte 0xe9)"),
        ("name: x".encode("utf-16"), "1:1: a model document must be UTF-8 text (got the byte 0xff)"),
        (b"a: 1\nb: \x00", "2:4: YAML does not allow control characters (got the character '\\x00')"),
        (b"a: \x1b[31m", "1:4: YAML does not allow control characters (got the character '\\x1b')"),
    ],
)
def test_bytes_that_are_not_text_are_refused_at_their_place(tmp_path: object, data: bytes, says: str) -> None:
    path = f"{tmp_path}/m.yaml"
    with open(path, "wb") as file:
        file.write(data)
    with pytest.raises(DocumentError) as caught:
        _read(path)
    assert str(caught.value) == f"{path}:{says}"


def test_files_that_cannot_be_read(tmp_path: object) -> None:
    for name, says in (("missing.yaml", "No such file or directory"), (".", "Is a directory")):
        with pytest.raises(InputError, match=f"{name}: {says}"):
            _read(f"{tmp_path}/{name}")


def test_an_endless_file_is_refused_at_the_limit() -> None:
    with pytest.raises(InputError, match=f"at most {MAX_BYTES:,} bytes"):
        _read("/dev/zero")


def test_depth_is_limited_in_text_and_through_aliases() -> None:
    parse("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1), "m.yaml")
    for opening in ("[" * MAX_DEPTH, "[" * 100_000):
        with pytest.raises(DocumentError, match=f"at most {MAX_DEPTH} deep"):
            parse(f"a: {opening}", "m.yaml")
    chain = "a0: &a0 [1]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}]\n" for k in range(1, MAX_DEPTH + 1))
    with pytest.raises(DocumentError, match=f"at most {MAX_DEPTH} deep"):
        parse(chain, "m.yaml")


def test_aliases_are_counted_as_often_as_they_repeat() -> None:
    bomb = "a: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"b{k}: &a{k} [{','.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 8)
    )
    with pytest.raises(DocumentError, match="at most 1,000,000 values"):
        parse(bomb, "m.yaml")


@pytest.mark.parametrize("text", ["- 1", " -  4", "-\t1"])
def test_a_minus_sign_and_a_space_are_not_a_list(text: str) -> None:
    """YAML reads ``-D width="- 4"`` as a list with 4 in it, which is accepted where one number may be a list."""
    with pytest.raises(DocumentError, match="-D x: a minus sign may not have a space after it"):
        parse_value(text, "-D x")
    assert parse_value("- 1\n- 2", "-D x").plain() == [1, 2]


def test_a_value_from_the_command_line_is_read_as_in_a_document() -> None:
    assert [parse_value(text, "-D x").plain() for text in ("128", "1e-3", "relu", "[1, null]", "", "no")] == [
        128,
        0.001,
        "relu",
        [1, None],
        None,
        "no",
    ]
