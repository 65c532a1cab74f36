"""GGUF: every dtype and key is read, quantized tensors are shown as they are stored, and damage is named."""

import json
import os
import struct
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import paramctl as pc
from paramctl.errors import InputError
from paramctl.store.contents import Omitted
from tests.conftest import Run
from tests.gguf_files import KEYS, Raw, Typed, arrays, gguf, quantized, string, typed
from tests.test_hostile_checkpoints import both_within_limits

TWO = {"a.weight": np.arange(8, dtype="float32"), "b.weight": np.arange(6, dtype="float16").reshape(2, 3)}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [8, 32, 4096])
def test_values_shapes_and_keys(version: int, alignment: int, tmp_path: Path) -> None:
    """Shapes are those of torch: GGUF stores the fastest axis first."""
    keys = KEYS | {"general.alignment": alignment}
    (tmp_path / "m.gguf").write_bytes(gguf(arrays(), keys, version, alignment))
    with pc.open(tmp_path / "m.gguf") as weights:
        assert weights.model.separator == "."
        assert list(weights) == [*arrays()]
        for name, expected in arrays().items():
            assert weights[name].dtype == expected.dtype
            assert weights[name].shape == expected.shape
            assert np.array_equal(np.asarray(weights[name]), expected)
        assert np.array_equal(weights["token_embd.weight"][690:, ::7], arrays()["token_embd.weight"][690:, ::7])
        metadata = dict(weights.source.origin.metadata)
        assert metadata.pop("tokenizer.ggml.tokens") == Omitted("5,000 texts")
        assert metadata == {key: value for key, value in keys.items() if "tokens" not in key}


def test_scalars_and_empty_tensors(tmp_path: Path) -> None:
    scalar = Raw(0, (), struct.pack("<f", 2.5))
    (tmp_path / "m.gguf").write_bytes(gguf({"s": scalar, "e": np.ones((0, 4), "float32"), "w": np.ones(3, "int8")}))
    weights = pc.open(tmp_path / "m.gguf")
    assert np.asarray(weights["s"]) == 2.5
    assert weights["e"].shape == (0, 4)
    assert np.array_equal(np.asarray(weights["w"]), np.ones(3))
    (tmp_path / "empty.gguf").write_bytes(gguf({}, KEYS))
    assert list(pc.open(tmp_path / "empty.gguf")) == []


def test_conversion_carries_keys_and_names_those_that_are_too_large(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf(TWO, KEYS))
    done = paramctl("save", "m.gguf", "-o", "m.safetensors")
    assert done.returncode == 0
    lost = "m.safetensors does not include the metadata 'tokenizer.ggml.tokens' (5,000 texts) of the source"
    assert done.stderr.splitlines() == ["wrote m.safetensors: 2 arrays, 14 values", lost]
    with safe_open(tmp_path / "m.safetensors", "numpy") as file:
        carried = {key: value for key, value in file.metadata().items() if key in KEYS}
    assert carried["general.architecture"] == "llama"
    assert carried["llama.some_list"] == "[1, 2, 3]"
    assert set(carried) == KEYS.keys() - {"tokenizer.ggml.tokens"}
    assert {name: array.tolist() for name, array in load_file(tmp_path / "m.safetensors").items()} == {
        name: array.tolist() for name, array in TWO.items()
    }
    done = paramctl("save", "m.gguf", "-o", "m.npz")
    assert "'general.architecture', 'llama.block_count'" in done.stderr
    assert "and 1 more of the source" in done.stderr
    assert paramctl("diff", "m.gguf", "m.npz").returncode == 0


def test_it_is_only_read(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(data := gguf(TWO))
    for arguments in (("save", "m.gguf", "-o", "x.gguf"), ("set", "m.gguf", "a.weight=1", "--in-place")):
        done = paramctl(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "GGUF is only read" in done.stderr
    assert (tmp_path / "m.gguf").read_bytes() == data
    assert os.listdir(tmp_path) == ["m.gguf"]


def test_standard_input(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf(TWO, KEYS))
    with (tmp_path / "m.gguf").open("rb") as file:
        done = paramctl("stat", "-", "--format", "csv", stdin=file)
    assert (done.returncode, done.stdout) == (0, paramctl("stat", "m.gguf", "--format", "csv").stdout)


def test_a_real_vocabulary_is_opened_at_once(tmp_path: Path) -> None:
    """150,000 tokens with scores and merges: the tokens are skipped, not made into objects."""
    tokens = Typed(9, struct.pack("<IQ", 8, 151_936) + b"".join(string(f"token {k}") for k in range(151_936)))
    scores = Typed(9, struct.pack("<IQ", 6, 151_936) + bytes(4 * 151_936))
    keys = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.scores": scores, "tokenizer.ggml.merges": tokens}
    (tmp_path / "m.gguf").write_bytes(gguf(TWO, keys))
    begin = time.process_time()
    weights = pc.open(tmp_path / "m.gguf")
    assert time.process_time() - begin < 1
    assert [str(value) for value in weights.source.origin.metadata.values()] == [
        "151,936 texts",
        "151,936 numbers",
        "151,936 texts",
    ]
    assert np.array_equal(np.asarray(weights["b.weight"]), TWO["b.weight"])


# Quantized tensors


QUANTIZED = {
    "blk.0.attn_q.weight": quantized("q4_k", (3, 512)),
    "blk.0.attn_v.weight": quantized("q6_k", (2, 256)),
    "output_norm.weight": np.ones(512, "float32"),
}


def test_the_summary_shows_types_and_bytes_of_the_file(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf(QUANTIZED))
    facts = json.loads(paramctl("summary", "m.gguf", "--format", "json").stdout)
    assert facts["totals"]["parameters"] == 3 * 512 + 512 + 512
    assert facts["totals"]["bytes_by_dtype"] == {"q4_k": 6 * 144, "q6_k": 2 * 210, "float32": 2048}
    assert facts["totals"]["bits_by_dtype"] == {"q4_k": 4.5, "q6_k": 6.5625}
    assert facts["totals"]["bytes"] == 6 * 144 + 2 * 210 + 2048
    shapes = {row["path"]: (row["dtype"], row["shape"]) for row in facts["parameters"]}
    assert shapes["blk.0.attn_q.weight"] == ("q4_k", [3, 512])
    text = paramctl("summary", "m.gguf").stdout
    assert "Bytes in q4_k: 864; 4.5 bits a value, read as float32\n" in text
    assert "Bits a value, on average: 10.41\n" in text
    table = paramctl("summary", "m.gguf", "--parameters", "--columns", "path,bits", "--format", "csv").stdout
    assert table.splitlines()[1:] == ["blk.0.attn_q.weight,4.5", "blk.0.attn_v.weight,6.5625", "output_norm.weight,32"]
    rows = json.loads(paramctl("summary", "m.gguf", "--dtype", "q4_k", "--format", "json").stdout)["parameters"]
    assert [row["path"] for row in rows] == ["blk.0.attn_q.weight"]
    memory = {row.name: row.bytes for row in pc.memory(tmp_path / "m.gguf").rows}
    assert memory["inference parameters"] == 6 * 144 + 2 * 210 + 2048
    assert memory["training gradients"] == 2048
    memory = {row.name: row.bytes for row in pc.memory(tmp_path / "m.gguf", dtype="float32").rows}
    assert memory["inference parameters"] == 4 * 2560


def test_without_the_package_values_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line that names the extra. Plain tensors of the same file are read."""
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.chdir(tmp_path)
    Path("m.gguf").write_bytes(gguf(QUANTIZED))
    assert np.asarray(pc.open("m.gguf")["output_norm.weight"]).sum() == 512
    assert [row.path for row in pc.stat("m.gguf", "output_norm.weight").rows] == ["output_norm.weight"]
    assert not pc.diff("m.gguf", "m.gguf", structure=True).rows
    pip = r"blk\.0\.attn_q\.weight: reading values in q4_k requires the gguf package: pip install 'paramctl\[gguf\]'$"
    for action in (
        lambda: pc.stat("m.gguf"),
        lambda: pc.save("m.gguf", "x.safetensors"),
        lambda: pc.save("m.gguf", "x.h5", dtype="float16"),
        lambda: pc.diff("m.gguf", "m.gguf"),
        lambda: np.asarray(pc.open("m.gguf")["blk.0.attn_q.weight"]),
    ):
        with pytest.raises(InputError, match=pip):
            action()
    assert os.listdir(tmp_path) == ["m.gguf"]


def test_a_folder_called_gguf_is_not_the_package(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf/m.gguf").write_bytes(gguf(QUANTIZED))
    done = paramctl.process("stat", "gguf/m.gguf", env={"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"})
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr


def decoder(calls: list[int]) -> SimpleNamespace:
    """A decoder that gives every value of a block the number of the block, and notes the blocks that it decodes."""

    def dequantize(data: np.ndarray, code: int) -> np.ndarray:
        values, size = {12: (256, 144), 8: (32, 34)}[int(code)]
        blocks = data.reshape(-1, size)
        calls.append(len(blocks))
        return np.repeat(blocks[:, :4].copy().view("<u4").reshape(-1), values).astype(np.float32)

    return SimpleNamespace(dequantize=dequantize)


def test_a_slice_reads_only_its_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of bounded size, whatever is asked for."""
    calls: list[int] = []
    monkeypatch.setitem(
        sys.modules, "gguf", SimpleNamespace(GGMLQuantizationType=int, __spec__=SimpleNamespace(origin="x"))
    )
    monkeypatch.setitem(sys.modules, "gguf.quants", decoder(calls))
    blocks = b"".join(struct.pack("<I", number) + bytes(140) for number in range(6_000))
    (tmp_path / "m.gguf").write_bytes(gguf({"w": Raw(12, (1536, 1000), blocks)}))
    weights = pc.open(tmp_path / "m.gguf")
    expected = np.repeat(np.arange(6_000, dtype="float32"), 256).reshape(1000, 1536)
    assert weights["w"][500, 300] == expected[500, 300]
    assert sum(calls) <= 6
    assert np.array_equal(weights["w"][499:501, 250:260], expected[499:501, 250:260])
    assert np.array_equal(np.asarray(weights["w"]), expected)
    source = weights.source
    assert np.array_equal(source.read("w", 5, 1_536_000 - 3), expected.reshape(-1)[5:-3])
    assert max(calls) <= (1 << 18) // 256


# Sets of files


def split(folder: Path, count: int = 3, **changed: Any) -> list[Path]:
    """A set of files, one tensor in each. changed: keys of its last file."""
    paths = []
    for number in range(count):
        keys: dict[str, Any] = {
            "split.no": Typed(2, struct.pack("<H", number)),
            "split.count": Typed(2, struct.pack("<H", count)),
            "split.tensors.count": count,
        }
        keys |= {"general.name": "set"} if number == 0 else {}
        keys |= {key.replace("_", "."): value for key, value in changed.items()} if number == count - 1 else {}
        paths.append(folder / f"m-{number + 1:05d}-of-{count:05d}.gguf")
        paths[-1].write_bytes(gguf({f"blk.{number}.w": np.full(4, number, "float32")}, keys))
    return paths


def test_the_first_file_opens_its_set_and_so_does_the_folder(paramctl: Run, tmp_path: Path) -> None:
    first, *_ = split(tmp_path)
    for path in (first, tmp_path):
        weights = pc.open(path)
        assert {name: np.asarray(array).tolist() for name, array in weights.items()} == {
            f"blk.{number}.w": [number] * 4 for number in range(3)
        }
        assert weights.model.name == "m"
        assert weights.source.origin.metadata == {"general.name": "set"}
    done = paramctl("save", str(tmp_path), "-o", "x.safetensors")
    assert (done.returncode, done.stderr) == (0, "wrote x.safetensors: 3 arrays, 12 values\n")


def test_a_folder_of_several_files(paramctl: Run, tmp_path: Path) -> None:
    """As repositories of quantizations are: the user chooses."""
    for name in ("m-Q4_0.gguf", "m-Q8_0.gguf"):
        (tmp_path / name).write_bytes(gguf(TWO))
    done = paramctl("summary", ".")
    assert (done.returncode, done.stderr) == (
        2,
        ".: has several checkpoints (m-Q4_0.gguf, m-Q8_0.gguf). Open one of them\n",
    )


def test_another_file_names_the_first(paramctl: Run, tmp_path: Path) -> None:
    split(tmp_path)
    done = paramctl("summary", "m-00002-of-00003.gguf")
    expected = "is not the first of a set of 3 files. Open m-00001-of-00003.gguf, which opens all\n"
    assert (done.returncode, done.stderr) == (2, f"m-00002-of-00003.gguf: {expected}")


def test_sets_that_are_not_complete(paramctl: Run, tmp_path: Path) -> None:
    def refused(says: str, first: str = "m-00001-of-00003.gguf") -> None:
        done = paramctl("summary", first)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert says in done.stderr

    *_, last = split(tmp_path)
    last.unlink()
    refused("m-00003-of-00003.gguf: No such file or directory")
    split(tmp_path, split_no=1)
    refused("m-00003-of-00003.gguf: must have split.no 2 and split.count 3 (got 1 and 3). It is of another set")
    split(tmp_path, split_count=4)
    refused("(got 2 and 4)")
    first, second, _ = split(tmp_path)
    second.write_bytes(first.read_bytes().replace(b"split.no\2\0\0\0\0", b"split.no\2\0\0\0\1"))
    refused("m-00002-of-00003.gguf: 'blk.0.w' is in another file of the set too")
    first, *_ = split(tmp_path)
    first.write_bytes(first.read_bytes().replace(struct.pack("<II", 4, 3), struct.pack("<II", 4, 5)))
    refused("split.tensors.count must be the number of tensors in its 3 files, 3 (got 5)")
    first.rename(tmp_path / "other.gguf")
    refused("file 1 of a set of 3 must be named NAME-00001-of-00003.gguf", "other.gguf")


# Damage


GOOD = gguf(TWO, {"general.architecture": "llama"})


def changed(old: bytes, new: bytes) -> bytes:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


W = np.ones(8, "float32")
DAMAGED = {
    "version 1": (changed(b"GGUF\3", b"GGUF\1"), "GGUF of version 1 is not supported (2 and 3 are)"),
    "a later version": (changed(b"GGUF\3", b"GGUF\4"), "GGUF of version 4 is not supported"),
    "big-endian": (
        changed(b"GGUF\3\0\0\0", b"GGUF\0\0\0\3"),
        "GGUF for big-endian machines is not supported. Convert it with gguf-convert-endian",
    ),
    "only a magic": (b"GGUF", "truncated within the header"),
    "no counts": (b"GGUF\3\0\0\0", "truncated within the header"),
    "two keys": (gguf(TWO, [("k", 1), ("k", 2)]), "has the key 'k' twice"),
    "two tensors": (gguf([("w", W), ("w", W)]), "has the tensor 'w' twice"),
    "a NUL in a name": (gguf({"w\0x": W}), "a name must be neither empty nor have a NUL (got 'w\\x00x')"),
    "an empty name": (gguf({"": W}), "a name must be neither empty nor have a NUL (got '')"),
    "a key that is not text": (gguf(TWO, [(b"\xff", 1)]), "a name must be text in UTF-8"),
    "a tensor's name that is not text": (gguf([(b"\xff", W)]), "a name must be text in UTF-8"),
    "a long name": (gguf({"w" * 70_000: W}), "a name may have at most 65,535 bytes (got 70,000)"),
    "many parts": (gguf({"w." * 20_000: W}), "parts"),
    "an unknown value": (gguf(TWO, {"k": Typed(13, b"")}), "unknown type 13 of a value"),
    "an array of unknown values": (
        gguf(TWO, {"k": Typed(9, struct.pack("<IQ", 99, 1))}),
        "unknown type 99 of the items of an array",
    ),
    "arrays in arrays": (
        gguf(TWO, {"k": Typed(9, struct.pack("<IQ", 9, 1) * 50)}),
        "arrays are nested deeper than 8 levels",
    ),
    "an array of 2^60 texts": (gguf(TWO, {"k": Typed(9, struct.pack("<IQ", 8, 1 << 60))}), "at most 4,000,000 texts"),
    "an array of 2^60 numbers": (gguf(TWO, {"k": Typed(9, struct.pack("<IQ", 6, 1 << 60))}), "truncated"),
    "a text of 2^60 bytes": (gguf(TWO, {"k": Typed(8, struct.pack("<Q", 1 << 60))}), "truncated"),
    "texts beyond the end": (gguf({}, {"k": Typed(9, struct.pack("<IQQ", 8, 2_000, 1 << 62))}), "truncated"),
    "the last value beyond the end": (gguf({}, {"k": Typed(9, struct.pack("<IQ", 6, 1 << 40))}), "truncated"),
    "2^60 tensors": (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "at most 300,000 tensors are allowed (got "),
    "2^60 keys": (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "at most 65,536 keys are allowed (got "),
    "65 axes": (gguf({"w": Raw(0, [1] * 65, bytes(4))}), "'w' has 65 axes; at most 64 are allowed"),
    "2^40 axes": (
        gguf({"w": Raw(0, [1] * 70, bytes(4))}).replace(struct.pack("<I", 70), b"\xff" * 4),
        "axes; at most 64",
    ),
    "a shape too large": (gguf({"w": Raw(0, (1 << 40, 1 << 40), b"")}), "exceeds NumPy's limit"),
    "an empty shape too large": (gguf({"w": Raw(0, (0, 1 << 40, 1 << 40), b"")}), "exceeds NumPy's limit"),
    "more than there is": (gguf({"w": Raw(0, (1 << 30,), bytes(64))}), "truncated: its tensors end at byte"),
    "a removed type": (
        gguf({"w": Raw(31, (32,), bytes(18))}),
        "has an unsupported type: q4_0_4_4, which ggml has removed",
    ),
    "a type of unknown size": (
        gguf({"w": Raw(9, (32,), bytes(40))}),
        "q8_1, whose size depends on the version of ggml",
    ),
    "an unknown type": (gguf({"w": Raw(1000, (32,), bytes(40))}), "has an unsupported type: number 1,000"),
    "half a block": (
        gguf({"w": Raw(12, (128, 2), bytes(144))}),
        "the last axis of 'w' must be a multiple of 256 in q4_k",
    ),
    "a quantized scalar": (
        gguf({"w": Raw(12, (), bytes(144))}),
        "must be a multiple of 256 in q4_k (got the shape ())",
    ),
    "an overlap": (gguf({"v": W, "w": Raw(0, (8,), bytes(32), 0)}), "begins at byte 96, within the tensor before it"),
    "no alignment": (
        gguf({"v": W, "w": Raw(0, (8,), bytes(64), 36)}),
        "the offset of 'w' must be a multiple of 32 (got 36)",
    ),
    "an offset of 2^63": (gguf({"w": Raw(0, (8,), bytes(32), 1 << 63)}), "truncated"),
    "an alignment of 0": (gguf(TWO, {"general.alignment": 0}), "general.alignment must be a power of two (got 0)"),
    "an alignment of 33": (gguf(TWO, {"general.alignment": 33}), "general.alignment must be a power of two (got 33)"),
    "an alignment in words": (gguf(TWO, {"general.alignment": "x"}), "must be a power of two (got x)"),
    "too many files": (gguf(TWO, {"split.count": 1 << 31}), "must be integers, at most 99,999"),
    "files in words": (gguf(TWO, {"split.count": "x"}), "must be integers"),
    "cut short": (GOOD[:-30], "truncated: its tensors end at byte"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damage_is_named(what: str, tmp_path: Path) -> None:
    data, says = DAMAGED[what]
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    for ran in both_within_limits(path):
        assert ran.code == 2
        assert ran.err.startswith(f"{path}: "), ran.err
        assert ran.err.count("\n") == 1
        assert says in ran.err


ACCEPTED = {
    "arrays in arrays": [[1, 2], [3]],
    "texts in arrays": [["a"], ["b", "c"]],
    "an empty array": [],
    "an empty text": "",
}


@pytest.mark.parametrize("what", ACCEPTED)
def test_unusual_values(what: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf(TWO, {"k": ACCEPTED[what]}))
    assert pc.open(tmp_path / "m.gguf").source.origin.metadata == {"k": ACCEPTED[what]}


def test_numbers_that_are_not_finite(paramctl: Run, tmp_path: Path) -> None:
    """JSON has none, so they are texts there, the same for every format."""
    (tmp_path / "m.gguf").write_bytes(gguf(TWO, {"a": float("inf"), "b": [float("nan"), 1.0]}))
    rows = json.loads(paramctl("summary", "m.gguf", "--metadata", "--format", "json").stdout)
    assert [row["value"] for row in rows] == ["Infinity", ["NaN", 1.0]]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"\xff\xfe", "2 bytes that are not UTF-8"),
        ("x" * 2_000_000, "a text of 2,000,000 bytes"),
        ([["a"] * 1_001, ["b"]], "2 arrays"),
        ([1] * 1_001, "1,001 numbers"),
    ],
)
def test_values_that_are_not_kept_are_described(value: Any, words: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf(TWO, {"k": value, "after": typed(7)}))
    weights = pc.open(tmp_path / "m.gguf")
    assert weights.source.origin.metadata == {"k": Omitted(words), "after": 7}
    assert np.array_equal(np.asarray(weights["a.weight"]), TWO["a.weight"])


def test_the_predecessor_is_named(paramctl: Run, tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"tjgg" + bytes(100))
    done = paramctl("summary", "m.bin")
    assert (done.returncode, done.stderr) == (2, "m.bin: GGML, the predecessor of GGUF, which is not supported\n")
