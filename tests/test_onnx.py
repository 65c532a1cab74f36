"""Models of ONNX, built field by field: their arrays, where values can be, and what is refused."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from paramctl.errors import InputError
from paramctl.source.open import open_path
from paramctl.store.checkpoint import Checkpoint
from paramctl.store.onnx.numbers import BLOCK
from tests.conftest import Run
from tests.onnx_files import constant, external, model, node, tensor
from tests.wire import field, varint

DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}
NUMBERS = {7: 7, 12: 11, 13: 11}
"""The field of the numbers of a dtype, where it is not that of 32-bit integers."""


def opened(folder: Path, data: bytes) -> Checkpoint:
    (folder / "m.onnx").write_bytes(data)
    checkpoint = open_path(str(folder / "m.onnx")).checkpoint
    assert checkpoint is not None
    return checkpoint


def values(checkpoint: Checkpoint, name: str) -> np.ndarray:
    parameter = checkpoint.model.parameters[name]
    owner = checkpoint.model.owner(name).path
    result = checkpoint.reader.read(owner, 0, parameter.size)
    for start in range(min(parameter.size, 9)):  # any part is what it is in the whole
        stop = max(start, parameter.size - start // 2)
        assert checkpoint.reader.read(owner, start, stop).tobytes() == result[start:stop].tobytes()
    return result.reshape(parameter.shape)


@pytest.mark.parametrize("code", DTYPES)
def test_raw_values_and_numbers_are_the_same_array(code: int, tmp_path: Path) -> None:
    """Each dtype in raw bytes, in packed numbers, and in a field for each number."""
    dtype = np.dtype(DTYPES[code])
    want = np.array([0, 1, 0, 1, 1, 0] if code == 9 else [0, 1, 100, 3, 127, 2])
    if dtype.kind in "if":
        want = -want
    want = want.astype(dtype)
    bits = want.view(np.uint16) if dtype == np.float16 else want
    if code in (1, 11):
        number = 4 if code == 1 else 10
        packed = field(number, want.tobytes())
        kind = 5 if code == 1 else 1
        each = b"".join(varint(number << 3 | kind) + value.tobytes() for value in want)
    else:
        number = NUMBERS.get(code, 5)
        packed = field(number, b"".join(varint(int(value)) for value in bits))
        each = b"".join(field(number, int(value)) for value in bits)
    found = opened(
        tmp_path,
        model(
            tensor("raw", code, (2, 3), field(9, want.tobytes())),
            tensor("packed", code, (2, 3), packed),
            tensor("each", code, (2, 3), each),
            tensor("halves", code, (12,), packed + packed),
        ),
    )
    for name in ("raw", "packed", "each"):
        assert found.model.parameters[name].dtype == dtype.name
        assert np.array_equal(values(found, name), want.reshape(2, 3)), name
    assert np.array_equal(values(found, "halves"), np.concatenate([want, want]))


def test_small_integers_have_a_byte_each(tmp_path: Path) -> None:
    """ONNX has the first of two values in the low bits. int4 becomes int8, and uint4 uint8; so do those of 2 bits."""
    signed = np.array([-8, 7, -1, 3, 0], np.int8)
    nibbles = [0x78, 0x3F, 0x00]
    found = opened(
        tmp_path,
        model(
            tensor("int4", 22, (5,), field(9, bytes(nibbles))),
            tensor("uint4", 21, (5,), field(9, bytes(nibbles))),
            tensor("int4 in numbers", 22, (5,), field(5, b"".join(map(varint, nibbles)))),
            tensor("uint2", 25, (7,), field(9, bytes([0b11100100, 0b00000111]))),
            tensor("int2", 26, (7,), field(9, bytes([0b11100100, 0b00000111]))),
        ),
    )
    assert np.array_equal(values(found, "int4"), signed)
    assert np.array_equal(values(found, "int4 in numbers"), signed)
    assert np.array_equal(values(found, "uint4"), signed.view(np.uint8) & 15)
    assert values(found, "uint2").tolist() == [0, 1, 2, 3, 3, 1, 0]
    assert values(found, "int2").tolist() == [0, 1, -2, -1, -1, 1, 0]


def test_half_bytes_are_copied(paramctl: Run, tmp_path: Path) -> None:
    raw, numbers = field(9, bytes([0x21, 0x43])), field(5, bytes([0x21, 0x43]))
    odd = tensor("odd", 23, (3,), field(9, bytes([0x21, 0x43])))
    (tmp_path / "m.onnx").write_bytes(model(tensor("a", 23, (4,), raw), tensor("b", 23, (2, 2), numbers), odd))
    done = paramctl("save", "m.onnx", "-o", "m.safetensors", check=True)
    assert "odd (float4_e2m1fn that does not fill its bytes)" in done.stderr
    assert (tmp_path / "m.safetensors").read_bytes().endswith(bytes([0x21, 0x43, 0x21, 0x43]))


def test_many_varints_are_read_block_by_block(tmp_path: Path) -> None:
    """Values of one to ten bytes cross the blocks, and any range of them is found."""
    count = BLOCK
    want = np.random.default_rng(0).integers(-(2**62), 2**62, count) >> np.arange(count) % 63
    found = opened(tmp_path, model(tensor("w", 7, (count,), field(7, b"".join(map(varint, map(int, want)))))))
    whole = found.reader.read("w", 0, count)
    assert np.array_equal(whole, want)
    for start in range(0, count - 1000, 7919):
        assert np.array_equal(found.reader.read("w", start, start + 1000), want[start : start + 1000])


def test_nodes_with_one_name_keep_their_graphs_apart(tmp_path: Path) -> None:
    """Only the outputs of nodes are unique, and exporters repeat names."""

    def branch(number: int) -> bytes:
        weight = tensor("w", 6, (1,), field(5, varint(number)))
        return field(1, "then_branch") + field(6, field(5, weight))

    found = opened(tmp_path, model(graph=b"".join(node("If", f"o{k}", branch(k), name="if") for k in (1, 2, 3))))
    names = {"if/then_branch/w": 1, "o2/then_branch/w": 2, "o3/then_branch/w": 3}
    assert {name: int(values(found, name)[0]) for name in found.model.parameters} == names


def test_constants_without_a_tensor(tmp_path: Path) -> None:
    """A constant may be a number or a list, packed or not. A zero may be missing, and a text is skipped by name."""
    float_bits = np.array([1.5, -2], "<f4").tobytes()
    attributes = {
        "f": field(1, "value_float") + varint(2 << 3 | 5) + float_bits[:4],
        "zero": field(1, "value_float"),
        "fs": field(1, "value_floats") + field(7, float_bits),
        "none": field(1, "value_floats"),
        "i": field(1, "value_int") + varint(3 << 3) + varint((1 << 64) - 7),
        "is": field(1, "value_ints") + field(8, 300) + field(8, 2),
        "packed": field(1, "value_ints") + field(8, varint(300) + varint(2)),
        "s": field(1, "value_string") + field(4, "text"),
    }
    graph = b"".join(node("Constant", output, attribute) for output, attribute in attributes.items())
    found = opened(tmp_path, model(graph=graph))
    expected = {"f": 1.5, "zero": 0, "fs": [1.5, -2], "none": [], "i": -7, "is": [300, 2], "packed": [300, 2]}
    shown = {name: values(found, name).reshape(item.shape).tolist() for name, item in found.model.parameters.items()}
    assert shown == expected
    assert {item.dtype for item in found.model.parameters.values()} == {"float32", "int64"}
    assert found.origin.skipped == {"s": "text"}


def test_constants_and_graphs_within_graphs(tmp_path: Path) -> None:
    """A name is that of the initializer or of the constant's output, with its scope if several graphs have it."""
    one, two = (tensor(name, 6, (1,), field(5, varint(number))) for name, number in (("x", 1), ("x", 2)))
    then, other = field(5, one) + constant("c", tensor("", 6, (1,), field(5, varint(3)))), field(5, two)
    branches = field(1, "then_branch") + field(6, then), field(1, "else_branch") + field(6, other)
    sparse = field(15, field(1, tensor("s", 1, (1,), field(9, bytes(4)))))
    function = field(25, field(1, "f") + field(10, "d") + field(7, constant("k", one)[2:]))
    text = tensor("t", 8, (1,), field(6, "a"))
    found = opened(
        tmp_path,
        model(
            text, graph=node("If", "out", *branches) + sparse, more=function + field(14, field(1, "a") + field(2, "b"))
        ),
    )
    assert {name: int(values(found, name)[0]) for name in found.model.parameters} == {
        "out/then_branch/x": 1,
        "c": 3,
        "out/else_branch/x": 2,
        "k": 1,
    }
    assert found.origin.skipped == {"s": "a sparse tensor", "t": "text"}
    assert found.origin.other_content == ("the graph of 3 nodes",)
    assert found.origin.metadata == {"ir_version": 8, "opset_import.ai.onnx": 17, "metadata_props.a": "b"}


def test_values_in_another_file(tmp_path: Path) -> None:
    """With and without an offset; two names of one range are a tie."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/w.bin").write_bytes(np.arange(8, dtype="<f4").tobytes())
    found = opened(
        tmp_path,
        model(
            tensor("all", 1, (8,), external("data/w.bin")),
            tensor("part", 1, (2, 2), external("./data/w.bin", offset=8, length=16)),
            tensor("same", 1, (2, 2), external("./data/w.bin", offset=8, length=16)),
        ),
    )
    assert values(found, "all").tolist() == list(range(8))
    assert values(found, "part").tolist() == values(found, "same").tolist() == [[2, 3], [4, 5]]
    assert [(tie.kept, tie.tied) for tie in found.model.ties] == [("part", "same")]


def test_a_file_that_is_missing_is_named_when_its_values_are_read(paramctl: Run, tmp_path: Path) -> None:
    data = model(tensor("w", 1, (8,), external("w.bin")), tensor("v", 6, (1,), field(5, varint(1))))
    (tmp_path / "m.onnx").write_bytes(data)
    assert "w " in paramctl("summary", "m.onnx", check=True).stdout
    assert paramctl("dump", "m.onnx", "v", check=True).stdout
    done = paramctl("save", "m.onnx", "-o", "m.safetensors")
    assert done.returncode == 2
    assert done.stderr == "m.onnx: the file 'w.bin' has the values of w (w.bin: No such file or directory)\n"
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize("path", ["../w.bin", "/etc/passwd", "a/../../w.bin", "", "link", "up/w.bin", "a\\b"])
def test_a_file_outside_the_folder_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(32))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "w.bin")
    (folder / "up").symlink_to(tmp_path)
    with pytest.raises(InputError, match="the values of w must be in a file in the folder of the model"):
        opened(folder, model(tensor("w", 1, (8,), external(path))))


def test_links_of_a_cache_are_followed(tmp_path: Path) -> None:
    """In Hugging Face's cache, a model and its data are links to files in one other folder."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots/1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "1").write_bytes(np.arange(8, dtype="<f4").tobytes())
    (blobs / "2").write_bytes(model(tensor("w", 1, (8,), external("m.onnx_data"))))
    os.symlink("../../blobs/1", snapshot / "m.onnx_data")
    os.symlink("../../blobs/2", snapshot / "m.onnx")
    checkpoint = open_path(str(snapshot)).checkpoint
    assert checkpoint is not None
    assert values(checkpoint, "w").tolist() == list(range(8))


FLOAT = struct.pack("<f", 1.0)
NESTED = b""
for _ in range(40):
    NESTED = node("If", "o", field(1, "b") + field(6, NESTED))

REFUSED = {
    "too few bytes": (model(tensor("w", 1, (2,), field(9, FLOAT))), "w must have 8 bytes (got 4)"),
    "too few numbers": (model(tensor("w", 7, (2,), field(7, b"\1"))), "w must have 2 values (got 1 bytes)"),
    "no values": (model(tensor("w", 1, (2,))), "w has no values"),
    "a negative size": (model(tensor("w", 1, (-2,), field(9, FLOAT))), "(got the shape (-2))"),
    "too large a shape": (model(tensor("w", 1, (2**40, 2**40), field(9, FLOAT))), "w must have at most"),
    "two forms": (
        model(tensor("w", 1, (1,), field(9, FLOAT) + field(4, FLOAT))),
        "w must have its values in one field",
    ),
    "another field": (model(tensor("w", 1, (1,), field(5, b"\1"))), "w has its values in a field of another dtype"),
    "twins": (model(*[tensor("w", 1, (1,), field(9, FLOAT))] * 2), "two tensors are named 'w'"),
    "no name": (model(tensor("", 1, (1,), field(9, FLOAT))), "a tensor has no name"),
    "deep": (model(graph=NESTED), "graphs must be nested at most 30 deep"),
    "segments": (model(tensor("w", 1, (1,), field(3, field(1, 0)))), "a tensor in segments, which is not supported"),
    "no graph": (field(1, 8) + field(8, field(2, 17)), "a damaged ONNX model"),
    "many fields": (model(graph=field(2, "g") + b"\x0a\0" * 1_100_000), "a file must have at most 1,000,000 fields"),
    "a length beyond the file": (
        model(tensor("w", 1, (8,), external("w.bin", offset=8, length=32))),
        "w.bin is truncated: w ends at 40 of 32 bytes",
    ),
    "an offset that is no number": (model(tensor("w", 1, (8,), external("w.bin", offset=-1))), "must be a number"),
    "another length": (model(tensor("w", 1, (8,), external("w.bin", length=8))), "w must have 32 bytes (got 8)"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_damaged_model_is_refused(what: str, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(32))
    data, words = REFUSED[what]
    with pytest.raises(InputError) as error:
        opened(tmp_path, data)
    assert words in str(error.value)
    assert str(error.value).startswith(f"{tmp_path}/m.onnx: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", [bytes([0x80] * 11 + [1]) + b"\1" * 4, b"\1" * 4 + b"\x80" * 12])
def test_a_damaged_number_is_refused_when_it_is_read(damage: bytes, tmp_path: Path) -> None:
    found = opened(tmp_path, model(tensor("w", 7, (5,), field(7, damage))))
    with pytest.raises(InputError, match=r"w has a number of more than 64 bits|w must have 5 values"):
        found.reader.read("w", 0, 5)


def test_other_messages_are_not_models(tmp_path: Path) -> None:
    """TensorFlow's SavedModel begins as a model of ONNX does, but has no graph; a frozen graph begins otherwise."""
    saved = field(1, 1) + field(2, field(1, field(4, "serve")) + field(2, field(1, b"")))
    frozen = field(1, field(1, "x") + field(2, "Placeholder"))
    core_ml = field(1, 4) + field(2, field(1, b"")) + field(500, b"\x0a\0")
    for data in (saved, frozen, core_ml):
        (tmp_path / "m.pb").write_bytes(data)
        with pytest.raises(InputError) as error:
            open_path(str(tmp_path / "m.pb"))
        assert "damaged" not in str(error.value) or "another kind" in str(error.value)


def test_what_a_saved_file_does_not_include_is_named(paramctl: Run, tmp_path: Path) -> None:
    w = tensor("layer.weight", 1, (1,), field(9, FLOAT))
    (tmp_path / "m.onnx").write_bytes(model(w, graph=node("Relu", "y")))
    done = paramctl("save", "m.onnx", "-o", "m.npz", check=True)
    assert "the graph of 1 node" in done.stderr
    assert "'ir_version'" in done.stderr
    done = paramctl("save", "m.onnx", "-o", "m.safetensors", check=True)
    assert "ir_version" not in done.stderr
    assert b'"opset_import.ai.onnx":"17"' in (tmp_path / "m.safetensors").read_bytes().replace(b": ", b":")
